"""Speed of an executor: what its tasks cost."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass

from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.workers.probes import NOTHING
from alflow.workers.result import Outcome

ROUND_TRIPS = 20
BURST = 300
PAYLOAD_BYTES = 5_000_000
PAYLOADS = 3


@dataclass(frozen=True)
class Speed:
    """What an executor costs."""

    start_s: float
    """From the first submission to the first result: queue, start of workers, imports."""
    round_trip_ms: float
    """Of a task that does nothing, one after another (median)."""
    tasks_per_second: float
    """Of tasks that do nothing, all at once."""
    megabytes_per_second: float
    """To a worker."""


def measure_speed(graph: TaskGraph, label: str, start_s: float) -> Speed:
    """Measure round trips, a burst of empty tasks, and transfers to a worker.

    Args:
        graph: Of the site.
        label: Of the executor.
        start_s: What its start took, s.
    """
    trips = [_timed(graph, label, b"", 1) for _ in range(ROUND_TRIPS)]
    burst = _timed(graph, label, b"", BURST)
    payload = os.urandom(PAYLOAD_BYTES)
    transfers = [_timed(graph, label, payload, 1) for _ in range(PAYLOADS)]
    trip = statistics.median(trips)
    return Speed(start_s, 1e3 * trip, BURST / burst, PAYLOAD_BYTES / 1e6 / max(min(transfers) - trip, 1e-6))


def _timed(graph: TaskGraph, label: str, payload: bytes, count: int) -> float:
    """Return the time that `count` tasks take that only carry a payload, s."""
    failed: list[BaseException] = []

    def handle(result: Outcome[int] | BaseException) -> None:
        if isinstance(result, BaseException):
            failed.append(result)

    began = time.perf_counter()
    for _ in range(count):
        graph.submit(NOTHING.on(label, f"nothing-{label}")(payload), handle)
    graph.run_until(lambda: graph.pending() == 0)
    if failed:
        raise CampaignError(f"A task on executor {label!r} failed: {failed[0]}") from failed[0]
    return time.perf_counter() - began
