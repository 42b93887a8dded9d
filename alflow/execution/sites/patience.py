"""Patience with blocks that fail: an executor ends at once if jobs start and fail, later if none is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

PATIENCE_S = 900.0
"""A scheduler that is restarted, or too busy to answer, is asked again for so long."""
WINDOW = 3
"""Blocks in a row that have to fail."""
NOT_TAKEN = "Failed to start block"
"""How Parsl's message of a block begins that the scheduler did not take."""


class PatientHandler:
    """Stands in for Parsl's `windowed_error_handler`, which gives up after three unanswered calls of the scheduler."""

    def __init__(self, handler: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        """Take Parsl's handler, which is asked once patience is at its end."""
        self._handler, self._clock = handler, clock
        self._since: float | None = None

    def __call__(self, executor: Any, status: Mapping[str, Any], *arguments: Any) -> None:
        """Look at the last blocks of an executor."""
        last = [status[block] for block in sorted(status, key=int)[-WINDOW:]]
        if len(last) < WINDOW or not all((one.message or "").startswith(NOT_TAKEN) for one in last):
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        if self._since is None or self._clock() - self._since > PATIENCE_S:
            self._handler(executor, status, *arguments)
