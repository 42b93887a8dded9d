"""ASE calculator for the label engine PySCF."""

from __future__ import annotations

from typing import Any, ClassVar

from alflow.ase.engine import EngineCalculator
from alflow.config.plugins import ENGINES, find_installed
from alflow.labeling.kinds.pyscf import PySCFSettings
from alflow.types import Composition, FloatArray


class PySCF(EngineCalculator):
    """Density functional theory for molecules: ``atoms.calc = PySCF(functional="PBE0", basis="def2-SVP")``.

    Keyword arguments are those of `alflow.labeling.kinds.pyscf.PySCFSettings`, and `charge` and `multiplicity` (where
    they are not given, those entries of ``atoms.info`` count, else 0 and the lowest). The densities of one structure
    are the start of the next. ``results["s_squared"]`` is ⟨S²⟩.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "s_squared"]

    def __init__(self, *, charge: int | None = None, multiplicity: int | None = None, **settings: Any) -> None:
        """Make the engine.

        Raises:
            InputError: PySCF is not installed, or does not know the functional or the basis set.
        """
        super().__init__(charge, multiplicity)
        find_installed(ENGINES, "pyscf")
        from alflow.labeling.engines.pyscf import PySCFEngine  # noqa: PLC0415 - optional

        self._engine = PySCFEngine(PySCFSettings(**settings))

    def solve(
        self, composition: Composition, positions: FloatArray, start: FloatArray | None
    ) -> tuple[dict[str, Any], FloatArray]:
        """Return energy, forces and ⟨S²⟩, and the densities as the next start."""
        found = self._engine.details(composition, positions, start)
        results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
            "s_squared": found.s_squared,
        }
        return results, found.densities
