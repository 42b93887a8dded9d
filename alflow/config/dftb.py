"""Settings of the DFTB engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alflow.config.base import Settings


class DFTB3Settings(Settings):
    """Spin-restricted DFTB3 for molecules."""

    parameters: Literal["3ob-3-1"] = "3ob-3-1"
    """Name of the parameter set."""
    parameters_dir: str | None = None
    """Folder with Slater-Koster files of one's own to use in place of the installed set's."""
    electronic_temperature_k: float = Field(default=1000.0, gt=0.0, le=1e6)
    """Electronic temperature of the Fermi filling, K."""
    scc_tolerance: float = Field(default=1e-7, gt=0.0, le=1e-2)
    """Largest difference between the charges that enter and leave a cycle, electrons; the energy's error is quadratic
    in it."""
    max_cycles: int = Field(default=60, ge=1)
    """Most self-consistency cycles of one attempt."""
    hydrogen_damping_zeta: float | None = Field(default=4.0, gt=0.0)
    """Exponent of the damping of charge interactions between pairs with hydrogen; None, from Python, for no damping."""
    third_order: bool = True
    """Whether charges act to third order, through the Hubbard derivatives."""
    dispersion: Literal["none", "d3bj"] = "none"
    """Dispersion correction: none, or D3 with Becke-Johnson damping and the parameters of the set."""


class DFTBPlusSettings(DFTB3Settings):
    """The same theory by an external DFTB+ binary."""

    command: str = "dftb+"
    """The binary: a name on the PATH or a path."""
    timeout_s: float = Field(default=120.0, gt=0.0)
    """How long DFTB+ may stay silent before it counts as hung, s."""
