"""A task graph without Parsl: tasks come back when the test says so, with what the test says."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from alflow.workers.result import Outcome, Report


@dataclass(eq=False)
class FakeTask:
    """A task, which is its own promise."""

    call: Any
    handler: Any
    detail: dict[str, Any]
    outcome: Any = None

    @property
    def promise(self) -> FakeTask:
        return self

    @property
    def what(self) -> str:
        return self.call.what

    def arguments(self) -> list[Any]:
        """Return the arguments, with outcomes in the place of promises."""
        return [one.outcome if isinstance(one, FakeTask) else one for one in self.call.arguments]

    def is_ready(self) -> bool:
        return all(one.outcome is not None for one in self.call.arguments if isinstance(one, FakeTask))


@dataclass
class FakeGraph:
    """Answers tasks by their name: a function of the task's arguments, or an exception to hand over."""

    answers: dict[str, Any] = field(default_factory=dict)
    waiting: deque[FakeTask] = field(default_factory=deque)
    done: list[FakeTask] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    exchange: Any = None

    def submit(self, call: Any, handler: Any, **detail: Any) -> FakeTask:
        task = FakeTask(call, handler, detail)
        self.waiting.append(task)
        return task

    def step(self) -> None:
        """Let the first task that can run come back."""
        task = next((one for one in self.waiting if one.is_ready()), None)
        assert task is not None, "this would wait for ever"
        self.waiting.remove(task)
        self.done.append(task)
        answer = self.answers[task.what]
        try:
            value = answer(*task.arguments()) if callable(answer) else answer
        except Exception as error:  # noqa: BLE001 - the task's, handed over as the graph does
            value = error
        task.outcome = value if isinstance(value, BaseException) else Outcome(value, Report("host", 1, 0.0, 0.1))
        if isinstance(task.outcome, BaseException):
            self.lose_followers(task)
        task.handler(task.outcome)

    def lose_followers(self, failed: FakeTask) -> None:
        """Tasks that wait for a failed one fail, too, after it."""
        for task in [one for one in self.waiting if failed in one.call.arguments]:
            self.waiting.remove(task)
            task.outcome = failed.outcome
            self.lose_followers(task)

    def run_until(self, condition: Any) -> None:
        while not condition():
            self.step()

    def names(self) -> list[str]:
        return [task.what for task in self.done]

    def capacity(self, _label: str) -> int:
        return 2

    def pending(self, what: str | None = None) -> int:
        return sum(what in (None, task.what) for task in self.waiting)
