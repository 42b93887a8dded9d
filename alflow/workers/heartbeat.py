"""Heartbeats of a task: a worker whose task gives none for long is ended, and the task goes to another.

The watchdog is a thread of the interpreter's own that needs no lock of Python, so it works where a library hangs. It
ends the process with the traceback of each thread on stderr, and only a process that Parsl made for tasks.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from alflow.labeling.guard.parent_death import end_with_parent
from alflow.labeling.protocol import LabelEngine
from alflow.types import Composition, Evaluation, FloatArray, ForceModel

AGAIN_S = 1.0
"""Setting the watchdog anew takes some microseconds: not more often than this, s."""


@dataclass
class _Watchdog:
    """The watchdog of this process; it has one task at a time."""

    silence_s: float = 0.0
    """0: no watchdog."""
    told: float = 0.0
    ends_with_pool: bool = False


_watchdog = _Watchdog()


@contextmanager
def watchdog(silence_s: float) -> Iterator[None]:
    """End this process if `beat` is not called for so many seconds; 0 for no watchdog."""
    if not silence_s or not _is_worker() or not _can_tell():
        yield
        return
    _end_with_the_pool()
    _set(silence_s)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _watchdog.silence_s = 0.0


def beat() -> None:
    """Give a heartbeat."""
    if _watchdog.silence_s and time.monotonic() - _watchdog.told > AGAIN_S:
        _set(_watchdog.silence_s)


def at_least(silence_s: float) -> None:
    """Allow for a longer silence in the task that runs now, s."""
    if _watchdog.silence_s:
        _set(max(silence_s, _watchdog.silence_s))


class HeartbeatEngine:
    """A label engine each of whose structures is a heartbeat."""

    def __init__(self, engine: LabelEngine) -> None:
        self._engine = engine

    @property
    def theory(self) -> str:
        """Fingerprint of the engine."""
        return self._engine.theory

    def compute(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return what the engine returns for one structure; see `LabelEngine`."""
        beat()
        return self._engine.compute(composition, positions, start)


def with_heartbeat(model: ForceModel) -> ForceModel:
    """Return a force model each of whose evaluations is a heartbeat."""

    def forces(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        beat()
        return model(positions, start)

    return forces


def _set(silence_s: float) -> None:
    _watchdog.silence_s, _watchdog.told = silence_s, time.monotonic()
    faulthandler.dump_traceback_later(silence_s, exit=True)


def _end_with_the_pool() -> None:
    """See to it, once, that a worker does not outlive its pool: a result that nobody reads would hold it for ever."""
    pool = multiprocessing.parent_process()
    if pool is not None and pool.pid is not None and not _watchdog.ends_with_pool:
        end_with_parent(pool.pid)
        _watchdog.ends_with_pool = True


def _is_worker() -> bool:
    """Say whether this process was made for tasks: a thread of the driver must never end it."""
    return "PARSL_WORKER_RANK" in os.environ and threading.current_thread() is threading.main_thread()


def _can_tell() -> bool:
    try:
        return sys.stderr.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
