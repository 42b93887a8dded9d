"""The label engine that alflow carries: DFTB3 with the published 3OB parameters (see `alflow.dftb`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from alflow.dftb.flaws import Flaw, find_flaws, refuse_flawed
from alflow.dftb.molecule import Details, Molecule
from alflow.dftb.parameter_sets import ParameterSet, parameter_set
from alflow.dftb.parameters import digest, locate, read_pair
from alflow.dftb.skf import SlaterKosterFile
from alflow.dftb.tables import build_tables
from alflow.errors import LabelError
from alflow.labeling.engines.dispersion import d3bj, require_dftd3
from alflow.labeling.frames import theory_hash
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.types import Composition, Evaluation, FloatArray

NUMERICS = "1"
"""Goes up with every change of the code that changes a number beyond rounding."""
KEPT_MOLECULES = 32
"""Compositions whose tables are kept; the one not used for longest goes."""


class DFTB3Engine:
    """Spin-restricted DFTB3 for molecules. What a composition needs is set up once.

    The energy is the free energy of the Fermi filling, from which the forces derive.
    """

    def __init__(self, settings: DFTB3Settings) -> None:
        if settings.dispersion != "none":
            require_dftd3()
        self._settings = settings
        self._set: ParameterSet = parameter_set(settings.parameters)
        self._own_folder = Path(settings.parameters_dir) if settings.parameters_dir else None
        self._folder = self._own_folder or locate(settings.parameters)
        self._theory = theory_hash(
            {
                "engine": "dftb3",
                "numerics": NUMERICS,
                "files": digest(settings.parameters, self._own_folder),
                **settings.model_dump(mode="json", exclude={"parameters_dir", "max_cycles"}),
            }
        )
        self._files: dict[tuple[int, int], SlaterKosterFile] = {}
        self._flaws: dict[tuple[int, int], tuple[Flaw, ...]] = {}
        self._molecules: OrderedDict[Composition, Molecule] = OrderedDict()

    @property
    def theory(self) -> str:
        """Fingerprint of the method, of the parameter files and of all settings that change a number."""
        return self._theory

    def compute(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms.
            positions: (A, 3) Å.
            start: (A,) Mulliken charges to start from; None for neutral atoms.

        Raises:
            LabelError: An element, charge or spin that the parameters do not know, a geometry without meaning, or
                charges that do not become self-consistent.
        """
        details = self.details(composition, positions, start)
        return Evaluation(details.energy, details.forces, start=details.charges, cycles=details.cycles)

    def details(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Details:
        """Return energy parts, charges, dipole, eigenvalues and occupations too; arguments as for `compute`."""
        numbers = composition.numbers
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        if not np.isfinite(positions).all():
            raise LabelError("implausible-structure", "Coordinates must be finite numbers; some are not.")
        molecule = self.molecule(composition)
        refuse_flawed(self._flaws, numbers, positions, str(self._own_folder or self._set.name))
        details = molecule.compute(positions, start)
        if self._settings.dispersion == "none":
            return details
        energy, forces = d3bj(numbers, positions, self._set.dispersion)
        return replace(
            details,
            energy=details.energy + energy,
            parts=replace(details.parts, dispersion=energy),
            forces=details.forces + forces,
        )

    def molecule(self, composition: Composition) -> Molecule:
        """Return what was set up for a composition; set it up if it was not."""
        if composition in self._molecules:
            self._molecules.move_to_end(composition)
        else:
            self._molecules[composition] = self._make(composition)
            if len(self._molecules) > KEPT_MOLECULES:
                self._molecules.popitem(last=False)
        return self._molecules[composition]

    def _make(self, composition: Composition) -> Molecule:
        kinds = sorted({int(number) for number in composition.numbers})
        require_known(self._set, kinds)
        files = {(a, b): self._file(a, b) for a in kinds for b in kinds}
        self._flaws |= find_flaws(files, self._set.symbols)
        tables = build_tables(
            composition.numbers,
            files,
            self._set.elements,
            third_order=self._settings.third_order,
            hydrogen_damping_zeta=self._settings.hydrogen_damping_zeta,
        )
        check_electrons(composition, float(tables.valence.sum()), 2 * tables.onsite.size)
        return Molecule(
            tables,
            composition.charge,
            self._settings.electronic_temperature_k,
            self._settings.scc_tolerance,
            self._settings.max_cycles,
        )

    def _file(self, a: int, b: int) -> SlaterKosterFile:
        if (a, b) not in self._files:
            self._files[a, b] = read_pair(self._set, self._folder, (a, b), check=self._own_folder is None)
        return self._files[a, b]


def require_known(known: ParameterSet, numbers: Iterable[int]) -> None:
    """Refuse elements that a set has no parameters for."""
    unknown = [int(number) for number in numbers if int(number) not in known.elements]
    if unknown:
        raise LabelError(
            "unknown-element",
            f"{known.name} knows {', '.join(known.symbols.values())}; found atomic number {unknown[0]}.",
        )


def check_electrons(composition: Composition, valence: float, room: int) -> None:
    """Refuse a charge that leaves no electron, or more than the orbitals hold, and a spin other than the lowest."""
    charge = composition.charge
    if not composition.is_lowest:
        raise LabelError(
            "bad-multiplicity",
            f"Spin-restricted DFTB3 knows the lowest spin alone; {composition.multiplicity} is not the lowest "
            "multiplicity of this molecule.",
        )
    if not 0 < valence - charge <= room:
        raise LabelError(
            "bad-charge",
            f"A molecule with {valence:g} valence electrons and room for {room} must keep at least one and fit them "
            f"all; with the charge {charge:+g} it has {valence - charge:g}.",
        )
