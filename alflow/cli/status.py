"""``alflow status``: what a run does now, from any shell that sees its directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.options import RunDir
from alflow.cli.terminal import terminal, warn

if TYPE_CHECKING:
    from alflow.display.tables import Sheet
    from alflow.runs.status import RunStatus

SIGNS = {"running": "running", "finished": "finished", "failed": "ended with an error", "gone": "its driver is gone"}

STRAGGLES, LONG_SECONDS = 5.0, 30.0
"""A label that has been out for so many times what one takes, and for so long, is told of, s."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: alflow status runs/quickstart --watch")(status)


def status(
    run: RunDir,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew each second until the run ends.")] = False,
) -> None:
    """Show what a run does now: iteration, stage, tasks, labels, workers, last error, time to go; or all of several."""
    from rich.live import Live

    from alflow.runs.allocations import AllocationDirectory
    from alflow.runs.directory import RunDirectory
    from alflow.runs.status import read_status

    if AllocationDirectory(run).is_one():
        _status_of_several(run, watch=watch)
        return
    console, now = terminal(), read_status(run)
    if not watch or not console.is_terminal:
        console.print(status_table(run, now))
    unread = RunDirectory(run).unread()
    warn([unread] if unread else [])
    if not watch:
        return
    with Live(status_table(run, now), console=console, auto_refresh=False) as live:
        while now.state == "running":
            time.sleep(1.0)
            now = read_status(run)
            live.update(status_table(run, now), refresh=True)


def _status_of_several(folder: Path, *, watch: bool) -> None:
    """Show what the campaigns of an allocation do, and who used what."""
    from rich.console import Group
    from rich.live import Live

    from alflow.display.several import allocation_head, allocation_table
    from alflow.runs.allocations import AllocationDirectory

    console, directory = terminal(), AllocationDirectory(folder)
    now = directory.status()
    if not watch or not console.is_terminal:
        console.print(allocation_head(folder, now))
        console.print(allocation_table(now))
    if not watch:
        return
    with Live(console=console, auto_refresh=False) as live:
        while now.state == "running":
            live.update(Group(allocation_head(folder, now), allocation_table(now)), refresh=True)
            time.sleep(1.0)
            now = directory.status()
        live.update(Group(allocation_head(folder, now), allocation_table(now)), refresh=True)


def status_table(run: Path, now: RunStatus) -> Sheet:
    """Return what `alflow status` prints."""
    from alflow.display.tables import Sheet

    table = Sheet(("", ""), title=str(run), ruled=False, headed=False)
    for name, text in _lines(now):
        if text:
            table.add(name, text)
    return table


def _lines(now: RunStatus) -> list[tuple[str, str]]:
    from alflow.display.progress import per_second

    again = "run the same command again to go on" if now.state in ("gone", "failed") else ""
    done, wanted = now.reference_steps
    labels = (
        f"{now.labels_done} of {now.labels_wanted}, {per_second(now.labels_per_second)}, {now.labels_failed} failed"
    )
    return [
        ("state", ": ".join(part for part in (SIGNS[now.state], now.message) if part)),
        ("", again),
        ("driver", f"process {now.pid} on {now.host}, started {time.strftime('%F %T', time.localtime(now.started))}"),
        ("iteration", f"{now.iteration} of 0 to {now.iterations - 1}; {len(now.done)} committed"),
        ("stage", now.stage),
        ("training", f"epoch {now.epochs[0]} of {now.epochs[1]}" if now.epochs[1] else ""),
        ("pull", f"step {now.pull_steps[0]} of {now.pull_steps[1]}" if now.pull_steps[1] else ""),
        ("reference", f"step {done} of {wanted}" if done < wanted else ""),
        ("labels", labels + _straggler(*now.oldest_label)),
        ("budget", f"{now.label_budget[0]} of {now.label_budget[1]} labels" if now.label_budget[1] else ""),
        ("workers", ", ".join(f"{label} {count}" for label, count in now.workers.items())),
        *((f"{what} tasks", _tasks(counts)) for what, counts in now.tasks.items()),
        ("last error", now.last_error or "none"),
        ("time to go", "" if now.seconds_to_go is None else f"about {duration(now.seconds_to_go)}"),
    ]


def _straggler(oldest: float, usual: float) -> str:
    """Tell of a label that has been out for much longer than one takes; both in s."""
    if not oldest > max(STRAGGLES * usual, LONG_SECONDS) or not usual > 0.0:
        return ""
    takes = duration(usual) if usual >= 10.0 else f"{usual:.2g} s"
    return f", the oldest asked for {duration(oldest)} ago (a label takes {takes})"


def _tasks(counts: object) -> str:
    names = ("waiting", "running", "done", "failed")
    return ", ".join(f"{getattr(counts, name)} {name}" for name in names if getattr(counts, name))


def duration(seconds: float) -> str:
    """Write a time span as people do: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
