"""Displays of a running campaign: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alflow.display.tables import Sheet
from alflow.display.view import Display, View
from alflow.runs.records import IterationRecord, estimate_text

SHOWN = 5
"""Iterations in a live display, which a terminal cuts at its height."""
ITERATION_HEADINGS = (
    "iter.",
    "labels",
    "E RMSE",
    "F MAE",
    "threshold",
    "selected",
    "barrier",
    "reference",
    "error",
    "train s",
    "pull s",
    "label s",
)


class PlainDisplay:
    """One line whenever the stage changes, and one every `period` seconds."""

    def __init__(self, period: float = 15.0) -> None:
        self._period = period
        self._started = time.monotonic()
        self._last: tuple[int, str] = (-1, "")
        self._written = 0.0

    def update(self, view: View) -> None:
        """Write a line if there is something new to say."""
        now, current = time.monotonic(), (view.iteration, view.part + view.stage + waiting(view))
        if current != self._last or now - self._written > self._period:
            self._last, self._written = current, now
            self._write(sentence(view))

    def note(self, message: str) -> None:
        """Write the sentence."""
        self._write(message)

    def close(self) -> None:
        """Do nothing."""

    def _write(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:7.1f} s] {text}", file=sys.stdout, flush=True)  # noqa: T201


class LiveDisplay:
    """Bars for stages, labels and pull steps, and the table of iterations so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[extra]}"),
            TimeElapsedColumn(),
        )
        self._tasks = {
            name: self._bars.add_task(name, total=None, extra="", visible=False)
            for name in ("iteration", "training", "pull", "reference", "labels")
        }
        self._live = Live(console=console, refresh_per_second=5, transient=True)
        self._live.start()

    def update(self, view: View) -> None:
        """Draw the bars and the table."""
        self._show("iteration", view.iteration, view.iterations, view.part + view.stage + waiting(view))
        self._show("training", view.epoch, view.epochs, "epochs")
        work = f"steps, work {view.work_ev:.2f} eV"
        self._show("pull", view.steps_done, view.steps_wanted, work)
        rate = f"{per_second(view.labels_per_second)}, {view.labels_failed} failed, {view.label_tasks} tasks open"
        if view.labels_budget:
            rate += f", {view.labels_spent} of a budget of {view.labels_budget} spent"
        self._show("reference", view.reference_done, view.reference_wanted, "steps with the label engine")
        self._show("labels", view.labels_done, view.labels_wanted, rate)
        shown = [iteration_table(view.records[-SHOWN:])] if view.records else []
        self._live.update(Group(*shown, self._bars))

    def _show(self, name: str, done: int, wanted: int, extra: str) -> None:
        """Draw a bar if there is anything to do."""
        self._bars.update(self._tasks[name], completed=done, total=wanted or None, extra=extra, visible=wanted > 0)

    def note(self, message: str) -> None:
        """Print the sentence above the display."""
        self._console.print(message)

    def close(self) -> None:
        """Take the display away."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """Return a live display for a terminal that can move its cursor, plain lines for anything else."""
    live = console.file.isatty() and not console.is_dumb_terminal
    return LiveDisplay(console) if live else PlainDisplay()


def sentence(view: View) -> str:
    """Say in one line what goes on."""
    parts = [f"{view.part}iteration {view.iteration}/{view.iterations - 1}: {view.stage}{waiting(view)}"]
    if view.stage == "training" and view.epochs:
        parts.append(f"epoch {view.epoch}/{view.epochs}")
    if view.steps_wanted and view.steps_done:
        parts.append(f"pull step {view.steps_done}/{view.steps_wanted}, work {view.work_ev:.2f} eV")
    if view.reference_done < view.reference_wanted:
        parts.append(f"reference step {view.reference_done}/{view.reference_wanted}")
    if view.labels_wanted:
        parts.append(f"labels {view.labels_done}/{view.labels_wanted} ({per_second(view.labels_per_second)})")
    if view.labels_budget:
        parts.append(f"{view.labels_spent} of a budget of {view.labels_budget} spent")
    if view.labels_failed:
        parts.append(f"{view.labels_failed} failed")
    return ", ".join(parts)


def per_second(rate: float) -> str:
    """Write a rate with two digits or more: 0.25/s, 7.1/s, 1200/s."""
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def waiting(view: View) -> str:
    """Say which executors have no worker yet."""
    missing = [label for label, count in view.workers.items() if not count]
    return f", waiting for workers of {' and '.join(missing)}" if missing else ""


def iteration_table(records: Sequence[IterationRecord]) -> Sheet:
    """Return the table of iterations."""
    table = Sheet(
        (),
        ITERATION_HEADINGS,
        title="Iterations",
        caption="energies in eV a molecule, forces in eV/Å a component, barriers in eV; errors of the best member",
    )
    for record in records:
        seconds = record.seconds
        table.add(
            str(record.iteration),
            str(record.labels),
            f"{record.energy_rmse_ev[record.best_member]:.4f}",
            f"{record.force_mae_ev_per_angstrom[record.best_member]:.3f}",
            f"{_mean(record.threshold):.4f}",
            str(record.selected),
            estimate_text(record.barrier_ev) + record.cut_short,
            estimate_text(record.reference_barrier_ev),
            estimate_text(record.barrier_error_ev, "+"),
            *(f"{seconds.get(stage, 0.0):.1f}" for stage in ("train", "pull", "label")),
        )
    return table


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else float("nan")
