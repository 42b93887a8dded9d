"""The output of `alflow label`: labels beside it as they arrive, and the whole of it once all are there.

Beside an output ``x.xyz``, ``x.xyz.part`` takes each label as it comes, as extended XYZ in the order of arrival, each
frame with the marks of its job. An interrupt, a crash or a full disk costs no label that stands there: the same job
goes on from it, and another job is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import ase.io
import numpy as np
from ase import Atoms

from alflow.errors import InputError
from alflow.files.targets import check_new, check_target, refused, shown
from alflow.structures.extxyz import DIAGNOSTIC, RESULTS, diagnostic_entries, extxyz_frame, one_line
from alflow.structures.files import FAILURE, Structure
from alflow.structures.writing import check_name, writing_extxyz
from alflow.types import FloatArray

WHAT = "The output"
DETAIL = "label_failure_detail"
"""Entry of a frame that has no label: what the engine said, on one line; the reason stands under `FAILURE`."""
ROW, SOURCE, SETTINGS, LIMITS = "label_row", "label_source", "label_settings", "label_limits"
"""Marks of a frame in a partial output: its place in the source, and what its job was."""
OWN = RESULTS | {FAILURE, DETAIL, ROW, SOURCE, SETTINGS, LIMITS, "theory", "engine"}
"""Entries of a source that are of an earlier label; they are not taken along."""
STRANGE = "is no partial output of `alflow label`"
MOST_DIGITS = 10
"""Of a number of atoms."""
LONGEST_NAME = 255
"""Bytes of a file's name."""
LIMITED = ("timeout", "out-of-memory", "engine-crash")
"""Failures that other limits may spare: they are asked for again where the limits have changed."""


@dataclass(frozen=True)
class FrameLabel:
    """A label, or why there is none."""

    energy: float | None = None
    """eV; None for a failure."""
    forces: FloatArray | None = field(default=None, repr=False)
    """(A, 3) eV/Å; None for a failure."""
    reason: str = ""
    """Of a failure."""
    detail: str = ""
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    """See `Evaluation.diagnostics`."""


@dataclass(frozen=True)
class LabelJob:
    """What is labelled, and by what."""

    structures: Sequence[Structure]
    engine: str
    """Name for people."""
    settings: str
    """Fingerprint of the engine's name and settings."""
    limits: str
    """Limits of one label."""

    def source(self) -> str:
        """Return a fingerprint of all that the labels depend on but the engine."""
        digest = hashlib.sha256()
        for one in self.structures:
            spin = "" if one.composition.is_lowest else f"{one.composition.multiplicity} "
            digest.update(f"{len(one.atoms)} {one.charge} {spin}".encode())
            digest.update(np.asarray(one.atoms.numbers, dtype="<i8").tobytes())
            digest.update(np.asarray(one.atoms.positions, dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    def frame(self, row: int, label: FrameLabel, theory: str | None, marks: Mapping[str, Any]) -> str:
        """Return a frame of the output: all that the source's has, and the label or why there is none.

        Args:
            row: place in the source.
            label: of the frame.
            theory: fingerprint of the theory; None where no label has told it.
            marks: further entries.
        """
        one = self.structures[row]
        info = {key: value for key, value in one.atoms.info.items() if not is_own(key)}
        info |= {"charge": one.charge, "engine": self.engine}
        info |= {"theory": theory} if theory is not None else {}
        info |= {FAILURE: label.reason, DETAIL: one_line(label.detail)} if label.reason else {}
        info |= diagnostic_entries(label.diagnostics)
        return extxyz_frame(one.atoms, label.energy, label.forces, {**info, **marks})


def check_output(target: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before any label is paid for.

    Raises:
        InputError: its name promises another format, it exists and may not be replaced, or it cannot be written.
    """
    check_target(target, WHAT)
    check_name(target, WHAT)
    check_new(target, overwrite=overwrite)


def is_own(key: object) -> bool:
    """Say whether an entry of a source is of an earlier label."""
    return key in OWN or str(key).startswith(DIAGNOSTIC)


class PartialOutput:
    """The labels of a job as they arrive, in memory and beside the output."""

    def __init__(self, target: Path, job: LabelJob, *, overwrite: bool) -> None:
        """Take over what an earlier, interrupted run of the same job has left.

        Args:
            target: the output.
            job: what is labelled.
            overwrite: whether what is left of another job may be replaced.

        Raises:
            InputError: there is something of another job, another process writes there, or it cannot be written.
        """
        self.path = _beside(target)
        self.labels: dict[int, FrameLabel] = {}
        self.theory: str | None = None
        self._target, self._job = target, job
        self._marks = {SOURCE: job.source(), SETTINGS: job.settings, LIMITS: job.limits}
        with refused(self.path, WHAT):
            self._file = self.path.open("ab+", buffering=0)
        try:
            self._lock()
            self._size = self._take_over(overwrite=overwrite)
            self._file.truncate(self._size)
        except BaseException:
            self.close()
            raise

    def add(self, labels: Mapping[int, FrameLabel], theory: str | None) -> None:
        """Write labels down.

        Raises:
            InputError: the disk takes no more; what was there before is kept.
        """
        self.theory = self.theory or theory
        text = "".join(
            self._job.frame(row, label, self.theory, {**self._marks, ROW: row}) for row, label in labels.items()
        )
        rest = memoryview(text.encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._size)
            raise InputError(
                f"{WHAT} must be written somewhere; {shown(self.path)} takes no more: {error.strerror}. {self.kept()}"
            ) from error
        self._size += len(text.encode())
        self.labels.update(labels)

    def kept(self) -> str:
        """Say what an end would leave, and how to go on."""
        if not self.labels:
            return "No label had been computed."
        return (
            f"{len(self.labels)} of {len(self._job.structures)} frames are done and kept in {shown(self.path)}; "
            "the same command goes on from there."
        )

    def finish(self) -> Counter[str]:
        """Write the output in the order of the source, remove what is beside it, and count the failures by reason.

        Raises:
            InputError: the disk takes no more; all labels are kept.
        """
        try:
            with writing_extxyz(self._target, WHAT) as file:
                for row in range(len(self._job.structures)):
                    file.write(self._job.frame(row, self.labels[row], self.theory, {}))
        except InputError as error:
            raise InputError(f"{error} {self.kept()}") from error
        with contextlib.suppress(OSError):
            self.path.unlink()
        return Counter(label.reason for label in self.labels.values() if label.reason)

    def close(self) -> None:
        """Let go of the file; one without a label is removed."""
        if not self.labels and not self._file.closed and self._file.seek(0, io.SEEK_END) == 0:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise InputError(
                f"One process at a time writes an output; another one is writing {shown(self.path)}."
            ) from error
        except OSError:  # a file system without locks
            return

    def _take_over(self, *, overwrite: bool) -> int:
        """Read what is there; return up to which byte it is whole."""
        self._file.seek(0)
        data = self._file.read()
        size = _whole(data)
        if not data:
            return 0
        other = self._take(data[:size].decode(errors="replace")) if size else "" if _is_torn(data) else STRANGE
        if other and not overwrite:
            raise InputError(
                f"Labels go on from those of the same source, engine and settings; {shown(self.path)} {other}. Name "
                "another output, move that file away, or start anew with --overwrite."
            )
        if other:
            self.labels, self.theory = {}, None
        return 0 if other else size

    def _take(self, text: str) -> str:
        """Take the labels of a partial output; return what it is where it is not of this job."""
        try:
            for frame in ase.io.iread(io.StringIO(text), ":", format="extxyz"):
                other = self._other(frame)
                if other:
                    return other
                self._take_frame(frame)
        except Exception:  # noqa: BLE001 - it may be anything, and ASE's reader raises as much
            return STRANGE
        return ""

    def _other(self, frame: Atoms) -> str:
        """Say in what a frame is not of this job; empty if it is."""
        if frame.info[SOURCE] != self._marks[SOURCE] or len(frame) != len(self._job.structures[frame.info[ROW]].atoms):
            return "holds labels of other structures"
        if frame.info[SETTINGS] != self._marks[SETTINGS]:
            return f"holds labels of another engine or other settings ({frame.info['engine']})"
        return ""

    def _take_frame(self, frame: Atoms) -> None:
        info = frame.info
        self.theory = self.theory or info.get("theory")
        if FAILURE in info:
            if info[FAILURE] in LIMITED and info[LIMITS] != self._job.limits:
                return
            label = FrameLabel(reason=info[FAILURE], detail=info[DETAIL])
        else:
            told = {key.removeprefix(DIAGNOSTIC): float(info[key]) for key in info if key.startswith(DIAGNOSTIC)}
            energy, forces = float(frame.get_potential_energy()), frame.get_forces(apply_constraint=False)
            label = FrameLabel(energy, forces, diagnostics=told)
        self.labels[int(info[ROW])] = label


def _beside(target: Path) -> Path:
    """Return the name of the partial output: that of the output and an ending, or a short one if that is too long."""
    name = f"{target.name}.part"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"alflow-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part"
    return target.with_name(name)


def _is_torn(data: bytes) -> bool:
    """Say whether this is the beginning of a frame as alflow writes them: a crash cut the first one off."""
    head, _, rest = data.partition(b"\n")
    return head.isdigit() and any(rest[: len(start)] == start[: len(rest)] for start in (b"Properties=", b"Lattice="))


def _whole(data: bytes) -> int:
    """Return up to which byte extended XYZ is whole: what a crash left of a last frame is behind it."""
    lines = data.split(b"\n")
    place = end = 0
    while place < len(lines) - 1 and lines[place].isdigit() and len(lines[place]) < MOST_DIGITS:
        behind = place + int(lines[place]) + 2
        if behind >= len(lines):
            break
        end += sum(len(line) + 1 for line in lines[place:behind])
        place = behind
    return end
