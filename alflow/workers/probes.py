"""Tasks of a benchmark besides labels: nothing at all, and a label that only takes time."""

from __future__ import annotations

import time
from typing import Any

from alflow.workers import tasks
from alflow.workers.result import App, reported

GUARD = 4
"""Position of `timeout_s` among the arguments of a label task."""


@reported
def nothing(payload: bytes = b"") -> int:
    """Return the size of what came, bytes."""
    return len(payload)


@reported
def sleep_frames(frames: int, label_seconds: float) -> dict[str, Any]:
    """Take the time that the labels of so many frames would take."""
    time.sleep(frames * label_seconds)
    return {"failures": [], "seconds": [label_seconds] * frames}


@reported
def timed_label(*arguments: Any) -> dict[str, Any]:
    """Label as a campaign does (see `alflow.workers.tasks.label`), and say how much processor time it took, s.

    What other processes take, a guarded engine or the ranks of a label, is not known: 0.
    """
    began = time.process_time()
    value: dict[str, Any] = tasks.label(*arguments).value
    guarded = len(arguments) > GUARD and arguments[GUARD] > 0.0
    return value | {"processor_s": 0.0 if guarded else time.process_time() - began}


NOTHING = App("nothing", "cpu", nothing)
SLEEP = App("sleep", "cpu", sleep_frames)
TIMED_LABEL = App("label", "cpu", timed_label)
