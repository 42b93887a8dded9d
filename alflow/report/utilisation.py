"""Utilisation of each executor, from the event log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.types import FloatArray

EXECUTORS = ("cpu", "gpu")


@dataclass(frozen=True)
class Spans:
    """Stretches of time, unix seconds."""

    begin: FloatArray
    """(S,)."""
    end: FloatArray
    """(S,)."""
    weight: FloatArray
    """(S,) workers that each stretch stands for."""

    @property
    def seconds(self) -> float:
        """Worker-seconds of all stretches."""
        return float(((self.end - self.begin) * self.weight).sum())

    def mean_in(self, edges: FloatArray) -> FloatArray:
        """Return the mean number of workers in each bin, given B + 1 edges: (B,)."""
        area = np.zeros(len(edges))
        for moments, sign in ((self.begin, 1.0), (self.end, -1.0)):
            order = np.argsort(moments)
            sums = np.concatenate([[0.0], np.cumsum(self.weight[order])])
            moved = np.concatenate([[0.0], np.cumsum(self.weight[order] * moments[order])])
            count = np.searchsorted(moments[order], edges)
            area += sign * (sums[count] * edges - moved[count])
        return np.asarray(np.diff(area) / np.diff(edges), dtype=np.float64)


@dataclass(frozen=True)
class Utilisation:
    """What an executor held and what it used. A task that never came back has no times, and counts as idle."""

    executor: str
    busy: Spans
    """One stretch a task."""
    held: Spans
    """Connected workers."""

    @property
    def share(self) -> float:
        """Busy worker-seconds over worker-seconds held; NaN where none were held."""
        return self.busy.seconds / self.held.seconds if self.held.seconds > 0 else float("nan")


def utilisation(events: Iterable[Mapping[str, Any]]) -> tuple[Utilisation, ...]:
    """Return the utilisation of each executor over the whole run, all its drivers together.

    Args:
        events: Lines of the event log in order. `driver` lines begin and end a session; `workers` lines say how many
            workers an executor has from then on; task lines carry executor, started and ended.
    """
    busy: dict[str, list[tuple[float, float, float]]] = {name: [] for name in EXECUTORS}
    held: dict[str, list[tuple[float, float, float]]] = {name: [] for name in EXECUTORS}
    connected: dict[str, tuple[float, float]] = {}
    now = 0.0
    for event in events:
        begins = event["what"] == "driver" and event.get("state") == "start"
        if not begins:
            now = float(event["time"])
        executor = event.get("executor")
        if event["what"] == "driver":
            _release(connected, held, now)
        elif event["what"] == "workers" and executor in held:
            if executor in connected:
                _release({executor: connected.pop(executor)}, held, now)
            connected[executor] = (now, float(event["workers"]))
        elif executor in busy and "ended" in event:
            busy[executor].append((float(event["started"]), float(event["ended"]), 1.0))
    _release(connected, held, now)
    return tuple(Utilisation(name, _spans(busy[name]), _spans(held[name])) for name in EXECUTORS)


def _release(
    connected: dict[str, tuple[float, float]], held: dict[str, list[tuple[float, float, float]]], now: float
) -> None:
    for executor, (since, workers) in connected.items():
        held[executor].append((since, now, workers))
    connected.clear()


def _spans(found: list[tuple[float, float, float]]) -> Spans:
    array = np.array(found, dtype=np.float64).reshape(-1, 3)
    return Spans(array[:, 0], array[:, 1], array[:, 2])
