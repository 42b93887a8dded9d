"""Time of held workers: busy, waiting to start, between tasks, after their last task."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """One task as its worker saw it."""

    worker: str
    started: float
    """Unix time, s."""
    ended: float
    labels: int
    processor_s: float = 0.0
    """Processor time of the worker, s."""


@dataclass(frozen=True)
class Account:
    """Worker-seconds of one run; the four parts add up to workers x wall time."""

    workers: int
    wall_s: float
    tasks: int
    labels: int
    busy_s: float
    start_s: float
    """Before a worker's first task; all of the run for a worker that got none."""
    dispatch_s: float
    """Between one task and the next of the same worker."""
    straggler_s: float
    """After a worker's last task, while others still work."""
    processor_s: float = 0.0
    """Processor time of all tasks: less than `busy_s` where workers waited for a core."""

    @property
    def labels_per_second(self) -> float:
        """Labels a second of all workers together."""
        return self.labels / self.wall_s

    @property
    def utilisation(self) -> float:
        """Busy over held worker-seconds."""
        return self.busy_s / (self.workers * self.wall_s)

    @property
    def dispatch_ms_per_label(self) -> float:
        """Idle time between tasks, ms a label."""
        return 1e3 * self.dispatch_s / self.labels


def account(intervals: Sequence[Interval], workers: int, began: float, ended: float) -> Account:
    """Add up where the workers' time went.

    Args:
        intervals: Tasks of the run.
        workers: Workers that were held.
        began: When the first task was submitted, Unix time, s.
        ended: When the last result was there, Unix time, s.
    """
    lanes = _lanes(intervals, workers)
    start = max(0, workers - len(lanes)) * (ended - began)
    dispatch = straggler = 0.0
    for tasks in lanes:
        start += tasks[0].started - began
        straggler += ended - tasks[-1].ended
        dispatch += sum(after.started - before.ended for before, after in itertools.pairwise(tasks))
    return Account(
        workers=max(workers, len(lanes)),
        wall_s=ended - began,
        tasks=len(intervals),
        labels=sum(interval.labels for interval in intervals),
        busy_s=sum(interval.ended - interval.started for interval in intervals),
        start_s=start,
        dispatch_s=dispatch,
        straggler_s=straggler,
        processor_s=sum(interval.processor_s for interval in intervals),
    )


def _lanes(intervals: Sequence[Interval], workers: int) -> list[list[Interval]]:
    """Return the tasks of each worker; of each place in the pool where workers are threads or only some were used."""
    by_worker: dict[str, list[Interval]] = defaultdict(list)
    ordered = sorted(intervals, key=lambda item: item.started)
    for interval in ordered:
        by_worker[interval.worker].append(interval)
    overlap = any(
        after.started < before.ended for tasks in by_worker.values() for before, after in itertools.pairwise(tasks)
    )
    if len(by_worker) <= workers and not overlap:
        return list(by_worker.values())
    lanes: list[list[Interval]] = []
    for interval in ordered:
        free = [lane for lane in lanes if lane[-1].ended <= interval.started]
        if free:
            max(free, key=lambda lane: lane[-1].ended).append(interval)
        else:
            lanes.append([interval])
    return lanes
