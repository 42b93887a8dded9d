"""The engine `gfn2-xtb`: extended tight binding by the library tblite."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from alflow.config.base import Settings
from alflow.labeling.protocol import EngineKind, LabelEngine


class XTBSettings(Settings):
    """Extended tight binding (GFN-xTB) by the library tblite."""

    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    """Parametrisation of the Hamiltonian."""
    accuracy: PositiveFloat = 0.1
    """Numerical thresholds of tblite: smaller is tighter, 1 its default. Forces for training want 0.1."""
    electronic_temperature_k: PositiveFloat = 1000.0
    """Temperature of the Fermi filling, K. A breaking bond converges better when it is not low."""
    max_cycles: PositiveInt = 250
    """Self-consistency cycles after which a structure counts as not converged."""


class XTBKind(EngineKind[XTBSettings]):
    """GFN2-xTB or GFN1-xTB by tblite."""

    settings = XTBSettings
    packages: ClassVar[tuple[str, ...]] = ("tblite",)
    modules: ClassVar[tuple[str, ...]] = ("tblite",)
    extra: ClassVar[str] = "tblite"

    def references(self, settings: XTBSettings) -> tuple[str, ...]:
        """Return what to cite."""
        method = {
            "GFN2-xTB": "GFN2-xTB: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 2019, 15, 1652-1671",
            "GFN1-xTB": "GFN1-xTB: S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 2017, 13, 1989-2009",
        }
        return method[settings.method], "tblite: S. Ehlert et al., https://github.com/tblite/tblite"

    def make(self, settings: XTBSettings) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.xtb import XTBEngine  # noqa: PLC0415 - heavy

        return XTBEngine(settings)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.xtb",)


KIND = XTBKind()
