"""The label farm: frames in, ledger rows out.

A frame that the ledger knows under this theory is not paid for again. A task that dies with its worker is cut into
single frames; a frame that kills its worker twice becomes a failure row, and the others arrive.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError, FailureReason
from alflow.execution.graph import TaskGraph, WorkerGoneError
from alflow.farm.chunks import chunk_sizes, parts_of_lost
from alflow.labeling.outliers import refuse_outliers
from alflow.ledger import Ledger, Origin, label_rows
from alflow.types import Frames, LabelBatch, LabelFailure, Labels
from alflow.workers.models import EngineModel
from alflow.workers.result import Outcome
from alflow.workers.selftest import Canary
from alflow.workers.tasks import LABEL

FEW_LABELS = 20
"""An iteration that asks for fewer labels is judged as if it had asked for so many."""
FIRST_GUESS_LABEL_SECONDS = 0.01
NOTHING, ZERO, UNKNOWN = np.empty(0, dtype=np.int64), np.zeros(1), np.full(1, -1, dtype=np.int64)


@dataclass(frozen=True)
class _Chunk:
    """The frames of one task."""

    frames: Frames
    origins: tuple[Origin, ...]

    def part(self, first: int, last: int) -> _Chunk:
        """Return the frames from `first` up to, not including, `last`."""
        return _Chunk(self.frames.take(slice(first, last)), self.origins[first:last])


@dataclass
class LabelFarm:
    """Farms frames out to the executor "cpu" and writes what comes back to the ledger."""

    graph: TaskGraph
    ledger: Ledger
    model: EngineModel
    settings: LabelSettings
    theory: str
    wanted: int = 0
    done: int = 0
    known: int = 0
    """Found in the ledger."""
    failed: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    """Worker-seconds spent on the labels that arrived."""
    _measured: int = 0
    _usual: dict[bytes, float] = field(default_factory=dict)
    """Median energy of the first data of each composition, eV."""
    _arrived: int = 0
    """Frames of this account that came back from workers."""
    _waited: float = 0.0
    """For how long labels of this account were in flight, s, up to `_since`."""
    _since: float = 0.0
    """When labels in flight were last looked at: a time of the monotonic clock."""

    def request(self, frames: Frames, origins: Sequence[Origin]) -> None:
        """Ask for labels of frames; those in the ledger are taken from there."""
        known = self.ledger.lookup(self.theory, frames)
        held = np.sort(np.concatenate([known.labelled, known.failed]))
        self.ledger.add_origins(self.theory, frames.take(held), [origins[row] for row in held])
        self.wanted += len(frames) - len(known.repeated)
        self.known += len(held)
        self.done += len(held)
        self.failed += len(known.failed)
        chunk = _Chunk(frames.take(known.missing), tuple(origins[row] for row in known.missing))
        first = 0
        for size in self._sizes(len(known.missing)):
            self._submit(chunk.part(first, first + size))
            first += size

    def _sizes(self, count: int) -> tuple[int, ...]:
        chosen = self.settings
        workers = self.graph.capacity("cpu")
        return chunk_sizes(count, workers, self.label_seconds(), chosen.task_seconds, chosen.frames_per_task)

    def label_seconds(self) -> float:
        """Return the mean time of a label measured so far, s; the driver's own before any has come."""
        if self._measured:
            return max(self.seconds / self._measured, 1e-5)
        guess = FIRST_GUESS_LABEL_SECONDS if self.model.canary is None else Canary(*self.model.canary).seconds
        return max(guess, 1e-5)

    def rate(self) -> float:
        """Return labels a second, counted since `new_account`, over the time that any was in flight."""
        self._count_time()
        return self._arrived / self._waited if self._waited > 0 else 0.0

    def _count_time(self) -> None:
        """Add the time that has gone by, if any label was in flight."""
        now = time.monotonic()
        self._waited += now - self._since if self.in_flight else 0.0
        self._since = now

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return self.in_flight == 0

    def tick(self) -> None:
        """Commit what arrived: called when nothing else has, so many labels that come quickly share a commit."""
        self.ledger.commit()

    def check_failures(self, iteration: int) -> None:
        """Raise a CampaignError if more labels failed than the settings accept; see `FEW_LABELS`."""
        if self.failed > self.settings.max_failed_share * max(self.wanted, FEW_LABELS):
            counted = self.ledger.failures_by_reason(self.theory, iteration)
            reasons = ", ".join(f"{count} {reason}" for reason, count in counted.items())
            raise CampaignError(
                f"At most {self.settings.max_failed_share:.0%} of the labels of one iteration may fail "
                f"(labels.max_failed_share); in iteration {iteration} {self.failed} of {self.wanted} did: {reasons}."
            )

    def new_account(self) -> None:
        """Start counting anew: wanted, done, known, failed, and the rate."""
        self.wanted = self.done = self.known = self.failed = 0
        self._arrived, self._waited, self._since = 0, 0.0, time.monotonic()

    def _submit(self, chunk: _Chunk, attempt: int = 1) -> None:
        self._count_time()
        self.in_flight += len(chunk.frames)

        def handle(result: Outcome[dict[str, Any]] | BaseException) -> None:
            self._count_time()
            self.in_flight -= len(chunk.frames)
            self._handle(chunk, attempt, result)

        frames = chunk.frames
        model = self.model
        call = LABEL(
            model.engine,
            model.settings,
            frames.numbers.tolist(),
            frames.positions,
            frames.charge,
            model.timeout_s,
            model.memory_gb,
            model.canary,
        )
        detail = {"frames": len(frames), "iteration": chunk.origins[0].iteration, "attempt": attempt}
        self.graph.submit(call, handle, **detail)

    def _handle(self, chunk: _Chunk, attempt: int, result: Outcome[dict[str, Any]] | BaseException) -> None:
        if isinstance(result, Outcome):
            self._take(chunk, result)
        elif isinstance(result, WorkerGoneError | MemoryError):
            self._isolate(chunk, attempt, result)
        elif isinstance(result, CampaignError):
            raise result
        else:
            raise CampaignError(f"A label task failed: {type(result).__name__}: {result}") from result

    def _isolate(self, chunk: _Chunk, attempt: int, error: BaseException) -> None:
        """Try the frames of a lost task once more, then one by one; give up the one that kills its worker again."""
        parts = parts_of_lost(len(chunk.frames), attempt)
        for part in parts:
            self._submit(chunk.part(part.start, part.stop), attempt=2)
        if not parts:
            reason: FailureReason = "out-of-memory" if isinstance(error, MemoryError) else "engine-crash"
            failure = LabelFailure(0, reason, str(error), socket.gethostname())
            self._store(
                chunk, LabelBatch(NOTHING, Labels(np.empty(0), np.empty((0, 0, 3))), (failure,), ZERO, UNKNOWN), ""
            )

    def _take(self, chunk: _Chunk, outcome: Outcome[dict[str, Any]]) -> None:
        value: dict[str, Any] = outcome.value
        if value["theory"] != self.theory:
            raise CampaignError(
                f"Labels of one campaign have one theory; worker {outcome.report.pid} on {outcome.report.host} has "
                f"another one (fingerprint {value['theory'][:12]}, driver {self.theory[:12]}): "
                "its versions or parameter files differ."
            )
        if len(value["rows"]):  # failures may come at once
            self.seconds += outcome.report.ended - outcome.report.started
            self._measured += len(chunk.frames)
        labels = Labels(value["energies"], value["forces"])
        failures = tuple(LabelFailure(*failure) for failure in value["failures"])
        self._arrived += len(chunk.frames)
        batch = LabelBatch(value["rows"], labels, failures, value["seconds"], value["cycles"])
        usual, host = self._usual_energy(chunk.frames), outcome.report.host
        if usual is not None:
            batch = refuse_outliers(batch, usual, self.settings.max_energy_offset_ev, host)
        self._store(chunk, batch, host)

    def _usual_energy(self, frames: Frames) -> float | None:
        """Return the median energy of the first data of a composition, eV; None without any."""
        if not self._usual:
            first_data, _ = self.ledger.dataset(self.theory, kinds=("first-data",))
            for group in first_data.groups:
                self._usual[_composition(group.frames)] = float(np.median(group.labels.energies))
        return self._usual.get(_composition(frames))

    def _store(self, chunk: _Chunk, batch: LabelBatch, host: str) -> None:
        rows = label_rows(self.theory, chunk.frames, batch, chunk.origins, host, time.time())
        self.done += len(rows)
        self.failed += sum(row.reason is not None for row in rows)
        self.ledger.add(rows)


def _composition(frames: Frames) -> bytes:
    return np.asarray(frames.numbers, dtype=np.int64).tobytes() + str(frames.charge).encode()
