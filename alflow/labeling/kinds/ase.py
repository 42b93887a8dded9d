"""The engine `ase`: any calculator that follows ASE's interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from alflow.config.base import Settings
from alflow.labeling.protocol import EngineKind, LabelEngine

_PLACE = r"^[/~$]"


class FolderSettings(Settings):
    """Where an engine that writes files works, and what stays of a label that failed. None of it changes a number."""

    scratch_dir: str | None = Field(default=None, pattern=_PLACE)
    """Folder below which each label has one of its own: an absolute path, or one that begins with ~ or $NAME, filled in
    on the worker; not given: the worker's temporary folder (TMPDIR)."""
    kept_failures: int = Field(default=5, ge=0)
    """Labels that failed whose files are kept, the last ones of a host (or of `failures_dir`)."""
    kept_megabytes: float = Field(default=200.0, ge=0.0)
    """Most that these take, MB; of a folder that is larger, the largest files go first."""
    failures_dir: str | None = Field(default=None, pattern=_PLACE)
    """Where they are kept, a path as of `scratch_dir`; not given: alflow-failures-UID in the temporary folder."""


class ASECalculatorSettings(FolderSettings):
    """Any calculator of ASE or that follows its interface."""

    calculator: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the calculator class, such as ase.calculators.emt.EMT, or of a function that returns one."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class or function."""


class ASEKind(EngineKind[ASECalculatorSettings]):
    """Any ASE calculator by dotted path."""

    settings = ASECalculatorSettings
    writes_files: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"calculator": "ase.calculators.emt.EMT"}

    def references(self, settings: ASECalculatorSettings) -> tuple[str, ...]:
        """Return what to cite."""
        return (f"and what the calculator {settings.calculator} asks to be cited",)

    def make(self, settings: ASECalculatorSettings) -> LabelEngine:
        """Return an engine for a process with other threads."""
        return self.make_in(settings, None)

    def make_in(self, settings: ASECalculatorSettings, work: Path | None) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.ase import ASEEngine  # noqa: PLC0415 - heavy

        return ASEEngine(settings, work)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.ase",)


KIND = ASEKind()
