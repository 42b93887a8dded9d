"""A benchmark as a table and a figure."""

from __future__ import annotations

import json
from pathlib import Path

from alflow.bench.measure import Account
from alflow.bench.report import BenchReport
from alflow.bench.splits import SplitReport
from alflow.display.tables import Sheet
from alflow.files.targets import writing


def bench_table(report: BenchReport) -> Sheet:
    """Return one line a case."""
    headings = ("workers", "frames", "labels/s", "each", "effic.", "proc.", "busy", "start", "disp.", "tail")
    table = Sheet(
        (),
        (*headings, "ms/label"),
        title=f"labelling on {report.site}: {report.workload}, {report.workers} workers",
        caption=(
            f"first result after {report.first_worker_s:.1f} s, every worker after {report.all_workers_s:.1f} s; "
            f"one worker alone: {report.one_worker_labels_per_second:.4g} labels/s; "
            f"{sum(row.account.labels for row in report.rows)} labels, "
            f"{sum(row.failed for row in report.rows)} failed. "
            "effic.: labels/s a worker over one worker alone; proc.: the same for labels a second of processor time; "
            "frames: of a task; busy, start, disp., tail: shares of held worker-seconds; ms/label: cost of dispatch"
        ),
    )
    for row in report.rows:
        part = row.account
        held = part.workers * part.wall_s
        table.add(
            str(part.workers),
            str(row.case.frames_per_task) if row.case.frames_per_task else f"~{part.labels / part.tasks:.1f}",
            f"{part.labels_per_second:.4g}",
            f"{part.labels_per_second / part.workers:.4g}",
            f"{row.efficiency:.1%}",
            "-" if row.processor_efficiency is None else f"{row.processor_efficiency:.1%}",
            f"{part.utilisation:.1%}",
            f"{part.start_s / held:.1%}",
            f"{part.dispatch_s / held:.1%}",
            f"{part.straggler_s / held:.1%}",
            f"{part.dispatch_ms_per_label:.3f}",
        )
    return table


def split_table(report: SplitReport) -> Sheet:
    """Return one line a split."""
    best = report.recommended
    failed = sum(row.failed for row in report.rows)
    table = Sheet(
        (),
        ("labels × cores", "labels/s", "s a label", "efficiency", "failed", ""),
        title=f"splits of a node of {report.site}: {report.workload}, cores of a label as {report.into}",
        caption=(
            f"{sum(row.account.labels for row in report.rows)} labels, {failed} failed. efficiency: of a label, with "
            f"the fewest cores 1. Recommended: {best.split.text}, {report.setting}"
        ),
    )
    for row in report.rows:
        table.add(
            row.split.text,
            f"{row.account.labels_per_second:.4g}",
            f"{row.seconds_per_label:.4g}",
            f"{row.efficiency:.1%}",
            str(row.failed),
            "recommended" if row is best else "",
        )
    return table


def draw_splits(report: SplitReport, path: Path) -> Path:
    """Draw labels a second, the time of a label and its parallel efficiency over the cores of a label."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - drawing alone needs it

    from alflow.report.saving import save_figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.0), layout="constrained")
    rows = sorted(report.rows, key=lambda row: row.split.cores)
    cores = [row.split.cores for row in rows]
    best = report.recommended
    lines = {
        "labels / s": [row.account.labels_per_second for row in rows],
        "seconds a label": [row.seconds_per_label for row in rows],
        "parallel efficiency": [row.efficiency for row in rows],
    }
    for axes, (name, values) in zip(figure.subplots(1, 3), lines.items(), strict=True):
        axes.plot(cores, values, "o-")
        axes.axvline(best.split.cores, color="grey", linestyle=":", label=f"recommended: {best.split.text}")
        axes.set(xlabel=f"{report.into} of a label", ylabel=name, ylim=(0, None))
        axes.set_xscale("log", base=2)
        axes.set_xticks(cores, [str(count) for count in cores])
        axes.minorticks_off()
    figure.axes[0].legend(frameon=False, fontsize="small")
    save_figure(figure, path)
    return path


def save_bench(report: BenchReport | SplitReport, path: Path) -> None:
    """Write the numbers as JSON."""
    with writing(path, "The numbers") as part:
        part.write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")


def draw_bench(report: BenchReport, path: Path) -> Path:
    """Draw labels a second over workers, and where the workers' time went in each case."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - drawing alone needs it

    from alflow.report.saving import save_figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, parts = figure.subplots(1, 2)
    for size in dict.fromkeys(row.case.frames_per_task for row in report.rows):
        line = sorted((row.account for row in report.rows if row.case.frames_per_task == size), key=_workers)
        name = f"{size} frames a task" if size else "guided tasks"
        rates.plot([part.workers for part in line], [part.labels_per_second for part in line], "o-", label=name)
    most = max(row.account.workers for row in report.rows)
    rates.plot([0, most], [0, most * report.one_worker_labels_per_second], "k--", label="one worker × n")
    rates.set(xlabel="workers", ylabel="labels / s", xlim=(0, None), ylim=(0, None))
    rates.xaxis.get_major_locator().set_params(integer=True)
    rates.legend(frameon=False)
    names = [f"{row.account.workers} w, {row.case.frames_per_task or 'guided'}" for row in report.rows]
    left = [0.0] * len(names)
    for what in ("busy_s", "start_s", "dispatch_s", "straggler_s"):
        shares = [getattr(row.account, what) / (row.account.workers * row.account.wall_s) for row in report.rows]
        parts.barh(range(len(names)), shares, left=left, label=what.removesuffix("_s"))
        left = [start + share for start, share in zip(left, shares, strict=True)]
    parts.set_yticks(range(len(names)), names)
    parts.set(xlabel="share of held worker-seconds", xlim=(0, 1))
    parts.invert_yaxis()  # as in the table
    parts.legend(frameon=False, fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, path)
    return path


def _workers(part: Account) -> int:
    return part.workers
