"""The report of an allocation: which campaign used what of the workers that were held."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alflow.files.targets import check_target, writing
from alflow.ledger import LedgerReader
from alflow.report import page
from alflow.report.utilisation import Utilisation, utilisation
from alflow.runs.allocations import AllocationDirectory
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events

BINS = 240
NONE = "-"


def write_allocation_report(allocation: AllocationDirectory, target: Path | None = None) -> Path:
    """Write the report of an allocation, finished or not, and return its path: ``report.html`` if none is given.

    Raises:
        RunError: the folder is no allocation's.
        InputError: the file cannot be written.
    """
    target = target or allocation.path / "report.html"
    runs = allocation.runs()
    check_target(target, "The report")
    events = list(read_events(allocation.events))
    names = [*runs, *sorted({str(event["campaign"]) for event in events if "campaign" in event} - runs.keys())]
    written = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    parts = [
        f"<h1>{escape(allocation.path.name)}</h1>",
        page.paragraph(f"{len(names)} campaigns on one site. Written {written}.", "soft"),
        f"<section><h2>Campaigns</h2>{_campaigns(names, runs, events)}</section>",
        f"<section><h2>Executors</h2>{_executors(names, events)}</section>",
    ]
    with writing(target, "The report") as part:
        part.write_text(page.page(f"{allocation.path.name}: alflow", "".join(parts)), encoding="utf-8")
    return target


def refresh_allocation_report(allocation: AllocationDirectory) -> str:
    """Write the report at the end of a driver, which must not fail for it.

    Returns:
        Nothing, or a sentence that says why the page is not new.
    """
    try:
        write_allocation_report(allocation)
    except Exception as error:  # noqa: BLE001 - a page is no reason to fail
        return f"The report could not be written: {type(error).__name__}: {error}"
    return ""


def use_by_campaign(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the worker-seconds of each campaign by executor."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for event in events:
        if "campaign" in event and "ended" in event:
            found[event["campaign"]][event["executor"]] += event["ended"] - event["started"]
    return {name: dict(seconds) for name, seconds in found.items()}


def _campaigns(names: list[str], runs: Mapping[str, Path], events: list[dict[str, Any]]) -> str:
    use = use_by_campaign(events)
    total = {label: sum(seconds.get(label, 0.0) for seconds in use.values()) for label in ("cpu", "gpu")}
    rows = []
    for name in names:
        seconds = use.get(name, {})
        cells = [
            text
            for label, of_all in total.items()
            for text in (
                f"{seconds.get(label, 0.0):.1f}",
                f"{seconds.get(label, 0.0) / of_all:.1%}" if of_all > 0 else NONE,
            )
        ]
        rows.append((name, *_content(runs.get(name)), *cells))
    headings = ("campaign", "iterations", "labels", "cpu (worker-s)", "of all", "gpu (worker-s)", "of all")
    return page.table(headings, rows)


def _content(run: Path | None) -> tuple[str, str]:
    """Return committed iterations and labels of a run; nothing where it cannot be read."""
    if run is None:
        return NONE, NONE
    directory = RunDirectory(run)
    try:
        with LedgerReader.open(directory.ledger) as ledger:
            return str(len(directory.records())), str(ledger.counts().labelled)
    except Exception:  # noqa: BLE001 - the run's own report says what is wrong with it
        return NONE, NONE


def _executors(names: list[str], events: list[dict[str, Any]]) -> str:
    used = [found for found in utilisation(events) if found.held.seconds > 0]
    if not used:
        return page.paragraph("No worker has connected yet.", "soft")
    begin = min(float(found.held.begin.min()) for found in used)
    end = max(float(found.held.end.max()) for found in used)
    edges = np.linspace(begin, max(end, begin + 1e-3), BINS + 1)
    parts = {
        name: {
            found.executor: found
            for found in utilisation([event for event in events if event.get("campaign", name) == name])
        }
        for name in names
    }

    def draw(figure: Figure) -> None:
        rows = figure.subplots(len(used), 1, sharex=True, squeeze=False)[:, 0]
        for axes, found in zip(rows, used, strict=True):
            _draw_parts(axes, edges, found, {name: part[found.executor] for name, part in parts.items()})
        rows[0].legend(fontsize=7, ncols=4, loc="upper left")

    caption = (
        "Workers that ran tasks of each campaign, one on top of the other, and workers that were connected (line), "
        "over all drivers of the allocation."
    )
    rows = [
        (found.executor, f"{found.busy.seconds:.1f}", f"{found.held.seconds:.1f}", f"{found.share:.1%}")
        for found in used
    ]
    headings = ("executor", "busy (worker-s)", "held (worker-s)", "utilisation")
    return page.figure(draw, caption, (10.0, 2.2 * len(used) + 0.4)) + page.table(headings, rows)


def _draw_parts(axes: Any, edges: Any, found: Utilisation, parts: Mapping[str, Utilisation]) -> None:
    """Stack what the campaigns used of one executor, below what was held."""
    minutes = (edges[:-1] - edges[0]) / 60.0
    heights = [part.busy.mean_in(edges) for part in parts.values()]
    axes.stackplot(minutes, *heights, labels=list(parts), step="post")
    axes.step(minutes, found.held.mean_in(edges), where="post", color="black", linewidth=1.0)
    axes.set_ylabel(f"{found.executor} workers")
    axes.set_xlabel("time (min)")
    axes.label_outer()
