"""Density functional theory labels by the library PySCF."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pyscf import dft, gto, lib

from alflow.errors import LabelError
from alflow.labeling.engines import pyscf_checks as checks
from alflow.labeling.engines.pyscf_scf import (
    BROKEN,
    START_CYCLES,
    START_TOLERANCE_HARTREE,
    Course,
    as_numbers,
    converge,
    follow_instabilities,
    mixed_density,
    spin_squared,
    symmetry_breaking,
)
from alflow.labeling.frames import theory_hash
from alflow.labeling.kinds.pyscf import PySCFSettings
from alflow.types import Composition, Evaluation, FloatArray
from alflow.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

NUMERICS = "1"
"""Goes up with every change of the code that changes a number beyond rounding."""
_ALONE = threading.Lock()
"""The number of threads and what PySCF takes for free memory are those of the process."""


@dataclass(frozen=True)
class Details:
    """What PySCF found for one structure."""

    energy: float
    """eV."""
    forces: FloatArray
    """(A, 3) eV/Å."""
    densities: FloatArray
    """(2, N, N) of spin up and down, in the basis."""
    s_squared: float
    """⟨S²⟩: 0 for a closed shell, 1 for a bond that is fully broken, S (S + 1) for a pure spin."""
    course: Course


class PySCFEngine:
    """Kohn-Sham theory in Gaussian functions. Each structure is set up anew and, without a start, computed cold."""

    def __init__(self, settings: PySCFSettings, work: Path | None = None) -> None:
        """Check what the settings name; `work` is where temporary files go, None for the temporary folder.

        Raises:
            InputError: a functional or basis set that PySCF does not know, or a library that is missing.
        """
        checks.check_settings(settings)
        self._settings = settings
        self._work = work
        self._theory = theory_hash(
            {
                "engine": "pyscf",
                "numerics": NUMERICS,
                "versions": checks.versions(settings),
                **settings.model_dump(mode="json"),
            }
        )

    @property
    def theory(self) -> str:
        """Fingerprint of the versions of PySCF and of what it calls, and of all settings."""
        return self._theory

    def compute(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms.
            positions: (A, 3) Å.
            start: (2, N, N) densities of a neighbour in a trajectory; None for those of atoms.

        Raises:
            LabelError: an element that the basis has no functions for, a charge or spin that does not fit it, or no
                convergence.
        """
        found = self.details(composition, positions, start)
        return Evaluation(
            found.energy,
            found.forces,
            start=found.densities,
            cycles=found.course.cycles,
            diagnostics={"s_squared": found.s_squared, "scf_rescues": float(found.course.rescues)},
        )

    def details(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Details:
        """Return densities, ⟨S²⟩ and the course of self-consistency too; arguments as for `compute`."""
        with _steady(self._work):
            return self._details(self._molecule(composition, positions), start)

    def _details(self, molecule: Any, start: FloatArray | None) -> Details:
        course, field = Course(), self._field(molecule)
        found = converge(field, self._start(field, start, course), course)
        if self._settings.stability_analysis:
            found = follow_instabilities(found, field, course)
        slope = found.undo_soscf() if hasattr(found, "undo_soscf") else found
        gradient = slope.nuc_grad_method()
        gradient.grid_response = self._settings.grid_response and checks.is_integrated(self._settings.functional)
        forces = as_numbers(gradient.kernel()) * (-HARTREE_IN_EV / BOHR_IN_ANGSTROM)
        densities = _by_spin(as_numbers(found.make_rdm1()))
        s_squared = spin_squared(densities, as_numbers(found.get_ovlp()))
        return Details(float(found.e_tot) * HARTREE_IN_EV, forces, densities, s_squared, course)

    def _molecule(self, composition: Composition, positions: FloatArray) -> Any:
        """Return PySCF's molecule."""
        symbols = [chemical_symbols[number] for number in composition.numbers]
        kinds, basis = sorted(set(symbols)), self._settings.basis
        for name in filter(None, (basis, self._settings.auxiliary_basis)):
            checks.require_elements(name, kinds)
        molecule = gto.Mole(
            atom=list(zip(symbols, np.asarray(positions, dtype=np.float64) / BOHR_IN_ANGSTROM, strict=True)),
            unit="Bohr",
            basis=basis,
            ecp={symbol: found for symbol in kinds if (found := checks.core_potential(basis, symbol))},
            charge=composition.charge,
            spin=None,
            verbose=0,
            max_memory=self._settings.memory_mb,
        )
        molecule.build(dump_input=False, parse_arg=False)
        _check_electrons(composition, int(molecule.nelectron), int(molecule.nao))
        molecule.spin = composition.multiplicity - 1
        return molecule

    def _field(self, molecule: Any, *, restricted: bool = False) -> Any:
        """Return a mean field of PySCF, set up and not run."""
        restricted = restricted or self._settings.spin_treatment == "restricted"
        kind = (dft.ROKS if molecule.spin else dft.RKS) if restricted else dft.UKS
        field = kind(molecule, xc=self._settings.functional)
        field.chkfile = None
        field.disp = None if self._settings.dispersion == "none" else self._settings.dispersion
        field.grids.level = self._settings.grid_level
        field.conv_tol = self._settings.energy_tolerance_hartree
        field.conv_tol_grad = self._settings.gradient_tolerance
        field.max_cycle = self._settings.max_cycles
        if self._settings.density_fitting:
            field = field.density_fit(auxbasis=self._settings.auxiliary_basis)
        return field.to_gpu() if self._settings.use_gpu else field

    def _start(self, field: Any, start: FloatArray | None, course: Course) -> Any:
        """Return the density to start from: the given one, or the guess; of a singlet with its symmetry broken."""
        molecule = field.mol
        given = start if start is not None and start.shape == (2, molecule.nao, molecule.nao) else None
        if not field.istype("UHF"):
            return given if given is None or field.istype("ROHF") else given.sum(axis=0)
        occupied = molecule.nelectron // 2
        can_break = molecule.spin == 0 and 0 < occupied < molecule.nao
        if not can_break or (given is not None and symmetry_breaking(given, molecule.intor("int1e_ovlp")) > BROKEN):
            return given
        return self._broken(field, given, course)

    def _broken(self, field: Any, given: FloatArray | None, course: Course) -> Any:
        """Return the density of mixed orbitals: of a rough restricted solution, or of the field of a given density."""
        restricted = self._field(field.mol, restricted=True)
        restricted.conv_tol, restricted.conv_tol_grad = START_TOLERANCE_HARTREE, None
        restricted.max_cycle = START_CYCLES if given is None else 0
        restricted.grids = field.grids
        if self._settings.density_fitting:
            restricted.with_df = field.with_df
        restricted.kernel(dm0=None if given is None else given.sum(axis=0))
        course.cycles += int(restricted.cycles) if given is None else 1
        return mixed_density(as_numbers(restricted.mo_coeff), field.mol.nelectron // 2)


@contextlib.contextmanager
def _steady(work: Path | None) -> Iterator[None]:
    """Give PySCF the threads of the site, and blocks of sums that do not follow what the process holds already."""
    with _ALONE, lib.with_omp_threads(threads()), contextlib.ExitStack() as after:
        for holder, name, value in (
            (lib, "current_memory", lambda: (0.0, 0.0)),
            (lib.param, "TMPDIR", str(work or tempfile.gettempdir())),
        ):
            after.callback(setattr, holder, name, getattr(holder, name))
            setattr(holder, name, value)
        yield


def threads() -> int:
    """Return how many threads the site gives this process (OMP_NUM_THREADS; 1 if unset)."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))


def _by_spin(density: FloatArray) -> FloatArray:
    """Return the (2, N, N) densities of both spins of an (N, N) or (2, N, N) one."""
    return density if density.ndim == 3 else np.array([density, density]) / 2.0


def _check_electrons(composition: Composition, electrons: int, orbitals: int) -> None:
    """Refuse a charge that leaves no electron, and more electrons of one spin than there are orbitals."""
    unpaired = composition.multiplicity - 1
    up = (electrons + unpaired) // 2
    if electrons < 1 or (electrons > 2 * orbitals and not unpaired):
        raise LabelError(
            "bad-charge",
            f"A molecule must have at least one electron outside its cores, and at most two for each of its {orbitals} "
            f"orbitals; with the charge {composition.charge:+d} it has {electrons}.",
        )
    if up > min(orbitals, electrons):
        raise LabelError(
            "bad-multiplicity",
            f"A multiplicity must fit the electrons outside the cores and the basis; {electrons} electrons in "
            f"{orbitals} orbitals cannot have {composition.multiplicity}.",
        )
