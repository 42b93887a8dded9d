"""What a task costs before any chemistry: round trips, tasks a second, bytes, and labels one by one or in chunks.

    python benchmarks/overhead.py [--quick] [--json FILE]

Two local workers each time. The ways of running tasks take turns in every round; figures are the best of the rounds,
because other work on the machine can only add to them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.runs.events import EventLog
from alflow.workers.probes import NOTHING, SLEEP
from alflow.workers.result import Call, Outcome

WAYS = {
    "threads": {"kind": "threads"},
    "processes, encrypted": {},
    "processes, plain": {"encrypted": "false"},
}
HEXANE_BYTES = 20 * 3 * 8
LABEL_SECONDS = 0.01
CHUNK = 50


@dataclass(frozen=True)
class Row:
    """One way of running tasks."""

    way: str
    round_trip_ms: float
    """A task that does nothing, one after another (median)."""
    tasks_per_second: float
    """Tasks that do nothing, all at once."""
    megabytes_per_second: float
    """5 MB arguments, one after another."""
    one_by_one_ms: float
    """Cost of a label beyond its own time (10 ms), one label a task, two workers."""
    chunked_ms: float
    """The same, 50 labels a task."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tasks and one round: a minute")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    tasks, labels, rounds = (200, 200, 1) if arguments.quick else (2000, 2000, 3)
    measured: dict[str, list[Row]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, options in WAYS.items():
            measured[way].append(measure(way, options, tasks, labels))
    rows = [best(found) for found in measured.values()]
    ratios = {
        "tasks/s: threads / processes": rows[0].tasks_per_second / rows[1].tasks_per_second,
        "tasks/s: plain / encrypted": rows[2].tasks_per_second / rows[1].tasks_per_second,
        "cost of a label: one by one / chunked": rows[1].one_by_one_ms / rows[1].chunked_ms,
    }
    console = Console()
    console.print(table(rows))
    for what, ratio in ratios.items():
        console.print(f"{what}: {ratio:.2f}")
    if arguments.json is not None:
        machine = {"machine": platform.platform(), "processor": platform.machine(), "python": platform.python_version()}
        content = {"machine": machine, "rows": [asdict(row) for row in rows], "ratios": ratios}
        arguments.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def measure(way: str, options: dict[str, str], tasks: int, labels: int) -> Row:
    """Start two workers in one way, and take all figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        config = load_site(find_site("local"), path, {"workers": "2", "gpu_workers": "1", **options})
        events = EventLog(path / "events.jsonl")
        graph = TaskGraph(config, events)
        try:
            warm_up(graph)
            trips = [timed(graph, [NOTHING(bytes(HEXANE_BYTES))]) for _ in range(max(20, tasks // 20))]
            trip = statistics.median(trips)
            burst = timed(graph, [NOTHING(bytes(HEXANE_BYTES))] * tasks)
            payload = np.random.default_rng(0).bytes(5_000_000)
            transfer = min(timed(graph, [NOTHING(payload)]) for _ in range(5))
            single = timed(graph, [SLEEP(1, LABEL_SECONDS)] * labels)
            chunked = timed(graph, [SLEEP(CHUNK, LABEL_SECONDS)] * (labels // CHUNK))
        finally:
            graph.close()
            events.close()
    ideal = LABEL_SECONDS / 2
    return Row(
        way,
        1e3 * trip,
        tasks / burst,
        5.0 / transfer,
        1e3 * (single / labels - ideal) * 2,
        1e3 * (chunked / labels - ideal) * 2,
    )


def warm_up(graph: TaskGraph) -> None:
    """Wait until both workers have imported what they need."""
    for _ in range(3):
        timed(graph, [SLEEP(1, 0.2)] * 4)


def timed(graph: TaskGraph, calls: Sequence[Call[Any]]) -> float:
    """Return the time from the first submission to the last result, s."""
    failed: list[BaseException] = []

    def handle(result: Outcome[Any] | BaseException) -> None:
        if isinstance(result, BaseException):
            failed.append(result)

    began = time.perf_counter()
    for call in calls:
        graph.submit(call, handle)
    graph.run_until(lambda: graph.pending() == 0)
    if failed:
        raise failed[0]
    return time.perf_counter() - began


def best(rows: list[Row]) -> Row:
    """Return the best of every figure over the rounds."""
    return Row(
        rows[0].way,
        min(row.round_trip_ms for row in rows),
        max(row.tasks_per_second for row in rows),
        max(row.megabytes_per_second for row in rows),
        min(row.one_by_one_ms for row in rows),
        min(row.chunked_ms for row in rows),
    )


def table(rows: list[Row]) -> Table:
    """Return one line a way."""
    shown = Table(title="cost of a task, two local workers")
    shown.add_column("way")
    for heading in ("round trip / ms", "tasks / s", "MB / s", "ms a label, one by one", f"ms a label, {CHUNK} a task"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.way,
            f"{row.round_trip_ms:.2f}",
            f"{row.tasks_per_second:.0f}",
            f"{row.megabytes_per_second:.0f}",
            f"{row.one_by_one_ms:.2f}",
            f"{row.chunked_ms:.3f}",
        )
    return shown


if __name__ == "__main__":
    main()
