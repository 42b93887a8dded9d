"""ASE calculators for anyone's use: `DFTB3` and `PySCF` (label engines) and `Ensemble` (a trained potential)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alflow.ase.dftb3 import DFTB3
    from alflow.ase.ensemble import Ensemble
    from alflow.ase.pyscf import PySCF

__all__ = ["DFTB3", "Ensemble", "PySCF"]


def __getattr__(name: str) -> Any:
    """Import a calculator when it is first asked for: each pulls in heavy libraries."""
    if name == "DFTB3":
        from alflow.ase.dftb3 import DFTB3  # noqa: PLC0415

        return DFTB3
    if name == "Ensemble":
        from alflow.ase.ensemble import Ensemble  # noqa: PLC0415

        return Ensemble
    if name == "PySCF":
        from alflow.ase.pyscf import PySCF  # noqa: PLC0415

        return PySCF
    raise AttributeError(name)
