"""Settings of the label engines that other packages provide."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt

from alflow.config.base import Settings


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


class ASECalculatorSettings(Settings):
    """Any calculator of ASE or that follows its interface."""

    calculator: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the calculator class, such as ase.calculators.emt.EMT."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""
