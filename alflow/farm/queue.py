"""The queue of labels: frames in, replies out, over the executor "cpu" of a site.

Frames are cut into tasks by the time that labels are measured to take. A task that dies with its worker is tried once
more, then cut into single frames; a frame that kills its worker twice is given up, and the others arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alflow.errors import CampaignError, FailureReason
from alflow.execution.graph import TaskGraph, WorkerGoneError
from alflow.farm.chunks import chunk_sizes, parts_of_lost
from alflow.types import Frames
from alflow.workers.models import EngineModel
from alflow.workers.reply import LabelReply
from alflow.workers.result import Outcome, Report
from alflow.workers.selftest import Canary
from alflow.workers.tasks import LABEL

FIRST_GUESS_LABEL_SECONDS = 0.01

TagT = TypeVar("TagT")
Reply = dict[str, Any]
"""Of `workers.tasks.label`."""


@dataclass(frozen=True)
class Chunk(Generic[TagT]):
    """The frames of one task."""

    frames: Frames
    tags: tuple[TagT, ...]
    """(F,) what the caller knows each frame by."""

    def part(self, rows: slice) -> Chunk[TagT]:
        """Return some of the frames."""
        return Chunk(self.frames.take(rows), self.tags[rows])


class LabelQueue(Generic[TagT]):
    """Has frames labelled, and hands each reply to a sink."""

    def __init__(
        self,
        graph: TaskGraph,
        model: EngineModel,
        sink: Callable[[Chunk[TagT], LabelReply, Report | None], None],
        *,
        theory: str | None = None,
        task_seconds: float = 2.0,
        frames_per_task: int = 0,
        detail: Callable[[Chunk[TagT]], Mapping[str, Any]] = lambda _: {},
    ) -> None:
        """Start empty.

        Args:
            graph: Runs the tasks.
            model: The label engine.
            sink: Takes each reply; the report is None where the task was given up.
            theory: That all labels must be of; None: that of the first reply.
            task_seconds: Length aimed at for one task, s.
            frames_per_task: Frames of each task; 0: as many as last `task_seconds`.
            detail: Of a task, for the event log.
        """
        self.model, self.theory = model, theory
        self._graph, self._sink, self._detail = graph, sink, detail
        self._task_seconds, self._frames_per_task = task_seconds, frames_per_task
        self.in_flight = 0
        self.seconds = 0.0
        """Worker-seconds spent on the labels that arrived."""
        self._measured = 0
        self._arrived = 0
        self._waited = 0.0
        self._since = time.monotonic()

    def request(self, frames: Frames, tags: Sequence[TagT], *, one_by_one: bool = False) -> None:
        """Ask for labels.

        Args:
            frames: Of one composition.
            tags: (F,) what the caller knows each frame by.
            one_by_one: Whether each frame is a task of its own.
        """
        chunk, first = Chunk(frames, tuple(tags)), 0
        workers, per_task = self._graph.capacity("cpu"), 1 if one_by_one else self._frames_per_task
        for size in chunk_sizes(len(frames), workers, self.label_seconds(), self._task_seconds, per_task):
            self._submit(chunk.part(slice(first, first + size)))
            first += size

    def label_seconds(self) -> float:
        """Return the mean time of a label measured so far, s; the driver's own before any has come."""
        if self._measured:
            return max(self.seconds / self._measured, 1e-5)
        guess = FIRST_GUESS_LABEL_SECONDS if self.model.canary is None else Canary(*self.model.canary).seconds
        return max(guess, 1e-5)

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return self.in_flight == 0

    def rate(self) -> float:
        """Return labels a second, counted since `count_anew`, over the time that any was in flight."""
        self._count_time()
        return self._arrived / self._waited if self._waited > 0 else 0.0

    def count_anew(self) -> None:
        """Start counting the rate anew."""
        self._arrived, self._waited, self._since = 0, 0.0, time.monotonic()

    def _count_time(self) -> None:
        """Add the time that has gone by, if any label was in flight."""
        now = time.monotonic()
        self._waited += now - self._since if self.in_flight else 0.0
        self._since = now

    def _submit(self, chunk: Chunk[TagT], attempt: int = 1) -> None:
        self._count_time()
        self.in_flight += len(chunk.frames)

        def handle(result: Outcome[Reply] | BaseException) -> None:
            self._count_time()
            self.in_flight -= len(chunk.frames)
            self._handle(chunk, attempt, result)

        frames, model = chunk.frames, self.model
        call = LABEL(
            model.engine,
            model.settings,
            frames.composition,
            frames.positions,
            model.timeout_s,
            model.memory_gb,
            model.canary,
        )
        self._graph.submit(call, handle, frames=len(frames), **self._detail(chunk), attempt=attempt)

    def _handle(self, chunk: Chunk[TagT], attempt: int, result: Outcome[Reply] | BaseException) -> None:
        if isinstance(result, Outcome):
            self._take(chunk, LabelReply.unpack(result.value), result.report)
        elif isinstance(result, WorkerGoneError | MemoryError):
            self._isolate(chunk, attempt, result)
        elif isinstance(result, CampaignError):
            raise result
        else:
            raise CampaignError(f"A label task failed: {type(result).__name__}: {result}") from result

    def _isolate(self, chunk: Chunk[TagT], attempt: int, error: BaseException) -> None:
        """Try the frames of a lost task once more, then one by one; give up the one that kills its worker again."""
        parts = parts_of_lost(len(chunk.frames), attempt)
        for part in parts:
            self._submit(chunk.part(part), attempt=2)
        if not parts:
            reason: FailureReason = "out-of-memory" if isinstance(error, MemoryError) else "engine-crash"
            self._sink(chunk, LabelReply.given_up(reason, str(error)), None)

    def _take(self, chunk: Chunk[TagT], reply: LabelReply, report: Report) -> None:
        require_theory(reply, self.theory, report)
        self.theory = self.theory or reply.theory
        if len(reply.batch.rows):  # failures may come at once
            self.seconds += report.ended - report.started
            self._measured += len(chunk.frames)
        self._arrived += len(chunk.frames)
        self._sink(chunk, reply, report)


def require_theory(reply: LabelReply, theory: str | None, report: Report) -> None:
    """Refuse labels of another theory: a worker of another version, or with other parameters.

    Raises:
        CampaignError: the reply is of another theory.
    """
    if theory is not None and reply.theory != theory:
        raise CampaignError(
            f"Labels of one ledger or file have one theory; worker {report.pid} on {report.host} has another one "
            f"(fingerprint {str(reply.theory)[:12]}, expected {theory[:12]}): its versions or parameter files differ. "
            "`alflow site check` tells which."
        )
