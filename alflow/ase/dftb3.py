"""ASE calculator for the embedded DFTB3 engine."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from alflow.errors import LabelError, StructureError
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.types import Composition


class DFTB3(Calculator):
    """DFTB3 for molecules: ``atoms.calc = DFTB3(electronic_temperature_k=300)``.

    Keyword arguments are those of `alflow.labeling.kinds.dftb.DFTB3Settings`, and `charge`, the total charge (where it
    is not given, ``atoms.info["charge"]`` counts, else 0). The charges of one structure are the start of the next.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "charges", "dipole"]

    def __init__(self, *, charge: int | None = None, **settings: Any) -> None:
        super().__init__()
        self._engine = DFTB3Engine(DFTB3Settings(**settings))
        self._charge = charge
        self._start: tuple[bytes, Any] | None = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Name what changed since the last calculation, the total charge in ``atoms.info`` included."""
        changes: list[str] = super().check_state(atoms, tol)
        known = self.atoms is None or self.atoms.info.get("charge") == atoms.info.get("charge")
        return changes if known else [*changes, "initial_charges"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute the attached atoms.

        Raises:
            StructureError: The structure is periodic.
            CalculationFailed: It cannot be computed; the message says why.
        """
        super().calculate(atoms, properties, system_changes)
        if self.atoms.pbc.any():
            raise StructureError(
                f"DFTB3 is for molecules, without a periodic cell; pbc is {self.atoms.pbc.tolist()}. "
                "Set atoms.pbc = False."
            )
        numbers = np.asarray(self.atoms.numbers, dtype=np.int64)
        charge = self.atoms.info.get("charge", 0) if self._charge is None else self._charge
        start = self._start[1] if self._start and self._start[0] == numbers.tobytes() else None
        try:
            details = self._engine.details(Composition(numbers, charge), self.atoms.positions, start)
        except LabelError as cause:
            raise CalculationFailed(str(cause)) from cause
        self._start = numbers.tobytes(), details.charges
        self.results = {
            "energy": details.energy,
            "free_energy": details.energy,
            "forces": details.forces,
            "charges": details.charges,
            "dipole": details.dipole,
        }
