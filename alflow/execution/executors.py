"""The executors of a site, run by Parsl: tasks go in, futures come out, and what a lost task costs is decided here."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

from parsl import Config, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from alflow.config.campaign import SILENCE_S
from alflow.errors import AlflowError, CampaignError, CanaryError
from alflow.execution.monitor import ExecutorMonitor, has_interchange
from alflow.workers.result import Call

INFRASTRUCTURE_RETRIES = 10
"""How often a task whose worker, manager or block died is tried again without being charged."""
SILENT_TRIES = 3
"""How often a task is tried whose worker was ended because it gave no sign of life."""
PARSL_POOL, SUPERVISED_POOL = "process_worker_pool.py", "python3 -m alflow.execution.pool"


class WorkerGoneError(AlflowError):
    """A task's worker, manager or block died under it."""


class Submitter(Protocol):
    """Takes tasks for the executors of a site: of one campaign, or of one of several that share them."""

    def submit(self, call: Call[Any], silence_s: float) -> Future[Any]:
        """Take a task; the future of another one may be among its arguments."""
        ...

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected."""
        ...

    def state(self, future: Future[Any]) -> str:
        """Return Parsl's name of the state that a task is in."""
        ...

    def tries(self, future: Future[Any]) -> int:
        """Return how often a task was lost."""
        ...

    def note_duration(self, executor: str, what: str, seconds: float) -> None:
        """Take in how long a task took."""
        ...

    def check(self) -> None:
        """Raise a CampaignError if an executor is gone for good."""
        ...

    def close(self) -> None:
        """End in bounded time; what is still running is dropped."""
        ...


class Executors:
    """The executors of a site, started by Parsl."""

    def __init__(
        self,
        config: Config,
        log: Callable[..., None] = lambda *_, **__: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start them; that has to be done in a thread that lives as long as they are to.

        Args:
            config: of the site.
            log: writes an event: what, and fields.
            say: shows a sentence to the user.

        Raises:
            CampaignError: they do not start.
        """
        supervise_pools(config)
        self._folder = getattr(config, "alflow_run_dir", None)
        if self._folder is not None:
            self._folder.make()
        config.retries = INFRASTRUCTURE_RETRIES
        config.retry_handler = self._retry_cost
        self._dfk = _started(config)
        sites = {label: executor for label, executor in self._dfk.executors.items() if label != "_parsl_internal"}
        self._monitor = ExecutorMonitor(sites, log, say, config.max_idletime)
        self._with_interchange = {label for label, executor in sites.items() if has_interchange(executor)}
        self._apps: dict[tuple[Callable[..., Any], str], Callable[..., Any]] = {}
        self._retried_by_caller: set[str] = set()

    def submit(self, call: Call[Any], silence_s: float) -> Future[Any]:
        """Hand a task to Parsl. Of one thread at a time: Parsl counts its tasks without a lock."""
        named: dict[str, Any] = {}
        if call.executor in self._with_interchange:
            named["silence_s"] = silence_s
            named["parsl_resource_specification"] = {"priority": call.priority}
        future: Future[Any] = self._app(call)(*call.arguments, **call.named, **named)
        return future

    def _app(self, call: Call[Any]) -> Callable[..., Any]:
        """Return Parsl's app of a function on an executor."""
        key = (call.function, call.executor)
        if key not in self._apps:
            self._apps[key] = python_app(call.function, executors=[call.executor], data_flow_kernel=self._dfk)
            if call.retried_by_caller:
                self._retried_by_caller.add(call.function.__name__)
        return self._apps[key]

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected; 1 for a thread pool's own count of threads."""
        return self._monitor.workers(executor)

    def slots(self, executor: str) -> int:
        """Return the workers that an executor has or waits for, and those of one block more if it may have one.

        Parsl asks for another block once more tasks wait than it has, or waits for, places.
        """
        return max(self._monitor.slots(executor), self._monitor.workers(executor))

    def state(self, future: Future[Any]) -> str:
        """Return Parsl's name of the state that a task is in."""
        record = getattr(future, "task_record", None)
        return str(record["status"].name) if record else "pending"

    def tries(self, future: Future[Any]) -> int:
        """Return how often a task was lost."""
        return int(future.task_record["fail_count"]) if hasattr(future, "task_record") else 0

    def note_duration(self, executor: str, what: str, seconds: float) -> None:
        """Say, once a kind of task, that it is longer than blocks live after they stop taking tasks."""
        self._monitor.note_duration(executor, what, seconds)

    def check(self) -> None:
        """Say what changed, and raise what cannot be healed.

        Raises:
            CampaignError: an executor is gone for good.
        """
        self._monitor.check()

    def close(self) -> None:
        """End all executors, in bounded time; what is still running is dropped."""
        self._monitor.close(self._dfk.cleanup)
        if self._folder is not None:
            self._folder.remove()

    def _retry_cost(self, error: Exception, record: dict[str, Any]) -> float:
        """Say what a failed attempt costs: infrastructure is not the task's fault, all else ends the task."""
        if isinstance(error, CanaryError) and error.pool:
            self._monitor.take_out(str(record["executor"]), error)
            return 1.0
        if isinstance(error, ManagerLost) or _tells_of(error, "ManagerLost", "WorkerLost", "CanaryError"):
            return 1.0
        if isinstance(error, WorkerLost) and record["func_name"] not in self._retried_by_caller:
            return _cost_of_lost_worker(record)
        return INFRASTRUCTURE_RETRIES + 1.0


def _cost_of_lost_worker(record: dict[str, Any]) -> float:
    """Tell a worker that was lost at once from one that was ended for its silence: that may be the task's fault."""
    elapsed = (dt.datetime.now() - record["try_time_launched"]).total_seconds()  # noqa: DTZ005 - as Parsl does
    silence_s = float(record["kwargs"].get("silence_s", SILENCE_S))
    return 1.0 if elapsed < silence_s else INFRASTRUCTURE_RETRIES / (SILENT_TRIES - 0.5)


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


def translated(error: BaseException) -> BaseException:
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
