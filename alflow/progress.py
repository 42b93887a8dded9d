"""Where a running campaign shows what it does: a live display on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from alflow.records import IterationRecord, estimate_text


@dataclass
class View:
    """What there is to show. Changed by the campaign, drawn by a display."""

    campaign: str = ""
    iteration: int = 0
    iterations: int = 0
    stage: str = "start"
    label_tasks: int = 0
    labels_wanted: int = 0
    labels_done: int = 0
    labels_failed: int = 0
    labels_known: int = 0
    """Found in the ledger instead of being paid for."""
    labels_per_second: float = 0.0
    steps_wanted: int = 0
    steps_done: int = 0
    """Of the pulls of this iteration."""
    work_ev: float = 0.0
    """Work so far in the pull that reported last."""
    epochs: int = 0
    epoch: int = 0
    reference: str = ""
    workers: dict[str, int] = field(default_factory=dict)
    records: list[IterationRecord] = field(default_factory=list)


class Display(Protocol):
    """Shows a view."""

    def update(self, view: View) -> None:
        """Draw the view; called a few times a second."""
        ...

    def note(self, message: str) -> None:
        """Say one sentence that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Shows nothing."""

    def update(self, view: View) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainDisplay:
    """One line whenever the stage changes, and one every `period` seconds."""

    def __init__(self, period: float = 15.0) -> None:
        self._period = period
        self._started = time.monotonic()
        self._last: tuple[int, str] = (-1, "")
        self._written = 0.0

    def update(self, view: View) -> None:
        """Write a line if there is something new to say."""
        now, current = time.monotonic(), (view.iteration, view.stage)
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
            name: self._bars.add_task(name, total=None, extra="")
            for name in ("iteration", "training", "pull", "labels")
        }
        self._live = Live(console=console, refresh_per_second=5, transient=True)
        self._live.start()

    def update(self, view: View) -> None:
        """Draw the bars and the table."""
        bars = self._bars
        bars.update(self._tasks["iteration"], completed=view.iteration, total=view.iterations, extra=view.stage)
        bars.update(self._tasks["training"], completed=view.epoch, total=view.epochs or None, extra="epochs")
        work = f"steps, work {view.work_ev:.2f} eV {view.reference}"
        bars.update(self._tasks["pull"], completed=view.steps_done, total=view.steps_wanted or None, extra=work)
        rate = f"{view.labels_per_second:.0f}/s, {view.labels_failed} failed, {view.label_tasks} tasks open"
        bars.update(self._tasks["labels"], completed=view.labels_done, total=view.labels_wanted or None, extra=rate)
        grid = Table.grid()
        if view.records:
            grid.add_row(iteration_table(view.records))
        grid.add_row(bars)
        self._live.update(grid)

    def note(self, message: str) -> None:
        """Print the sentence above the display."""
        self._console.print(message)

    def close(self) -> None:
        """Take the display away."""
        self._live.stop()


def display_for(console: Console) -> Display:
    """Return a live display for a terminal, plain lines for anything else."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def sentence(view: View) -> str:
    """Say in one line what goes on."""
    parts = [f"iteration {view.iteration}/{view.iterations - 1}: {view.stage}"]
    if view.stage == "training" and view.epochs:
        parts.append(f"epoch {view.epoch}/{view.epochs}")
    if view.steps_done:
        parts.append(f"pull step {view.steps_done}/{view.steps_wanted}, work {view.work_ev:.2f} eV")
    if view.labels_wanted:
        parts.append(f"labels {view.labels_done}/{view.labels_wanted} ({view.labels_per_second:.0f}/s)")
    if view.labels_failed:
        parts.append(f"{view.labels_failed} failed")
    return ", ".join(parts)


def iteration_table(records: list[IterationRecord]) -> Table:
    """Return the table of iterations."""
    table = Table(
        title="Iterations",
        caption="energies in eV a molecule, forces in eV/Å a component, barriers in eV; errors of the best member",
    )
    for heading in (
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
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        seconds = record.seconds
        table.add_row(
            str(record.iteration),
            str(record.labels),
            f"{record.energy_rmse_ev[record.best_member]:.4f}",
            f"{record.force_mae_ev_per_angstrom[record.best_member]:.3f}",
            f"{_mean(record.threshold_ev):.4f}",
            str(record.selected),
            estimate_text(record.barrier_ev) + record.cut_short,
            estimate_text(record.reference_barrier_ev),
            estimate_text(record.barrier_error_ev, "+"),
            *(f"{seconds.get(stage, 0.0):.1f}" for stage in ("train", "pull", "label")),
        )
    return table


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else float("nan")
