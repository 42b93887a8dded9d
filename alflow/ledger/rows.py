"""Rows of the ledger, and the key that tells structures apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from alflow.errors import FailureReason
from alflow.types import Composition, FloatArray, Frames, IntArray, LabelBatch

OriginKind = Literal["import", "first-data", "selected", "jitter", "reference", "audit"]
"""Why a structure was labelled. The order is that of the dataset within an iteration."""

ORIGIN_KINDS: tuple[OriginKind, ...] = get_args(OriginKind)

TRAINING_KINDS: tuple[OriginKind, ...] = ("import", "first-data", "selected", "jitter", "audit")
"""What a potential may learn from. Frames of the reference pull are what it is judged by."""


@dataclass(frozen=True)
class Origin:
    """Where a structure came from. One structure may have several."""

    kind: OriginKind
    iteration: int
    pull: int = 0
    """Number of the pull; of the molecule for the first data."""
    step: int = 0
    """Step of the trajectory, or row of the imported file."""
    jitter: int = 0
    """0 for the frame itself, from 1 on for its noise copies."""


@dataclass(frozen=True)
class LedgerRow:
    """One structure with its label, or with the reason why it has none."""

    theory: str
    """Fingerprint of the label engine."""
    composition: Composition
    positions: FloatArray = field(repr=False)
    """(A, 3) Å."""
    origin: Origin
    energy: float | None = None
    """eV; None for a failure."""
    forces: FloatArray | None = field(default=None, repr=False)
    """(A, 3) eV/Å; None for a failure."""
    reason: FailureReason | None = None
    """Of a failure; None for a label."""
    detail: str = ""
    host: str = ""
    seconds: float = 0.0
    """Wall time of the label, s."""
    cycles: int = -1
    """Self-consistency cycles; -1 where the engine counts none."""
    created: float = 0.0
    """When it came in, seconds since 1970 UTC."""
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    """What the engine told of its solution besides, by name; see `Evaluation.diagnostics`."""

    @property
    def numbers(self) -> IntArray:
        """(A,) atomic numbers."""
        return self.composition.numbers

    @property
    def charge(self) -> int:
        """Total charge, elementary charges."""
        return self.composition.charge

    @property
    def key(self) -> bytes:
        """Structure key, 32 bytes."""
        return structure_key(self.theory, self.composition, self.positions)


def structure_key(theory: str, composition: Composition, positions: FloatArray) -> bytes:
    """Return the SHA-256 of a theory and a structure.

    Two structures share a key only if all coordinates are equal to the last bit (-0 counts as 0) and the atoms stand in
    the same order. The bytes are little-endian on every machine.

    Args:
        theory: Fingerprint of the label engine.
        composition: Of A atoms. The lowest multiplicity leaves no trace: keys of before there was one are the same.
        positions: (A, 3) Å.
    """
    return structure_keys(theory, Frames(composition, np.asarray(positions)[None]))[0]


def structure_keys(theory: str, frames: Frames) -> list[bytes]:
    """Return the key of each frame; see `structure_key`."""
    named, composition = theory.encode(), frames.composition
    spin = [] if composition.is_lowest else [composition.multiplicity]
    head = np.array([len(named), len(composition), composition.charge, *spin], dtype="<i8")
    prefix = hashlib.sha256(head.tobytes() + named + composition.numbers.astype("<i8").tobytes())
    keys = []
    for positions in np.ascontiguousarray(frames.positions, dtype="<f8") + 0.0:
        key = prefix.copy()
        key.update(positions.tobytes())
        keys.append(key.digest())
    return keys


def label_rows(
    theory: str, frames: Frames, batch: LabelBatch, origins: Sequence[Origin], host: str, created: float
) -> list[LedgerRow]:
    """Return the ledger rows of what labelling some frames gave: the labels, then the failures.

    A label with a number that is not finite becomes a failure.

    Args:
        theory: Fingerprint of the label engine.
        frames: The F frames that were asked for.
        batch: What came back.
        origins: F origins.
        host: Where the labels were computed.
        created: Seconds since 1970 UTC.
    """

    def row(frame: int, where: str) -> LedgerRow:
        return LedgerRow(
            theory=theory,
            composition=frames.composition,
            positions=frames.positions[frame],
            origin=origins[frame],
            host=where,
            seconds=float(batch.seconds[frame]),
            cycles=int(batch.cycles[frame]),
            created=created,
            diagnostics=batch.diagnostics[frame] if batch.diagnostics else {},
        )

    rows = []
    for frame, energy, forces in zip(batch.rows.tolist(), batch.labels.energies, batch.labels.forces, strict=True):
        if np.isfinite(energy) and np.isfinite(forces).all():
            rows.append(replace(row(frame, host), energy=float(energy), forces=forces))
        else:
            rows.append(replace(row(frame, host), reason="not-finite", detail="energy or forces are not finite"))
    for failure in batch.failures:
        rows.append(replace(row(failure.frame, failure.host), reason=failure.reason, detail=failure.detail))  # noqa: PERF401
    return rows
