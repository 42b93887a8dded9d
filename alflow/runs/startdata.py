"""Files of a run's folder ``first-data`` that say what the campaign starts from, where that is no trajectory.

::

    structures.npz    structures of a file, each of which is labelled
    labels.json       a file of labels that was taken in, and whose word it is that they fit
    base.npz          structures of a base, each of which is labelled
    base.json         which base, and what was taken from it
    base.toml base.pt settings of the base; its ensemble
    weights.pt        weights that the first training starts from, of a file

A run needs neither the file nor the base any more once these are there; ``base.npz`` is the last one written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from alflow.files.whole import write_atomically
from alflow.runs.damage import COPY, whole
from alflow.runs.directory import RunDirectory, composition_arrays, composition_in, save_arrays
from alflow.types import Frames, IntArray

ANEW = f"{COPY}; without one, remove it: the next `alflow run` makes it anew from where it came"


@dataclass(frozen=True)
class NumberedFrames:
    """F structures of one composition, and their numbers among all that are labelled first."""

    frames: Frames
    numbers: IntArray
    """(F,)."""


@dataclass(frozen=True)
class BaseNote:
    """What was taken from a base."""

    run: str
    """Its run directory."""
    engine: str
    """Its label engine."""
    theory: str
    """Fingerprint of that."""
    iteration: int
    """Of the pulls and of the ensemble."""
    labels: int
    """That the base has of its own theory."""
    of_first_data: int
    """Structures taken from its first data."""
    of_pulls: int
    """Structures taken from its pulls."""
    use: str
    """See `base.use`."""


@dataclass(frozen=True)
class LabelsNote:
    """A file of labels that was taken in as first data."""

    file: str
    digest: str
    """SHA-256 of the file."""
    labels: int
    word: str
    """How it is known that they are of the campaign's theory: see `first_data.labels_theory`."""


NoteT = TypeVar("NoteT", BaseNote, LabelsNote)


@dataclass(frozen=True)
class StartFolder:
    """The folder ``first-data`` of a run."""

    path: Path

    @classmethod
    def of(cls, run: RunDirectory) -> StartFolder:
        """Return that of a run."""
        return cls(run.path / "first-data")

    @property
    def structures(self) -> Path:
        """Structures of a file."""
        return self.path / "structures.npz"

    @property
    def base_structures(self) -> Path:
        """Structures of a base."""
        return self.path / "base.npz"

    @property
    def base_ensemble(self) -> Path:
        """Ensemble of the base."""
        return self.path / "base.pt"

    @property
    def weights(self) -> Path:
        """Weights of a file."""
        return self.path / "weights.pt"

    @property
    def base_settings(self) -> Path:
        """Settings of the base."""
        return self.path / "base.toml"

    def base(self) -> BaseNote | None:
        """Return what was taken from a base; None before anything was, and where there is none."""
        return _read(self.path / "base.json", BaseNote)

    def labels(self) -> LabelsNote | None:
        """Return what file of labels was taken in; None before, and where there is none."""
        return _read(self.path / "labels.json", LabelsNote)

    def keep_base(self, note: BaseNote) -> None:
        """Write down what was taken from a base."""
        self._write("base.json", note)

    def keep_labels(self, note: LabelsNote) -> None:
        """Write down that a file of labels was taken in."""
        self._write("labels.json", note)

    def _write(self, name: str, note: BaseNote | LabelsNote) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / name, json.dumps(asdict(note), indent=1).encode())


def save_structures(path: Path, parts: Sequence[NumberedFrames]) -> None:
    """Write structures by composition."""
    arrays = {"groups": np.array(len(parts))}
    for index, part in enumerate(parts):
        arrays |= composition_arrays(part.frames.composition, f"_{index}")
        arrays |= {f"positions_{index}": part.frames.positions, f"numbering_{index}": part.numbers}
    save_arrays(path, arrays)


def load_structures(path: Path) -> tuple[NumberedFrames, ...]:
    """Read structures by composition."""
    with whole(path, ANEW), np.load(path, allow_pickle=False) as data:
        return tuple(
            NumberedFrames(Frames(composition_in(data, f"_{i}"), data[f"positions_{i}"]), data[f"numbering_{i}"])
            for i in range(int(data["groups"]))
        )


def digest_of(parts: Sequence[NumberedFrames]) -> str:
    """Return a SHA-256 of compositions, positions and numbers."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.frames.composition.key)
        found.update(np.ascontiguousarray(part.frames.positions, dtype="<f8").tobytes())
        found.update(np.ascontiguousarray(part.numbers, dtype="<i8").tobytes())
    return found.hexdigest()


def _read(path: Path, kind: type[NoteT]) -> NoteT | None:
    if not path.exists():
        return None
    with whole(path, ANEW):
        return kind(**json.loads(path.read_text(encoding="utf-8")))
