"""What a benchmark runs on workers besides labels: nothing at all, and a label that only takes time."""

from __future__ import annotations

import time
from typing import Any

from alflow.tasks import reported


@reported
def nothing(payload: bytes = b"") -> int:
    """Return the size of what came, bytes."""
    return len(payload)


@reported
def sleep_frames(frames: int, label_seconds: float) -> dict[str, Any]:
    """Take the time that the labels of so many frames would take."""
    time.sleep(frames * label_seconds)
    return {"failures": [], "seconds": [label_seconds] * frames}
