"""Colvars, the library of collective variables that LAMMPS brings: its configuration, its script, its dry start."""
