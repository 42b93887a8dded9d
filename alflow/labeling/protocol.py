"""Protocols of a label engine, and of the kind that makes one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from alflow.config.base import Settings
from alflow.config.plugins import Kind
from alflow.types import Composition, Evaluation, FloatArray

SettingsT = TypeVar("SettingsT", bound=Settings)


class LabelEngine(Protocol):
    """A physical model that gives energies and forces. Made once a worker, used for many structures."""

    @property
    def theory(self) -> str:
        """Fingerprint: engine, version, hashes of its parameters, every setting that changes a number."""
        ...

    def compute(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy and forces of one structure at (A, 3) Å.

        The result depends on the arguments alone, never on what was computed before: the same
        structure has the same bits on every worker.

        Raises:
            LabelError: the structure cannot be labelled.
        """
        ...


class EngineKind(Kind[SettingsT]):
    """A kind of label engine."""

    first_use: ClassVar[str] = ""
    """What the first use on a machine does besides, in a few words."""
    writes_files: ClassVar[bool] = False
    """Whether its engines write files: each then works in a process and a folder of its own (`make_in`)."""

    def make(self, settings: SettingsT) -> LabelEngine:
        """Return an engine.

        Raises:
            InputError: the settings do not allow one to be made here.
        """
        raise NotImplementedError

    def make_in(self, settings: SettingsT, work: Path | None) -> LabelEngine:
        """Return an engine that may write files.

        Args:
            settings: of the engine.
            work: folder of this process alone, whose working directory is the engine's to change; None where the
                process has other threads.

        Raises:
            InputError: as `make`.
        """
        del work
        return self.make(settings)

    def forks(self) -> tuple[str, ...]:
        """Return the modules that a process imports once before it is forked for engines of this kind."""
        return ()
