"""Sections of the report about the work done: labels, time, executors, forecast, settings, what to cite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alflow.config.load import to_toml
from alflow.ledger import LedgerReader
from alflow.report import figures, page
from alflow.report.citations import citations
from alflow.report.rundata import RunData
from alflow.report.utilisation import Utilisation

BINS = 240
NONE = "-"
KINDS: dict[str, tuple[str, ...]] = {
    "first data": ("first-state", "md-segment"),
    "training": ("train",),
    "pull": ("relax-with-potential", "pull-segment", "pull-segments"),
    "labels": ("label",),
    "reference": ("relax", "reference-segment"),
    "relaxation": ("relax-with-base",),
}
"""Stages of a forecast, by the first words of their names, and the tasks that they are made of."""


def labels(data: RunData) -> str:
    """Count labels by iteration and failures by reason, and say how quickly they came."""
    if not data.run.ledger.exists():
        return page.paragraph("There is no ledger yet.", "soft")
    with LedgerReader.open(data.run.ledger) as ledger:
        counted, reasons, again = ledger.counts_by_iteration(), ledger.failures_by_reason(), ledger.paid_again()
    rows = [(iteration, found.labelled, found.failed) for iteration, found in counted.items()]
    text = page.table(("iteration that asked", "labels", "failures"), rows)
    if reasons:
        text += page.paragraph("Failures by reason:")
        text += page.table(("reason", "count"), list(reasons.items()))
    else:
        text += page.paragraph("No label failed.")
    return text + page.paragraph(_rate_words(data.tasks("label"))) + _paid_words(again) + _late_words(data)


def _late_words(data: RunData) -> str:
    """Say which iterations went on without some of their labels; nothing where none did."""
    late = [f"{record.late} (iteration {record.iteration})" for record in data.records if record.late]
    if not late:
        return ""
    return page.paragraph(
        f"Labels that iterations went on without, and that were learnt from later: {', '.join(late)}. late.json in the "
        "folder of each iteration lists them.",
        "soft",
    )


def _rate_words(tasks: Sequence[dict[str, Any]]) -> str:
    done = [task for task in tasks if "ended" in task]
    if not done:
        return "No label task has come back yet."
    count = sum(int(task.get("frames", 0)) for task in done)
    spent = sum(task["ended"] - task["started"] for task in done)
    queue = float(np.median([task["started"] - task["submitted"] for task in done]))
    wall = _union_seconds(done)
    return (
        f"{count} structures in {len(done)} label tasks, {spent:.1f} worker-seconds "
        f"({1e3 * spent / max(count, 1):.1f} ms each); {count / wall:.0f} labels a second while any label task ran. "
        f"Median wait of a task for a worker: {queue:.2f} s."
    )


def _paid_words(again: int) -> str:
    if not again:
        return page.paragraph("No structure was computed twice.", "soft")
    return page.paragraph(f"{again} labels were computed again after a task was lost.", "soft")


def _union_seconds(tasks: Sequence[dict[str, Any]]) -> float:
    """Return for how long at least one of the tasks ran."""
    total, until = 0.0, 0.0
    for begin, end in sorted((task["started"], task["ended"]) for task in tasks):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return max(total, 1e-9)


def seconds(data: RunData) -> str:
    """Draw and list the wall time of the stages by iteration."""
    if not data.records:
        return ""
    each = [record.seconds for record in data.records]
    train, pull, label = (np.array([found.get(name, 0.0) for found in each]) for name in ("train", "pull", "label"))
    after = np.maximum(label - pull, 0.0)
    stages = [("training", train), ("pull, frames labelled meanwhile", pull), ("labels after the pull", after)]

    def draw(figure: Figure) -> None:
        figures.draw_stage_seconds(figure.subplots(), data.iterations, stages)

    rows = [
        (iteration, f"{train[i]:.1f}", f"{pull[i]:.1f}", f"{after[i]:.1f}", f"{train[i] + pull[i] + after[i]:.1f}")
        for i, iteration in enumerate(data.iterations)
    ]
    caption = "Wall time by iteration; of one that was resumed, the last stretch. Labels run beside the pull."
    headings = ("iteration", "training (s)", "pull (s)", "labels after it (s)", "sum (s)")
    return page.figure(draw, caption, (10.0, 3.2)) + page.table(headings, rows)


def executors(data: RunData) -> str:
    """Draw busy workers against those held, and give the utilisation over the whole run."""
    used = [found for found in data.utilisation if found.held.seconds > 0]
    if not used:
        return page.paragraph("No worker has connected yet.", "soft")
    begin = min(found.held.begin.min() for found in used)
    end = max(found.held.end.max() for found in used)
    edges = np.linspace(begin, max(end, begin + 1e-3), BINS + 1)

    def draw(figure: Figure) -> None:
        rows = figure.subplots(len(used), 1, sharex=True, squeeze=False)[:, 0]
        for axes, found in zip(rows, used, strict=True):
            busy, held = found.busy.mean_in(edges), found.held.mean_in(edges)
            figures.draw_workers(axes, edges - begin, busy, held, found.executor)
            axes.label_outer()

    headings = ("executor", "tasks", "busy (worker-s)", "held (worker-s)", "utilisation")
    caption = (
        "Workers that ran a task, and workers that were connected, over the whole run: the wait for the first task, "
        "the end, and all pauses between tasks count. Tasks that were lost count as idle time."
    )
    caption += _shared_words(data)
    rows = [_used_row(found) for found in used]
    return page.figure(draw, caption, (10.0, 1.9 * len(used) + 0.4)) + page.table(headings, rows) + _task_table(data)


def _shared_words(data: RunData) -> str:
    """Say where workers were held for other campaigns, too."""
    folders = dict.fromkeys(str(event["allocation"]) for event in data.events if "allocation" in event)
    if not folders:
        return ""
    return f" They were shared with other campaigns, and what is busy is this one's part ({', '.join(folders)})."


def _used_row(found: Utilisation) -> tuple[str, ...]:
    busy, held = found.busy.seconds, found.held.seconds
    return found.executor, str(len(found.busy.begin)), f"{busy:.1f}", f"{held:.1f}", f"{found.share:.1%}"


def _task_table(data: RunData) -> str:
    rows = []
    for what in dict.fromkeys(event["what"] for event in data.events if "task" in event):
        tasks = data.tasks(what)
        times = np.array([task["ended"] - task["started"] for task in tasks if "ended" in task])
        failed = sum(task["outcome"] != "ok" for task in tasks)
        retries = sum(int(task.get("retries", 0)) for task in tasks)
        middle = f"{np.median(times):.2f}" if len(times) else NONE
        rows.append((what, tasks[0]["executor"], len(tasks), failed, retries, f"{times.sum():.1f}", middle))
    return page.table(("task", "executor", "count", "failed", "retries", "worker-s", "median (s)"), rows)


def forecast(data: RunData) -> str:
    """Set what was foreseen after the first iteration beside what the run took; nothing where there is no forecast."""
    path = data.run.path / "forecast.json"
    if not path.exists():
        return ""
    rows = []
    for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]:
        kinds = next((tasks for name, tasks in KINDS.items() if stage["name"].startswith(name)), ())
        done = [task for what in kinds for task in data.tasks(what) if "ended" in task]
        fact = sum(task["ended"] - task["started"] for task in done)
        ratio = f"{fact / stage['seconds']:.2f}" if stage["seconds"] > 0 else NONE
        rows.append((stage["name"], stage["tasks"], len(done), f"{stage['seconds']:.1f}", f"{fact:.1f}", ratio))
    headings = ("stage", "tasks foreseen", "tasks run", "foreseen (worker-s)", "fact (worker-s)", "fact / foreseen")
    note = "The forecast is for all planned iterations."
    if len(data.records) < data.settings.iterations:
        note += f" So far {len(data.records)} of {data.settings.iterations} are committed."
    return page.table(headings, rows) + page.paragraph(note, "soft")


def settings(data: RunData) -> str:
    """Show the resolved settings, and the versions and the machine of the last driver."""
    found = data.environment
    packages = "  ".join(f"{name} {version}" for name, version in found.get("packages", {}).items())
    revision = found.get("git_revision")
    where = f"{found.get('platform', 'unknown platform')}, {found.get('processors', '?')} processors"
    lines = [f"Python {found.get('python', '?')}; {packages}", where]
    lines += [f"git revision {revision}"] if revision else []
    return page.listing(lines) + page.folded("All settings of this campaign (campaign.toml)", to_toml(data.settings))


def cite(data: RunData) -> str:
    """List the references for what this campaign used."""
    return page.listing(citations(data.settings))
