"""The engine `ase`: any calculator that follows ASE's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from alflow.config.base import Settings
from alflow.labeling.protocol import EngineKind, LabelEngine


class ASECalculatorSettings(Settings):
    """Any calculator of ASE or that follows its interface."""

    calculator: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the calculator class, such as ase.calculators.emt.EMT."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""


class ASEKind(EngineKind[ASECalculatorSettings]):
    """Any ASE calculator by dotted path."""

    settings = ASECalculatorSettings
    example: ClassVar[Mapping[str, Any]] = {"calculator": "ase.calculators.emt.EMT"}

    def references(self, settings: ASECalculatorSettings) -> tuple[str, ...]:
        """Return what to cite."""
        return (f"and what the calculator {settings.calculator} asks to be cited",)

    def make(self, settings: ASECalculatorSettings) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.ase import ASEEngine  # noqa: PLC0415 - heavy

        return ASEEngine(settings)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.ase",)


KIND = ASEKind()
