"""ASE calculator for the embedded DFTB3 engine."""

from __future__ import annotations

from typing import Any, ClassVar

from alflow.ase.engine import EngineCalculator
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.types import Composition, FloatArray


class DFTB3(EngineCalculator):
    """DFTB3 for molecules: ``atoms.calc = DFTB3(electronic_temperature_k=300)``.

    Keyword arguments are those of `alflow.labeling.kinds.dftb.DFTB3Settings`, and `charge`, the total charge (where it
    is not given, ``atoms.info["charge"]`` counts, else 0). The charges of one structure are the start of the next.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "charges", "dipole"]

    def __init__(self, *, charge: int | None = None, **settings: Any) -> None:
        super().__init__(charge, None)
        self._engine = DFTB3Engine(DFTB3Settings(**settings))

    def solve(
        self, composition: Composition, positions: FloatArray, start: FloatArray | None
    ) -> tuple[dict[str, Any], FloatArray]:
        """Return energy, forces, charges and dipole, and the charges as the next start."""
        details = self._engine.details(composition, positions, start)
        results = {
            "energy": details.energy,
            "free_energy": details.energy,
            "forces": details.forces,
            "charges": details.charges,
            "dipole": details.dipole,
        }
        return results, details.charges
