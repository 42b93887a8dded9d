"""What a task hands back: its value, and where and when it ran."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from alflow import lifeline

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """Where and when a task ran."""

    host: str
    pid: int
    started: float
    """Unix time, s."""
    ended: float


@dataclass(frozen=True)
class Outcome:
    """What a task returned, and its report."""

    value: Any
    report: Report


def reported(function: Callable[P, T]) -> Callable[P, Outcome]:
    """Wrap a task so that it returns an `Outcome`, and takes `silence_s`: see `lifeline.watched`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Outcome:
        silence_s = float(str(kwargs.pop("silence_s", 0.0)))
        started = time.time()
        with lifeline.watched(silence_s):
            value = function(*args, **kwargs)
        return Outcome(value, Report(socket.gethostname(), os.getpid(), started, time.time()))

    run.watched = True  # type: ignore[attr-defined]
    return run
