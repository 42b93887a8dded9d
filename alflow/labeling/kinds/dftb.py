"""The engines `dftb3` and `dftbplus`: DFTB3 embedded, and by the program DFTB+."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from alflow.config.base import Settings, absolute_path
from alflow.dftb.parameter_sets import parameter_set
from alflow.labeling.protocol import EngineKind, LabelEngine


class DFTB3Settings(Settings):
    """Spin-restricted DFTB3 for molecules."""

    parameters: Literal["3ob-3-1"] = "3ob-3-1"
    """Name of the parameter set."""
    parameters_dir: str | None = None
    """Folder with Slater-Koster files of one's own to use in place of the installed set's; relative to the working
    directory."""
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

    @field_validator("parameters_dir")
    @classmethod
    def _from_anywhere(cls, folder: str | None) -> str | None:
        return None if folder is None else absolute_path(folder)


class DFTBPlusSettings(DFTB3Settings):
    """The same theory by an external DFTB+ binary."""

    command: str = "dftb+"
    """The binary: a name on the PATH or a path, relative to the working directory."""
    timeout_s: float = Field(default=120.0, gt=0.0)
    """How long DFTB+ may stay silent before it counts as hung, s."""

    @field_validator("command")
    @classmethod
    def _command_from_anywhere(cls, command: str) -> str:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"a command is written as in a shell; this one cannot be read: {error}") from error
        if not words:
            raise ValueError("a command names a program; this one is empty")
        found = [_absolute(word) if number == 0 or Path(word).exists() else word for number, word in enumerate(words)]
        return command if found == words else shlex.join(found)


def _absolute(path: str) -> str:
    """Return a path as workers find it, who start elsewhere; a mere name is looked for on their PATH."""
    return absolute_path(path) if "/" in path else path


def _references(settings: DFTB3Settings) -> tuple[str, ...]:
    found = ["DFTB3: M. Gaus, Q. Cui, M. Elstner, J. Chem. Theory Comput. 2011, 7, 931-948"]
    found += parameter_set(settings.parameters).references
    if settings.dispersion == "d3bj":
        found += [
            "D3: S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 2010, 132, 154104",
            "D3(BJ): S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 2011, 32, 1456-1465",
        ]
    return tuple(found)


class DFTB3Kind(EngineKind[DFTB3Settings]):
    """Embedded DFTB3."""

    settings = DFTB3Settings
    packages: ClassVar[tuple[str, ...]] = ("numba", "scipy")
    first_use: ClassVar[str] = "its parameters are fetched and its kernels compiled: a minute or so"

    def references(self, settings: DFTB3Settings) -> tuple[str, ...]:
        """Return what to cite."""
        return _references(settings)

    def make(self, settings: DFTB3Settings) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.dftb3 import DFTB3Engine  # noqa: PLC0415 - heavy

        return DFTB3Engine(settings)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.dftb3",)


class DFTBPlusKind(EngineKind[DFTBPlusSettings]):
    """DFTB3 by the program DFTB+."""

    settings = DFTBPlusSettings
    writes_files: ClassVar[bool] = True

    def references(self, settings: DFTBPlusSettings) -> tuple[str, ...]:
        """Return what to cite."""
        return (
            *_references(settings),
            "DFTB+: B. Hourahine, B. Aradi, V. Blum et al., J. Chem. Phys. 2020, 152, 124101",
        )

    def make(self, settings: DFTBPlusSettings) -> LabelEngine:
        """Return an engine whose folder is in the temporary one."""
        return self.make_in(settings, None)

    def make_in(self, settings: DFTBPlusSettings, work: Path | None) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.dftbplus import DFTBPlusEngine  # noqa: PLC0415 - heavy

        return DFTBPlusEngine(settings, work)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.dftbplus",)


DFTB3 = DFTB3Kind()
DFTBPLUS = DFTBPlusKind()
