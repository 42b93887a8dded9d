"""The Parsl app graph: tasks, their results, and what a lost one costs.

A `TaskGraph` owns a DataFlowKernel made from a site's configuration. Tasks are submitted with a handler; handlers run
one after another in the thread that calls `run_until`, so the rest of alflow needs no locks. While it waits, the graph
watches what Parsl itself does not notice: an interchange that died, an executor that is beyond help.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import queue
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from parsl import Config, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from alflow.config.campaign import SILENCE_S
from alflow.errors import AlflowError, CampaignError, CanaryError
from alflow.execution.monitor import ExecutorMonitor, has_interchange
from alflow.runs.events import EventLog
from alflow.workers.result import Call, Outcome

INFRASTRUCTURE_RETRIES = 10
"""How often a task whose worker, manager or block died is tried again without being charged."""
SILENT_TRIES = 3
"""How often a task is tried whose worker was ended because it gave no sign of life."""
TICK_SECONDS = 0.2
PARSL_POOL, SUPERVISED_POOL = "process_worker_pool.py", "python3 -m alflow.execution.pool"

T = TypeVar("T")


class WorkerGoneError(AlflowError):
    """A task's worker, manager or block died under it."""


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
    """Parsl's."""

    @property
    def promise(self) -> Outcome[T]:
        """The outcome to come, as an argument of another task alone: on the worker it is the outcome itself."""
        return cast("Outcome[T]", self.future)


class TaskGraph:
    """Submits tasks to a site and hands their results out, one after another."""

    def __init__(
        self,
        config: Config,
        events: EventLog,
        tick: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Start a site's executors.

        Args:
            config: of the site.
            events: where tasks are written down.
            tick: called by `run_until` when no finished task waits, and at least a few times a second.
            say: shows a sentence to the user.
            silence_s: a worker whose task gives no sign of life for so long is ended.
        """
        supervise_pools(config)
        self._folder = getattr(config, "alflow_run_dir", None)
        if self._folder is not None:
            self._folder.make()
        config.retries = INFRASTRUCTURE_RETRIES
        config.retry_handler = self._retry_cost
        self._events = events
        self._tick = tick
        self._silence_s = silence_s
        self._numbers = itertools.count()
        self._finished: queue.SimpleQueue[Task[Any]] = queue.SimpleQueue()
        self._pending: dict[int, Task[Any]] = {}
        self.counts: Counter[str] = Counter()
        self._dfk = _started(config)
        sites = {label: executor for label, executor in self._dfk.executors.items() if label != "_parsl_internal"}
        self._monitor = ExecutorMonitor(sites, events.write, say, config.max_idletime)
        self._with_interchange = {label for label, executor in sites.items() if has_interchange(executor)}
        self._apps: dict[tuple[Callable[..., Any], str], Callable[..., Any]] = {}
        self._retried_by_caller: set[str] = set()

    def submit(self, call: Call[T], handler: Callable[[Outcome[T] | BaseException], None], **detail: Any) -> Task[T]:
        """Submit a task; `handler` gets its outcome or its error, in the thread of `run_until`.

        Args:
            call: an app with its arguments.
            handler: takes what comes of it.
            detail: written into the event log.
        """
        task = Task(next(self._numbers), call, detail, time.time(), handler)
        self._pending[task.number] = task
        named: dict[str, Any] = {}
        if call.executor in self._with_interchange:
            named["silence_s"] = self._silence_s
            named["parsl_resource_specification"] = {"priority": call.priority}
        task.future = self._app(call)(*call.arguments, **call.named, **named)
        task.future.add_done_callback(lambda _: self._finished.put(task))
        return task

    def _app(self, call: Call[Any]) -> Callable[..., Any]:
        """Return Parsl's app of a function on an executor."""
        key = (call.function, call.executor)
        if key not in self._apps:
            self._apps[key] = python_app(call.function, executors=[call.executor], data_flow_kernel=self._dfk)
            if call.retried_by_caller:
                self._retried_by_caller.add(call.function.__name__)
        return self._apps[key]

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
        return Counter((task.call.what, _state_name(task)) for task in self._pending.values())

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected; 1 for a thread pool's own count of threads."""
        return self._monitor.workers(executor)

    def capacity(self, executor: str) -> int:
        """Return the workers that an executor has now or will have at its start (at least 1)."""
        return max(1, self._monitor.workers(executor))

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
                self._monitor.check()
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
        self._monitor.close(self._dfk.cleanup)
        if self._folder is not None:
            self._folder.remove()

    def _handle(self, task: Task[Any]) -> None:
        del self._pending[task.number]
        error = task.future.exception()
        result = task.future.result() if error is None else _translated(error)
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
            self._monitor.note_duration(task.call.executor, task.call.what, report.ended - report.started)
        else:
            fields["outcome"] = f"{type(result).__name__}: {result}"[:500]
        tries = int(task.future.task_record["fail_count"]) if hasattr(task.future, "task_record") else 0
        self._events.write(task.call.what, **fields, retries=tries)

    def _retry_cost(self, error: Exception, record: dict[str, Any]) -> float:
        """Say what a failed attempt costs: infrastructure is not the task's fault, all else ends the task."""
        if isinstance(error, CanaryError) and error.pool:
            self._monitor.take_out(str(record["executor"]), error)
            return 1.0
        if isinstance(error, ManagerLost) or _tells_of(error, "ManagerLost", "WorkerLost", "CanaryError"):
            return 1.0
        if isinstance(error, WorkerLost) and record["func_name"] not in self._retried_by_caller:
            return self._cost_of_lost_worker(record)
        return INFRASTRUCTURE_RETRIES + 1.0

    def _cost_of_lost_worker(self, record: dict[str, Any]) -> float:
        """Tell a worker that was lost at once from one that was ended for its silence: that may be the task's fault."""
        elapsed = (dt.datetime.now() - record["try_time_launched"]).total_seconds()  # noqa: DTZ005 - as Parsl does
        return 1.0 if elapsed < self._silence_s else INFRASTRUCTURE_RETRIES / (SILENT_TRIES - 0.5)


def _started(config: Config) -> DataFlowKernel:
    """Start a site's executors.

    Raises:
        CampaignError: they do not start.
    """
    try:
        with _deaf_children():
            return DataFlowKernel(config)
    except Exception as error:
        raise CampaignError(f"The executors of a site must start; these do not: {error}.") from error


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes that are started inside not hear Ctrl-C, which reaches all of a terminal's: their driver ends them.

    One that has not got as far as to ignore it would die of it with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    errors = sys.modules.get("globus_compute_sdk.errors")  # not imported for sites without it
    failed = errors is not None and isinstance(error, errors.TaskExecutionFailed)
    return failed and any(name in str(error) for name in names)


def _state_name(task: Task[Any]) -> str:
    record = getattr(task.future, "task_record", None)
    return str(record["status"].name) if record else "pending"
