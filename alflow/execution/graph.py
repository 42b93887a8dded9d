"""The task graph: tasks, their results, and who takes these.

A `TaskGraph` hands tasks to the executors of a site (`Executors`), or to its share of them. Tasks are submitted with a
handler; handlers run one after another in the thread that calls `run_until`, so the rest of alflow needs no locks.
While it waits, the graph watches what Parsl itself does not notice: an interchange that died, an executor that is
beyond help.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from parsl import Config

from alflow.config.campaign import SILENCE_S
from alflow.execution.executors import (
    INFRASTRUCTURE_RETRIES,
    SILENT_TRIES,
    Executors,
    Submitter,
    WorkerGoneError,
    translated,
)
from alflow.runs.events import EventLog
from alflow.workers.result import Call, Outcome

__all__ = ["INFRASTRUCTURE_RETRIES", "SILENT_TRIES", "Task", "TaskGraph", "WorkerGoneError"]

TICK_SECONDS = 0.2

T = TypeVar("T")


@dataclass
class Task(Generic[T]):
    """A submitted task."""

    number: int
    call: Call[T]
    detail: dict[str, Any]
    submitted: float
    """Unix time, s."""
    handler: Callable[[Outcome[T] | BaseException], None]
    future: Any = None
    """Parsl's, or that of a share."""

    @property
    def promise(self) -> Outcome[T]:
        """The outcome to come, as an argument of another task alone: on the worker it is the outcome itself."""
        return cast("Outcome[T]", self.future)


class TaskGraph:
    """Submits tasks to a site and hands their results out, one after another."""

    def __init__(
        self,
        site: Config | Submitter,
        events: EventLog,
        tick: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
        silence_s: float = SILENCE_S,
        exchange: Any = None,
    ) -> None:
        """Start a site's executors, or use a share of those that run.

        Args:
            site: configuration of a site, whose executors are started; or what takes tasks already.
            events: where tasks are written down.
            tick: called by `run_until` when no finished task waits, and at least a few times a second.
            say: shows a sentence to the user.
            silence_s: a worker whose task gives no sign of life for so long is ended.
            exchange: the place of a campaign where several share their labels (`farm.exchange`); None for one alone.
        """
        self._site: Submitter = Executors(site, events.write, say) if isinstance(site, Config) else site
        self._events = events
        self._tick = tick
        self._silence_s = silence_s
        self._numbers = itertools.count()
        self._finished: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pending: dict[int, Task[Any]] = {}
        self.counts: Counter[str] = Counter()
        self.exchange = exchange

    def submit(self, call: Call[T], handler: Callable[[Outcome[T] | BaseException], None], **detail: Any) -> Task[T]:
        """Submit a task; `handler` gets its outcome or its error, in the thread of `run_until`.

        Args:
            call: an app with its arguments.
            handler: takes what comes of it.
            detail: written into the event log.
        """
        task = Task(next(self._numbers), call, detail, time.time(), handler)
        self._pending[task.number] = task
        task.future = self._site.submit(call, self._silence_s)
        task.future.add_done_callback(lambda _: self._finished.put(partial(self._handle, task)))
        return task

    def post(self, handler: Callable[[], None]) -> None:
        """Have something done in the thread of `run_until`; may be called from any thread."""
        self._finished.put(handler)

    @contextlib.contextmanager
    def logging_to(self, events: EventLog) -> Iterator[None]:
        """Write the tasks that end in the block into another event log."""
        before, self._events = self._events, events
        try:
            yield
        finally:
            self._events = before

    def pending(self, what: str | None = None) -> int:
        """Return how many tasks have been submitted and not handled."""
        return sum(1 for task in self._pending.values() if what is None or task.call.what == what)

    def running(self) -> Counter[tuple[str, str]]:
        """Count pending tasks by (what, state); the state is Parsl's name of it."""
        return Counter((task.call.what, self._site.state(task.future)) for task in self._pending.values())

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected; 1 for a thread pool's own count of threads."""
        return self._site.workers(executor)

    def capacity(self, executor: str) -> int:
        """Return the workers that an executor has now or will have at its start (at least 1)."""
        return max(1, self._site.workers(executor))

    def run_until(self, done: Callable[[], bool]) -> None:
        """Handle finished tasks until `done` says so.

        Raises:
            CampaignError: an executor is gone for good.
        """
        watched = 0.0
        while not done():
            self._handle_finished()
            if time.monotonic() - watched > 1.0:
                watched = time.monotonic()
                self._site.check()
            self._tick()

    def _handle_finished(self) -> None:
        """Wait a moment for a finished task; handle it, and what else has finished by then."""
        with contextlib.suppress(queue.Empty):
            self._finished.get(timeout=TICK_SECONDS)()
            began = time.monotonic()
            while time.monotonic() - began < TICK_SECONDS:
                self._finished.get_nowait()()

    def close(self) -> None:
        """End all executors, or leave those that are shared, in bounded time; what is still running is dropped."""
        self._site.close()

    def _handle(self, task: Task[Any]) -> None:
        del self._pending[task.number]
        error = task.future.exception()
        result = task.future.result() if error is None else translated(error)
        self.counts[f"{task.call.what}:{'failed' if error else 'done'}"] += 1
        self._log(task, result)
        task.handler(result)

    def _log(self, task: Task[Any], result: Outcome[Any] | BaseException) -> None:
        fields: dict[str, Any] = {"task": task.number, "executor": task.call.executor, **task.detail}
        fields["submitted"] = task.submitted
        if isinstance(result, Outcome):
            report = result.report
            fields |= {"host": report.host, "pid": report.pid, "started": report.started, "ended": report.ended}
            fields["outcome"] = "ok"
            self._site.note_duration(task.call.executor, task.call.what, report.ended - report.started)
        else:
            fields["outcome"] = f"{type(result).__name__}: {result}"[:500]
        self._events.write(task.call.what, **fields, retries=self._site.tries(task.future))
