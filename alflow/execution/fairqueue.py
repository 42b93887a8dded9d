"""A fair queue: tasks of several owners wait for the same executors, and each owner gets a share by its weight.

Weighted fair queueing by use: what goes next is a task of the owner whose worker-seconds on that executor, over its
weight, are fewest. So none starves, and an owner that asks for little is served at once. Of an owner's own tasks those
of a lower priority number go first, of these the longest, of these the oldest. An owner that had nothing to do for long
is not repaid all of it, so that it cannot hold the executor for as long afterwards: see `CREDIT_SECONDS`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

CREDIT_SECONDS = 60.0
"""For so long, at most, an owner that had nothing to do has all workers of an executor to itself afterwards."""
UNKNOWN_SECONDS = 1.0
"""Of a task of a kind of which none has ended yet."""
MEMORY = 0.2
"""Weight of the last task in the mean of its kind."""

TaskT = TypeVar("TaskT")


@dataclass
class _Account:
    """An owner on one executor."""

    use: float = 0.0
    """Worker-seconds over the weight, set to those of the others where it joined or came back."""
    seconds: float = 0.0
    """Worker-seconds of the tasks that ended."""
    tasks: int = 0
    """Tasks that ended."""
    running: int = 0
    waiting: list[tuple[int, float, int]] = field(default_factory=list)
    """A heap: priority, minus expected seconds, number."""

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)


@dataclass(frozen=True)
class Taken(Generic[TaskT]):
    """A task that goes to its executor."""

    owner: str
    executor: str
    what: str
    charged: float
    """Worker-seconds that it was charged beforehand."""
    task: TaskT


class FairQueue(Generic[TaskT]):
    """Which task goes next. Used from one thread."""

    def __init__(self) -> None:
        """Start without owners."""
        self._workers: dict[str, int] = {}
        self._weights: dict[str, float] = {}
        self._accounts: dict[str, dict[str, _Account]] = {}
        self._tasks: dict[int, tuple[str, TaskT]] = {}
        self._numbers = itertools.count()
        self._means: dict[tuple[str, str], float] = {}

    @property
    def owners(self) -> tuple[str, ...]:
        """Who has a share, in the order of joining."""
        return tuple(self._weights)

    def set_workers(self, executor: str, workers: int) -> None:
        """Say how many workers an executor has: what an owner may be repaid goes by them."""
        self._workers[executor] = workers

    def join(self, owner: str, weight: float = 1.0) -> None:
        """Add an owner: it begins level with the one that has had least.

        Args:
            owner: its name.
            weight: of its share; above 0.
        """
        self._weights[owner] = weight
        self._accounts[owner] = defaultdict(_Account)
        for executor in {name for accounts in self._accounts.values() for name in accounts}:
            self._accounts[owner][executor].use = self._least(executor, owner) or 0.0

    def leave(self, owner: str) -> list[TaskT]:
        """Remove an owner; return its tasks that were waiting."""
        accounts = self._accounts.pop(owner, {})
        self._weights.pop(owner, None)
        return [self._tasks.pop(number)[1] for account in accounts.values() for *_, number in account.waiting]

    def put(self, owner: str, executor: str, what: str, priority: int, task: TaskT) -> None:
        """Have a task wait."""
        account = self._accounts[owner][executor]
        if not account.busy:
            least = self._least(executor, owner)
            credit = CREDIT_SECONDS * self._workers.get(executor, 1)
            account.use = max(account.use, least - credit) if least is not None else account.use
        number = next(self._numbers)
        self._tasks[number] = (what, task)
        heapq.heappush(account.waiting, (priority, -self.expected(owner, what), number))

    def take(self, executor: str) -> Taken[TaskT] | None:
        """Return the task that goes next to an executor; None if none waits."""
        waiting = [
            (accounts[executor].use, place, owner)
            for place, (owner, accounts) in enumerate(self._accounts.items())
            if executor in accounts and accounts[executor].waiting
        ]
        if not waiting:
            return None
        owner = min(waiting)[2]
        account = self._accounts[owner][executor]
        *_, number = heapq.heappop(account.waiting)
        what, task = self._tasks.pop(number)
        charged = self.expected(owner, what)
        account.use += charged / self._weights[owner]
        account.running += 1
        return Taken(owner, executor, what, charged, task)

    def ended(self, taken: Taken[TaskT], seconds: float | None) -> None:
        """Settle a task.

        Args:
            taken: the task.
            seconds: worker-seconds that it took; None where nobody knows.
        """
        if seconds is not None:
            for key in ((taken.owner, taken.what), ("", taken.what), ("", taken.executor)):
                self._means[key] = (1.0 - MEMORY) * self._means.get(key, seconds) + MEMORY * seconds
        if taken.owner not in self._accounts:
            return
        account = self._accounts[taken.owner][taken.executor]
        account.running -= 1
        account.tasks += 1
        if seconds is not None:
            account.seconds += seconds
            account.use += (seconds - taken.charged) / self._weights[taken.owner]

    def expected(self, owner: str, what: str) -> float:
        """Return how long a task of a kind takes, s: by the owner's own, or by those of all."""
        return self._means.get((owner, what), self._means.get(("", what), UNKNOWN_SECONDS))

    def mean_seconds(self, executor: str) -> float | None:
        """Return how long tasks of an executor take; None if none has ended."""
        return self._means.get(("", executor))

    def waiting(self, executor: str | None = None, owner: str | None = None) -> int:
        """Return how many tasks wait."""
        return sum(len(account.waiting) for _, _, account in self._chosen(executor, owner))

    def running(self, executor: str | None = None, owner: str | None = None) -> int:
        """Return how many tasks were taken and have not ended."""
        return sum(account.running for _, _, account in self._chosen(executor, owner))

    def seconds(self, owner: str) -> dict[str, float]:
        """Return the worker-seconds that an owner has used, by executor."""
        return {executor: account.seconds for executor, account in self._accounts.get(owner, {}).items()}

    def _chosen(self, executor: str | None, owner: str | None) -> Iterator[tuple[str, str, _Account]]:
        for name, accounts in self._accounts.items():
            for label, account in accounts.items():
                if executor in (None, label) and owner in (None, name):
                    yield name, label, account

    def _least(self, executor: str, but: str) -> float | None:
        """Return the least use of the owners that have something to do; None if no other has."""
        uses = [account.use for name, _, account in self._chosen(executor, None) if name != but and account.busy]
        return min(uses, default=None)
