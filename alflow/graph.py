"""The Parsl app graph: the only module of the package that imports Parsl.

A `TaskGraph` owns a DataFlowKernel made from a site's configuration. Tasks are submitted with a handler; handlers run
one after another in the thread that calls `run_until`, so the rest of alflow needs no locks. While it waits, the graph
watches what Parsl itself does not notice: an interchange that died, an executor that is beyond help.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl import Config, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from alflow import tasks
from alflow.config.campaign import SILENCE_S
from alflow.errors import AlflowError, CampaignError, CanaryError
from alflow.events import EventLog
from alflow.outcome import Outcome
from alflow.watch import ExecutorWatch, has_interchange

INFRASTRUCTURE_RETRIES = 10
"""How often a task whose worker, manager or block died is tried again without being charged."""
SILENT_TRIES = 3
"""How often a task is tried whose worker was ended because it gave no sign of life."""
TICK_SECONDS = 0.2
PARSL_POOL, SUPERVISED_POOL = "process_worker_pool.py", "python3 -m alflow.pool"

APPS: dict[str, tuple[Callable[..., Outcome], str]] = {
    "label": (tasks.label, "cpu"),
    "md-segment": (tasks.md_segment, "cpu"),
    "first-state": (tasks.first_state, "cpu"),
    "relax": (tasks.relax, "cpu"),
    "reference-segment": (tasks.pull_segment, "cpu"),
    "relax-with-potential": (tasks.relax, "gpu"),
    "pull-segment": (tasks.pull_segment, "gpu"),
    "train": (tasks.train, "gpu"),
}
"""What a task is called, its function, and the executor that it runs on."""

SELF_RETRIED = ("label",)
"""Functions whose caller decides itself what a lost worker means: a structure may have killed it."""


class WorkerGoneError(AlflowError):
    """A task's worker, manager or block died under it."""


@dataclass
class Task:
    """A submitted task."""

    number: int
    what: str
    executor: str
    detail: dict[str, Any]
    submitted: float
    handler: Callable[[Outcome | BaseException], None]
    future: Any = None
    attempts: int = 1


class TaskGraph:
    """Submits tasks to a site and hands their results out, one after another."""

    def __init__(
        self,
        config: Config,
        events: EventLog,
        tick: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
        apps: Mapping[str, tuple[Callable[..., Outcome], str]] = APPS,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Start a site's executors.

        Args:
            config: of the site.
            events: where tasks are written down.
            tick: called by `run_until` when no finished task waits, and at least a few times a second.
            say: shows a sentence to the user.
            apps: name of each kind of task, its function, its executor.
            silence_s: a worker whose task gives no sign of life for so long is ended.
        """
        supervise_pools(config)
        config.retries = INFRASTRUCTURE_RETRIES
        config.retry_handler = self._retry_cost
        self._events = events
        self._tick = tick
        self._silence_s = silence_s
        self._numbers = itertools.count()
        self._finished: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._pending: dict[int, Task] = {}
        self.counts: Counter[str] = Counter()
        self._dfk = DataFlowKernel(config)
        sites = {label: executor for label, executor in self._dfk.executors.items() if label != "_parsl_internal"}
        self._watch = ExecutorWatch(sites, events.write, say, config.max_idletime)
        self._apps = {
            what: python_app(function, executors=[executor], data_flow_kernel=self._dfk)
            for what, (function, executor) in apps.items()
        }
        self._executor_of = {what: executor for what, (_, executor) in apps.items()}
        self._watched = {
            what
            for what, (function, executor) in apps.items()
            if hasattr(function, "watched") and has_interchange(sites[executor])
        }

    def submit(
        self, what: str, *arguments: Any, handler: Callable[[Outcome | BaseException], None], **detail: Any
    ) -> Task:
        """Submit a task; `handler` gets its outcome or its error, in the thread of `run_until`.

        An argument that is the `future` of another task makes this one wait for it.
        """
        task = Task(next(self._numbers), what, self._executor_of[what], detail, time.time(), handler)
        self._pending[task.number] = task
        named = {"silence_s": self._silence_s} if what in self._watched else {}
        task.future = self._apps[what](*arguments, **named)
        task.future.add_done_callback(lambda _: self._finished.put(task))
        return task

    def pending(self, what: str | None = None) -> int:
        """Return how many tasks have been submitted and not handled."""
        return sum(1 for task in self._pending.values() if what is None or task.what == what)

    def running(self) -> Counter[tuple[str, str]]:
        """Count pending tasks by (what, state); the state is Parsl's name of it."""
        return Counter((task.what, _state_name(task)) for task in self._pending.values())

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected; 1 for a thread pool's own count of threads."""
        return self._watch.workers(executor)

    def capacity(self, executor: str) -> int:
        """Return the workers that an executor has now or will have at its start (at least 1)."""
        return max(1, self._watch.workers(executor))

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
                self._watch.check()
            self._tick()

    def _handle_finished(self) -> None:
        """Wait a moment for a finished task; handle it, and what else has finished by then."""
        with contextlib.suppress(queue.Empty):
            self._handle(self._finished.get(timeout=TICK_SECONDS))
            began = time.monotonic()
            while time.monotonic() - began < TICK_SECONDS:
                self._handle(self._finished.get_nowait())

    def close(self) -> None:
        """End all executors, in bounded time; what is still running is dropped."""
        self._watch.close(self._dfk.cleanup)

    def _handle(self, task: Task) -> None:
        del self._pending[task.number]
        error = task.future.exception()
        result = task.future.result() if error is None else _translated(error)
        self.counts[f"{task.what}:{'failed' if error else 'done'}"] += 1
        self._log(task, result)
        task.handler(result)

    def _log(self, task: Task, result: Outcome | BaseException) -> None:
        fields: dict[str, Any] = {"task": task.number, "executor": task.executor, **task.detail}
        fields["submitted"] = task.submitted
        if isinstance(result, Outcome):
            report = result.report
            fields |= {"host": report.host, "pid": report.pid, "started": report.started, "ended": report.ended}
            fields["outcome"] = "ok"
            self._watch.note_duration(task.executor, task.what, report.ended - report.started)
        else:
            fields["outcome"] = f"{type(result).__name__}: {result}"[:500]
        tries = int(task.future.task_record["fail_count"]) if hasattr(task.future, "task_record") else 0
        self._events.write(task.what, **fields, retries=tries)

    def _retry_cost(self, error: Exception, record: dict[str, Any]) -> float:
        """Say what a failed attempt costs: infrastructure is not the task's fault, all else ends the task."""
        if isinstance(error, CanaryError) and error.pool:
            self._watch.take_out(str(record["executor"]), error)
            return 1.0
        if isinstance(error, ManagerLost) or _tells_of(error, "ManagerLost", "WorkerLost", "CanaryError"):
            return 1.0
        if isinstance(error, WorkerLost) and record["func_name"] not in SELF_RETRIED:
            return self._cost_of_lost_worker(record)
        return INFRASTRUCTURE_RETRIES + 1.0

    def _cost_of_lost_worker(self, record: dict[str, Any]) -> float:
        """Tell a worker that was lost at once from one that was ended for its silence: that may be the task's fault."""
        elapsed = (dt.datetime.now() - record["try_time_launched"]).total_seconds()  # noqa: DTZ005 - as Parsl does
        return 1.0 if elapsed < self._silence_s else INFRASTRUCTURE_RETRIES / (SILENT_TRIES - 0.5)


def supervise_pools(config: Config) -> None:
    """Have the executors of a site start Parsl's worker pools under alflow's supervisor."""
    for executor in config.executors:
        command = getattr(executor, "launch_cmd", None)
        if isinstance(command, str):
            executor.launch_cmd = command.replace(PARSL_POOL, SUPERVISED_POOL, 1)


def _translated(error: BaseException) -> BaseException:
    """Return an error of the tree for Parsl's own ones."""
    cause: BaseException = error
    while isinstance(cause, DependencyError) and cause.dependent_exceptions_tids:
        cause = cause.dependent_exceptions_tids[0][0]
    if isinstance(cause, WorkerLost | ManagerLost) or _tells_of(cause, "ManagerLost", "WorkerLost"):
        return WorkerGoneError(f"{cause} (its process died, or was ended because it gave no sign of life)")
    if isinstance(cause, BadStateException):
        return CampaignError(str(cause))
    return cause


def _tells_of(error: BaseException, *names: str) -> bool:
    """Say whether an error that a Globus Compute endpoint wrote down as text names one of these."""
    return type(error).__name__ == "TaskExecutionFailed" and any(name in str(error) for name in names)


def _state_name(task: Task) -> str:
    record = getattr(task.future, "task_record", None)
    return str(record["status"].name) if record else "pending"
