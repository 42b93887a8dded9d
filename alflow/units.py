"""Physical constants (CODATA 2018) and the conversions made at the border to other programs.

Inside alflow: energies in eV, lengths in Å, times in fs, temperatures in K, masses in amu.
"""

HARTREE_IN_EV = 27.211386245988
BOHR_IN_ANGSTROM = 0.529177210903
BOLTZMANN_EV_PER_K = 8.617333262e-5
KCAL_PER_MOL_IN_EV = 0.0433641042
"""1 kcal/mol in eV: 4184 J / N_A / e."""
FS_IN_PS = 1e-3
"""1 fs in ps, the time unit of LAMMPS's ``metal`` units."""
