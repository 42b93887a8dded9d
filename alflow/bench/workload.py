"""What the labelling benchmark labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from alflow.config.campaign import LabelSettings
from alflow.learning.augmentation import jitter
from alflow.types import Frames

JITTER_ANGSTROM = 0.05


class Workload(Protocol):
    """What a label task of the benchmark is."""

    @property
    def what(self) -> str:
        """Name of the task."""
        ...

    def arguments(self, first: int, count: int) -> tuple[Any, ...]:
        """Return the arguments of the task that labels `count` frames from row `first` on."""
        ...


@dataclass(frozen=True)
class EngineWorkload:
    """Labels of jittered copies of a structure by an engine."""

    labels: LabelSettings
    frames: Frames
    what: str = "label"

    @classmethod
    def of(cls, labels: LabelSettings, structure: Frames, count: int) -> EngineWorkload:
        """Make `count` different frames from the first frame of a structure."""
        rng = np.random.default_rng(0)
        positions = jitter(structure.positions[0], count, JITTER_ANGSTROM, rng)
        return cls(labels, Frames(structure.numbers, positions, structure.charge))

    def arguments(self, first: int, count: int) -> tuple[Any, ...]:
        """Return the arguments of `alflow.tasks.label`."""
        rows = np.arange(first, first + count) % len(self.frames)
        settings = self.labels.settings.model_dump(mode="json")
        return self.labels.engine, settings, self.frames.numbers, self.frames.positions[rows], self.frames.charge


@dataclass(frozen=True)
class SleepWorkload:
    """Labels that only take time: what the system costs without the chemistry."""

    label_seconds: float
    what: str = "sleep"

    def arguments(self, first: int, count: int) -> tuple[Any, ...]:  # noqa: ARG002 - all frames are alike
        """Return the arguments of `sleep_frames`."""
        return count, self.label_seconds


def describe(workload: Workload) -> str:
    """Say in a few words what is labelled."""
    if isinstance(workload, EngineWorkload):
        return f"{workload.labels.engine}, {len(workload.frames.numbers)} atoms"
    if isinstance(workload, SleepWorkload):
        return f"sleep, {workload.label_seconds:g} s a label"
    return workload.what
