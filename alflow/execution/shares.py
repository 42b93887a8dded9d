"""Executors that several campaigns share: one thread decides, by a fair queue, whose task goes next.

Only as many tasks are with Parsl as keep all workers busy; the others wait here, so that the shares are decided when a
worker comes free and not when a task was submitted, and a campaign that is withdrawn takes its waiting tasks along.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from alflow.errors import CampaignError
from alflow.execution.executors import Submitter, translated
from alflow.execution.fairqueue import FairQueue, Taken
from alflow.workers.result import Call, Outcome

AHEAD_SECONDS = 2.0
"""So much work waits with Parsl beyond what runs, so that no worker waits for the driver."""
MOST_AHEAD = 4.0
"""At most so many tasks a worker wait there."""
LOOK_SECONDS = 0.2
"""How often workers and use are looked at."""
MOST_AT_ONCE = 1000
STOP_SECONDS = 5.0


class SharedExecutors(Submitter, Protocol):
    """What the shares are of: the executors, and how many workers they have or wait for."""

    def slots(self, executor: str) -> int:
        """Return how many workers an executor has, waits for, or may ask for next."""
        ...


class SharedFuture(Future[Any]):
    """What a campaign has of a task."""

    parsl: Future[Any] | None = None
    """What Parsl has of it, once it was handed over."""


@dataclass(eq=False)
class _Waiting:
    """A task that was submitted to a share."""

    owner: str
    call: Call[Any]
    silence_s: float
    future: SharedFuture
    promises: int = 0
    """Tasks whose results it still waits for."""


@dataclass(frozen=True)
class Use:
    """What a campaign has used and has waiting."""

    seconds: dict[str, float]
    """Worker-seconds by executor."""
    waiting: int
    running: int


class Shares:
    """Hands the tasks of several campaigns to the same executors."""

    def __init__(self, executors: SharedExecutors, log: Callable[..., None] = lambda *_, **__: None) -> None:
        """Start the thread that decides.

        Args:
            executors: of the site; used from that thread alone as far as tasks are concerned.
            log: writes an event: what, and fields.
        """
        self._executors, self._log = executors, log
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._limits: dict[str, int] = {}
        """Tasks that may be with Parsl, by executor."""
        self._looked = 0.0
        self._with_parsl: dict[str, int] = {}
        self._uses: dict[str, Use] = {}
        self._before: dict[str, dict[str, float]] = {}
        """Worker-seconds of campaigns that have left, and may come back."""
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._decide, name="shares", daemon=True)
        self._thread.start()

    def join(self, owner: str, weight: float, left: Callable[[], None] = lambda: None) -> Share:
        """Give a campaign its share.

        Args:
            owner: name of the campaign.
            weight: of its share.
            left: called once it has given its share back.
        """
        self._inbox.put(lambda: self._queue.join(owner, weight))
        return Share(self, owner, left)

    def use(self, owner: str) -> Use:
        """Return what a campaign had used at the last look, also once it has left."""
        return self._uses.get(owner, Use({}, 0, 0))

    def check(self) -> None:
        """Raise a CampaignError if the thread that decides is gone."""
        if self._error is not None:
            raise CampaignError(
                f"The queue of an allocation ended: {type(self._error).__name__}: {self._error}. Run the same command "
                "again."
            ) from self._error

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped.set()
        self._inbox.put(lambda: None)
        self._thread.join(STOP_SECONDS)

    def submit(self, owner: str, call: Call[Any], silence_s: float) -> Future[Any]:
        """Take a task of a campaign."""
        entry = _Waiting(owner, call, silence_s, SharedFuture())
        self._inbox.put(lambda: self._new(entry))
        return entry.future

    def leave(self, owner: str) -> None:
        """Drop what a campaign has waiting; what runs goes on, and nobody takes it."""
        self._inbox.put(lambda: self._left(owner))

    @property
    def executors(self) -> SharedExecutors:
        """What the shares are of."""
        return self._executors

    def _decide(self) -> None:
        try:
            while not self._stopped.is_set():
                self._do_what_came()
                if time.monotonic() - self._looked > LOOK_SECONDS:
                    self._look()
                for executor in self._limits:
                    self._hand_out(executor)
        except BaseException as error:  # noqa: BLE001 - whoever waits for tasks is told by `check`
            self._error = error

    def _do_what_came(self) -> None:
        """Wait a moment for something to do; do it, and some of what else has come by then."""
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=LOOK_SECONDS)()
            for _ in range(MOST_AT_ONCE):
                self._inbox.get_nowait()()

    def _look(self) -> None:
        """See how many workers there are, and what was used."""
        self._looked = time.monotonic()
        for executor in self._limits:
            self._limits[executor] = self._limit(executor)
        for owner in self._queue.owners:
            waiting, running = self._queue.waiting(owner=owner), self._queue.running(owner=owner)
            seconds = Counter(self._queue.seconds(owner))
            seconds.update(self._before.get(owner, {}))
            self._uses[owner] = Use(dict(seconds), waiting, running)

    def _new(self, entry: _Waiting) -> None:
        """Have a task wait for its promises, then for a worker."""
        promised = [value for value in entry.call.arguments if isinstance(value, Future)]
        entry.promises = len(promised)
        for promise in promised:
            promise.add_done_callback(lambda _: self._inbox.put(lambda: self._kept(entry)))
        if not promised:
            self._ready(entry)

    def _kept(self, entry: _Waiting) -> None:
        entry.promises -= 1
        if not entry.promises:
            self._ready(entry)

    def _ready(self, entry: _Waiting) -> None:
        """Put a task in the queue; one that waited for what failed fails, too."""
        call = entry.call
        failed = [
            error for value in call.arguments if isinstance(value, Future) and (error := value.exception()) is not None
        ]
        if failed:
            self._settle(entry, error=failed[0])
            return
        values = tuple(value.result() if isinstance(value, Future) else value for value in call.arguments)
        entry.call = replace(call, arguments=values)
        if call.executor not in self._limits:
            self._limits[call.executor] = self._limit(call.executor)
        if entry.owner in self._queue.owners:
            self._queue.put(entry.owner, call.executor, call.what, call.priority, entry)

    def _hand_out(self, executor: str) -> None:
        """Give Parsl as many tasks as keep the workers busy."""
        while self._with_parsl.get(executor, 0) < self._limits[executor]:
            taken = self._queue.take(executor)
            if taken is None:
                return
            entry = taken.task
            self._with_parsl[executor] = self._with_parsl.get(executor, 0) + 1
            try:
                future = self._executors.submit(entry.call, entry.silence_s)
            except Exception as error:  # noqa: BLE001 - it is the task's
                self._ended(taken, error)
                continue
            entry.future.parsl = future
            future.add_done_callback(partial(self._note_end, taken))

    def _note_end(self, taken: Taken[_Waiting], _: Future[Any]) -> None:
        """Have the end of a task seen to; called by Parsl's threads."""
        self._inbox.put(partial(self._ended, taken))

    def _limit(self, executor: str) -> int:
        workers = max(1, self._executors.slots(executor))
        self._queue.set_workers(executor, workers)
        seconds = self._queue.mean_seconds(executor)
        ahead = 1.0 if seconds is None else min(MOST_AHEAD, AHEAD_SECONDS / max(seconds, 1e-3))
        return workers + max(1, math.ceil(workers * ahead))

    def _ended(self, taken: Taken[_Waiting], error: BaseException | None = None) -> None:
        """Settle a task that Parsl is done with, or that it did not take."""
        self._with_parsl[taken.executor] -= 1
        entry, future = taken.task, taken.task.future.parsl
        if future is not None:
            error = future.exception()
        result = future.result() if future is not None and error is None else None
        seconds = None
        if isinstance(result, Outcome):
            report = result.report
            seconds = report.ended - report.started
            self._log(
                taken.what,
                campaign=taken.owner,
                executor=taken.executor,
                started=report.started,
                ended=report.ended,
                outcome="ok",
            )
        self._queue.ended(taken, seconds)
        self._settle(entry, result, error)

    def _settle(self, entry: _Waiting, result: Any = None, error: BaseException | None = None) -> None:
        """Tell the campaign."""
        with contextlib.suppress(InvalidStateError):
            if error is None:
                entry.future.set_result(result)
            else:
                entry.future.set_exception(translated(error))

    def _left(self, owner: str) -> None:
        if owner in self._queue.owners:
            self._look()
            self._queue.leave(owner)
            self._uses[owner] = replace(self._uses[owner], waiting=0, running=0)
            self._before[owner] = self._uses[owner].seconds


class Share:
    """One campaign's share of the executors."""

    def __init__(self, shares: Shares, owner: str, left: Callable[[], None]) -> None:
        self._shares, self._owner, self._left = shares, owner, left

    def submit(self, call: Call[Any], silence_s: float) -> Future[Any]:
        """Take a task."""
        return self._shares.submit(self._owner, call, silence_s)

    def workers(self, executor: str) -> int:
        """Return how many workers an executor has connected, for all campaigns."""
        return self._shares.executors.workers(executor)

    def state(self, future: Future[Any]) -> str:
        """Return Parsl's name of the state that a task is in; "pending" while it waits for its turn."""
        parsl = getattr(future, "parsl", None)
        return "pending" if parsl is None else self._shares.executors.state(parsl)

    def tries(self, future: Future[Any]) -> int:
        """Return how often a task was lost."""
        parsl = getattr(future, "parsl", None)
        return 0 if parsl is None else self._shares.executors.tries(parsl)

    def note_duration(self, executor: str, what: str, seconds: float) -> None:
        """Take in how long a task took."""
        self._shares.executors.note_duration(executor, what, seconds)

    def check(self) -> None:
        """Raise a CampaignError if no task will come back any more."""
        self._shares.check()

    def close(self) -> None:
        """Give the share back: what waits is dropped."""
        self._shares.leave(self._owner)
        self._left()
