"""Workloads of the labelling benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from alflow.acquisition.augmentation import jitter
from alflow.config.campaign import LabelSettings
from alflow.config.plugins import ENGINES, find_installed
from alflow.types import Frames
from alflow.workers.probes import SLEEP, TIMED_LABEL
from alflow.workers.result import Call

JITTER_ANGSTROM = 0.05


class Workload(Protocol):
    """What a label task of the benchmark is."""

    @property
    def text(self) -> str:
        """What is labelled, in a few words."""
        ...

    def call(self, first: int, count: int) -> Call[dict[str, Any]]:
        """Return the task that labels `count` frames from row `first` on."""
        ...


@dataclass(frozen=True)
class EngineWorkload:
    """Labels of jittered copies of a structure by an engine."""

    labels: LabelSettings
    frames: Frames

    @property
    def text(self) -> str:
        """What is labelled."""
        return f"{self.labels.engine}, {len(self.frames.numbers)} atoms"

    @classmethod
    def of(cls, labels: LabelSettings, structure: Frames, count: int) -> EngineWorkload:
        """Make `count` different frames from the first frame of a structure."""
        rng = np.random.default_rng(0)
        positions = jitter(structure.positions[0], count, JITTER_ANGSTROM, rng)
        return cls(labels, Frames(structure.composition, positions))

    def call(self, first: int, count: int) -> Call[dict[str, Any]]:
        """Return a task as a campaign's, which also says how much processor time it took.

        An engine that writes files labels in a child process, which alone has a folder of its own.
        """
        guarded = find_installed(ENGINES, self.labels.engine).writes_files
        rows = np.arange(first, first + count) % len(self.frames)
        settings = self.labels.settings.model_dump(mode="json")
        frames = self.frames
        timeout_s = self.labels.timeout_s if guarded else 0.0
        return TIMED_LABEL(self.labels.engine, settings, frames.composition, frames.positions[rows], timeout_s)


@dataclass(frozen=True)
class SleepWorkload:
    """Labels that only take time: what the system costs without the chemistry."""

    label_seconds: float

    @property
    def text(self) -> str:
        """What is labelled."""
        return f"sleep, {self.label_seconds:g} s a label"

    def call(self, first: int, count: int) -> Call[dict[str, Any]]:  # noqa: ARG002 - all frames are alike
        """Return a task that takes the time of `count` labels."""
        return SLEEP(count, self.label_seconds)
