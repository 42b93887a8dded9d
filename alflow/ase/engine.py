"""What the ASE calculators of label engines share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from alflow.errors import LabelError, StructureError
from alflow.types import Composition, FloatArray


class EngineCalculator(Calculator):
    """A calculator for molecules by a label engine; the solution of one structure is the start of the next.

    Total charge and multiplicity are arguments; where they are not given, the entries ``charge`` and ``multiplicity``
    of ``atoms.info`` count, else 0 and the lowest.
    """

    def __init__(self, charge: int | None, multiplicity: int | None) -> None:
        super().__init__()
        self._given = {"charge": charge, "multiplicity": multiplicity}
        self._start: tuple[Composition, FloatArray] | None = None

    @abstractmethod
    def solve(
        self, composition: Composition, positions: FloatArray, start: FloatArray | None
    ) -> tuple[dict[str, Any], FloatArray]:
        """Return the results of one structure, and what the next one starts from.

        Raises:
            LabelError: it cannot be computed.
        """

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Name what changed since the last calculation, charge and multiplicity in ``atoms.info`` included."""
        changes: list[str] = super().check_state(atoms, tol)
        known = self.atoms is None or all(self.atoms.info.get(key) == atoms.info.get(key) for key in self._given)
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
                f"{type(self).__name__} is for molecules, without a periodic cell; pbc is {self.atoms.pbc.tolist()}. "
                "Set atoms.pbc = False."
            )
        info = {key: self.atoms.info.get(key, 0) if given is None else given for key, given in self._given.items()}
        composition = Composition(np.asarray(self.atoms.numbers, dtype=np.int64), **info)
        start = self._start[1] if self._start and self._start[0] == composition else None
        try:
            self.results, start = self.solve(composition, self.atoms.positions, start)
        except LabelError as cause:
            raise CalculationFailed(str(cause)) from cause
        self._start = composition, start
