"""The label farm: frames in, ledger rows out.

A frame that the ledger knows under this theory is not paid for again. A task that dies with its worker is cut into
single frames; a frame that kills its worker twice becomes a failure row, and the others arrive.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alflow.chunking import chunk_sizes
from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError, FailureReason
from alflow.graph import TaskGraph, WorkerGoneError
from alflow.ledger import Ledger, LedgerRow, Origin, structure_key
from alflow.tasks import Outcome
from alflow.types import FloatArray, Frames, IntArray

COMMIT_SECONDS = 1.0
"""Longest time between the arrival of a label and its commit to the disk."""
FIRST_GUESS_LABEL_SECONDS = 0.01


@dataclass(frozen=True)
class _Wanted:
    """One frame to label."""

    numbers: IntArray
    positions: FloatArray
    charge: int
    origin: Origin


@dataclass
class LabelFarm:
    """Farms frames out to the executor "cpu" and writes what comes back to the ledger."""

    graph: TaskGraph
    ledger: Ledger
    settings: LabelSettings
    theory: str
    wanted: int = 0
    done: int = 0
    known: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    seconds: float = 0.0
    """Worker-seconds spent on the labels that arrived."""
    _measured: int = 0
    _committed: float = 0.0
    _first: float | None = None

    def request(self, frames: Frames, origins: Sequence[Origin]) -> None:
        """Ask for labels of frames; those in the ledger are taken from there."""
        new = []
        keys = [structure_key(self.theory, frames.numbers, positions, frames.charge) for positions in frames.positions]
        held = self.ledger.lookup(keys)
        self.wanted += len(frames)
        for key, positions, origin in zip(keys, frames.positions, origins, strict=True):
            if key in held:
                self.known += 1
                self.done += 1
                if held[key] != "ok":
                    self.failed[held[key]] += 1
            else:
                new.append(_Wanted(frames.numbers, positions, frames.charge, origin))
        start = 0
        workers = self.graph.capacity("cpu")
        label_seconds = self.label_seconds()
        sizes = chunk_sizes(len(new), workers, label_seconds, self.settings.task_seconds, self.settings.frames_per_task)
        for size in sizes:
            self._submit(new[start : start + size])
            start += size

    def label_seconds(self) -> float:
        """Return the mean time of a label measured so far, s."""
        return max(self.seconds / self._measured, 1e-5) if self._measured else FIRST_GUESS_LABEL_SECONDS

    def rate(self) -> float:
        """Return labels a second since the first task."""
        elapsed = time.monotonic() - self._first if self._first else 0.0
        return self._measured / elapsed if elapsed > 0 else 0.0

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return self.in_flight == 0

    def tick(self) -> None:
        """Commit what arrived, at least once a second."""
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.ledger.commit()
            self._committed = time.monotonic()

    def check_failures(self, where: str) -> None:
        """Raise a CampaignError if more labels failed than the settings accept."""
        failed = sum(self.failed.values())
        if failed > self.settings.max_failed_share * max(self.wanted, 1):
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
            raise CampaignError(
                f"At most {self.settings.max_failed_share:.0%} of the labels of one iteration may fail "
                f"(labels.max_failed_share); in {where} {failed} of {self.wanted} did: {reasons}."
            )

    def new_account(self) -> None:
        """Start counting anew: wanted, done, known, failed."""
        self.wanted = self.done = self.known = 0
        self.failed = Counter()

    def _submit(self, frames: list[_Wanted], attempt: int = 1) -> None:
        if not frames:
            return
        self._first = self._first or time.monotonic()
        self.in_flight += len(frames)

        def handle(result: Outcome | BaseException) -> None:
            self.in_flight -= len(frames)
            self._handle(frames, attempt, result)

        self.graph.submit(
            "label",
            self.settings.engine,
            self.settings.settings.model_dump(mode="json"),
            frames[0].numbers,
            np.stack([frame.positions for frame in frames]),
            frames[0].charge,
            self.settings.timeout_s,
            handler=handle,
            frames=len(frames),
            iteration=frames[0].origin.iteration,
            attempt=attempt,
        )

    def _handle(self, frames: list[_Wanted], attempt: int, result: Outcome | BaseException) -> None:
        if isinstance(result, Outcome):
            self._take(frames, result)
        elif isinstance(result, WorkerGoneError | MemoryError):
            self._isolate(frames, attempt, result)
        elif isinstance(result, CampaignError):
            raise result
        else:
            raise CampaignError(f"A label task failed: {type(result).__name__}: {result}") from result

    def _isolate(self, frames: list[_Wanted], attempt: int, error: BaseException) -> None:
        """Try the frames of a lost task once more, then one by one; give up the one that kills its worker again."""
        if attempt == 1:
            self._submit(frames, attempt=2)
        elif len(frames) > 1:
            for frame in frames:
                self._submit([frame], attempt=2)
        else:
            reason: FailureReason = "out-of-memory" if isinstance(error, MemoryError) else "engine-crash"
            self._fail(frames[0], reason, str(error), socket.gethostname(), 0.0)

    def _take(self, frames: list[_Wanted], outcome: Outcome) -> None:
        value: dict[str, Any] = outcome.value
        if value["theory"] != self.theory:
            raise CampaignError(
                f"Labels of one campaign have one theory; worker {outcome.report.pid} on {outcome.report.host} has "
                f"another one (fingerprint {value['theory'][:12]}, driver {self.theory[:12]}): "
                "its versions or parameter files differ."
            )
        self.seconds += outcome.report.ended - outcome.report.started
        self._measured += len(frames)
        for place, row in enumerate(value["rows"]):
            self._label(frames[row], value, place, int(row), outcome.report.host)
        for row, reason, detail, host in value["failures"]:
            self._fail(frames[row], reason, detail, host, float(value["seconds"][row]))

    def _label(self, frame: _Wanted, value: dict[str, Any], place: int, row: int, host: str) -> None:
        energy = float(value["energies"][place])
        self.done += 1
        self.ledger.add(
            LedgerRow.labelled(
                self.theory,
                frame.numbers,
                frame.positions,
                frame.charge,
                energy,
                value["forces"][place],
                origin=frame.origin,
                host=host,
                seconds=float(value["seconds"][row]),
                cycles=int(value["cycles"][row]),
            )
        )

    def _fail(self, frame: _Wanted, reason: FailureReason, detail: str, host: str, seconds: float) -> None:
        self.done += 1
        self.failed[reason] += 1
        self.ledger.add(
            LedgerRow.failed(
                self.theory,
                frame.numbers,
                frame.positions,
                frame.charge,
                reason,
                detail,
                origin=frame.origin,
                host=host,
                seconds=seconds,
            )
        )
