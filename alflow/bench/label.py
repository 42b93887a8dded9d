"""The labelling benchmark that people run before they spend an allocation."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from alflow.bench.measure import Account, Interval, account
from alflow.bench.report import BenchCase, BenchReport, BenchRow
from alflow.bench.workload import EngineWorkload, Workload
from alflow.errors import CampaignError, InputError
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.farm.chunks import chunk_sizes
from alflow.labeling import make_engine
from alflow.runs.events import EventLog
from alflow.workers.result import Outcome

WARM_UP_LIMIT_S = 1800.0
BASELINE_SECONDS = 20.0
"""Length of the measurement with one worker that efficiencies refer to, half before and half after the others."""


@dataclass
class _Run:
    """Collects the tasks of one case."""

    intervals: list[Interval] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)


def bench_label(
    site: str,
    options: Mapping[str, str],
    workload: Workload,
    count: int,
    run_dir: Path,
    *,
    cases: Sequence[BenchCase] = (BenchCase(),),
    task_seconds: float = 3.0,
    warm_up: int | None = None,
    limit_s: float = WARM_UP_LIMIT_S,
    say: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure labels a second of a site's executor "cpu".

    Args:
        site: Name or path of a site file.
        options: Its options.
        workload: Labels of an engine, or of nothing but time.
        count: Labels of each case.
        run_dir: Where logs go.
        cases: Numbers of workers and frames a task to measure.
        task_seconds: Length of a task aimed at where a case leaves its size open, s.
        warm_up: Workers to wait for before anything counts; None: all that the site has connected by then.
        limit_s: Longest time to wait for them, the scheduler's queue included, s.
        say: Told what happens now.

    Raises:
        InputError: the site or the engine cannot be used; nothing was submitted.
        CampaignError: workers did not come, or a task failed as a whole.
    """
    if count < 1:
        raise InputError(f"A benchmark labels at least one frame; got {count}.")
    if isinstance(workload, EngineWorkload):
        make_engine(workload.labels.engine, workload.labels.settings)
    run_dir.mkdir(parents=True, exist_ok=True)
    config = load_site(find_site(site), run_dir, options)
    with graph_of(config, run_dir) as graph:
        say("Starting workers ...")
        first, everyone, workers = warm_up_workers(graph, workload, warm_up, limit_s)
        label_seconds = probe(graph, workload)
        say(f"{workers} workers after {everyone:.1f} s; a label takes {1e3 * label_seconds:.3g} ms")
        half = max(1, min(count, int(BASELINE_SECONDS / 2 / label_seconds)))
        alone = BenchCase(workers=1)
        baseline = [run_case(graph, workload, alone, half, workers, label_seconds, task_seconds)[0]]
        measured = []
        for case in cases:
            used = min(case.workers or workers, workers)
            say(f"{count} labels, {used} workers, {case.frames_per_task or 'guided'} frames a task")
            measured.append((case, *run_case(graph, workload, case, count, workers, label_seconds, task_seconds)))
        baseline.append(run_case(graph, workload, alone, half, workers, label_seconds, task_seconds)[0])
    one = sum(part.labels for part in baseline) / sum(part.wall_s for part in baseline)
    cost = sum(part.processor_s for part in baseline) / sum(part.labels for part in baseline)
    rows = [
        BenchRow(
            case,
            counted,
            failed,
            counted.labels_per_second / counted.workers / one,
            cost * counted.labels / counted.processor_s if counted.processor_s else None,
        )
        for case, counted, failed in measured
    ]
    return BenchReport(site, dict(options), workload.text, workers, first, everyone, label_seconds, one, tuple(rows))


@contextmanager
def graph_of(config: Any, run_dir: Path) -> Iterator[TaskGraph]:
    """Start the executors of a site; end them."""
    events = EventLog(run_dir / "events.jsonl")
    graph = TaskGraph(config, events)
    try:
        yield graph
    finally:
        graph.close()
        events.close()


def warm_up_workers(
    graph: TaskGraph, workload: Workload, expected: int | None, limit_s: float
) -> tuple[float, float, int]:
    """Give every worker a label until each has returned one; return the first and last one's times, and how many."""
    began = time.monotonic()
    seen: dict[str, float] = {}
    run = _Run()

    def handle(result: Outcome[dict[str, Any]] | BaseException) -> None:
        _take(run, result, 1)
        for interval in run.intervals[-1:]:
            seen.setdefault(interval.worker, time.monotonic() - began)

    def everyone() -> bool:
        if time.monotonic() - began > limit_s:
            raise CampaignError(
                f"The workers of executor 'cpu' were not there after {limit_s:.0f} s "
                f"({len(seen)} were); look at the scheduler's queue and the logs in the run directory."
            )
        _raise_first(run)
        workers = graph.workers("cpu")
        for _ in range(max(1, 2 * workers) - graph.pending()):
            graph.submit(workload.call(0, 1), handle)
        threads = f"{socket.gethostname()}:{os.getpid()}" in seen  # they cannot be told apart
        return bool(seen) and (threads or len(seen) >= (expected or max(1, workers)))

    graph.run_until(everyone)
    graph.run_until(lambda: graph.pending() == 0)
    times = sorted(seen.values())
    return times[0], times[-1], max(len(seen), graph.workers("cpu"))


def probe(graph: TaskGraph, workload: Workload, tries: int = 5) -> float:
    """Return the time of one label on a warm worker, s: the least of a few."""
    times = []
    for first in range(tries):
        run = _Run()
        graph.submit(workload.call(first, 1), partial(_take, run, labels=1))
        graph.run_until(lambda: graph.pending() == 0)
        _raise_first(run)
        times.append(run.intervals[0].ended - run.intervals[0].started)
    return max(min(times), 1e-5)


def run_case(
    graph: TaskGraph,
    workload: Workload,
    case: BenchCase,
    count: int,
    workers: int,
    label_seconds: float,
    task_seconds: float,
) -> tuple[Account, int]:
    """Run one case; return where the workers' time went, and how many labels failed."""
    used = min(case.workers or workers, workers)
    sizes = iter(chunk_sizes(count, used, label_seconds, task_seconds, case.frames_per_task))
    run = _Run()
    position = 0

    def submit_next() -> None:
        nonlocal position
        size = next(sizes, 0)
        if not size:
            return

        def handle(result: Outcome[dict[str, Any]] | BaseException) -> None:
            _take(run, result, size)
            if case.workers:
                submit_next()

        graph.submit(workload.call(position, size), handle, frames=size)
        position += size

    began = time.time()
    for _ in range(used if case.workers else count):
        submit_next()
    graph.run_until(lambda: graph.pending() == 0)
    ended = time.time()
    _raise_first(run)
    return account(run.intervals, used, began, ended), sum(run.failed.values())


def _take(run: _Run, result: Outcome[dict[str, Any]] | BaseException, labels: int) -> None:
    if isinstance(result, BaseException):
        run.errors.append(result)
        return
    report = result.report
    run.intervals.append(
        Interval(
            f"{report.host}:{report.pid}", report.started, report.ended, labels, result.value.get("processor_s", 0.0)
        )
    )
    run.failed.update(failure[1] for failure in result.value["failures"])


def _raise_first(run: _Run) -> None:
    if run.errors:
        error = run.errors[0]
        raise CampaignError(f"A task of the benchmark failed: {type(error).__name__}: {error}") from error
