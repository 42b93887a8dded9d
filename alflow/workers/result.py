"""A task as the driver sees it: what runs, where, and what comes back."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar

from alflow.workers import heartbeat

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Report:
    """Where and when a task ran."""

    host: str
    pid: int
    started: float
    """Unix time, s."""
    ended: float
    """Unix time, s."""


@dataclass(frozen=True)
class Outcome(Generic[T_co]):
    """What a task returned, and its report."""

    value: T_co
    report: Report


@dataclass(frozen=True)
class App(Generic[P, T]):
    """A function of a module that runs on a worker, what its tasks are called, and the executor that they run on.

    Called with the function's arguments, it gives a `Call`, which a task graph takes.
    """

    what: str
    """Name of its tasks in the event log."""
    executor: str
    """Label of the executor: "cpu" or "gpu"."""
    function: Callable[P, Outcome[T]]
    """Made by `reported`."""
    retried_by_caller: bool = False
    """Whether the caller decides itself what a lost worker means: the task may have killed it."""
    priority: int = 1
    """Of tasks that wait for a worker, those of a lower number go first."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Bind arguments; an argument that is the `promise` of a task makes the new task wait for it."""
        return Call(self.what, self.executor, self.function, args, kwargs, self.retried_by_caller, self.priority)

    def on(self, executor: str, what: str, priority: int = 1) -> App[P, T]:
        """Return the same function under another name on another executor."""
        return replace(self, executor=executor, what=what, priority=priority)


@dataclass(frozen=True)
class Call(Generic[T]):
    """An app with its arguments."""

    what: str
    executor: str
    function: Callable[..., Outcome[T]]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    retried_by_caller: bool = False
    priority: int = 1


def reported(function: Callable[P, T]) -> Callable[P, Outcome[T]]:
    """Wrap a task so that it returns an `Outcome`, and takes `silence_s`: see `heartbeat.watchdog`.

    What the graph tells the executor of a task comes along, and is dropped.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
        silence_s = float(str(kwargs.pop("silence_s", 0.0)))
        kwargs.pop("parsl_resource_specification", None)
        started = time.time()
        with heartbeat.watchdog(silence_s):
            value = function(*args, **kwargs)
        return Outcome(value, Report(socket.gethostname(), os.getpid(), started, time.time()))

    return run
