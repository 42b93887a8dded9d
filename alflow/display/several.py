"""Displays of several campaigns that run together: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live

from alflow.display.progress import PlainDisplay, sentence, waiting
from alflow.display.tables import Sheet
from alflow.display.view import View
from alflow.runs.allocations import AllocationStatus, CampaignLine

PERIOD_SECONDS = 60.0
"""Between two lines of a campaign whose stage does not change."""


class SeveralDisplay(Protocol):
    """Shows what several campaigns do."""

    def update(self, status: AllocationStatus, views: Mapping[str, View | None]) -> None:
        """Draw what goes on; called a few times a second."""
        ...

    def note(self, message: str) -> None:
        """Say one sentence that stays; may be called from any thread."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class SilentSeveral:
    """Shows nothing."""

    def update(self, status: AllocationStatus, views: Mapping[str, View | None]) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainSeveral:
    """A line whenever the stage of a campaign changes, and one every minute."""

    def __init__(self) -> None:
        self._lines = PlainDisplay()
        self._last: dict[str, tuple[object, float]] = {}

    def update(self, status: AllocationStatus, views: Mapping[str, View | None]) -> None:
        """Write a line of each campaign that has something new to say."""
        del status
        for name, view in views.items():
            if view is None:
                continue
            now, current = time.monotonic(), (view.iteration, view.stage + waiting(view))
            before, written = self._last.get(name, (None, 0.0))
            if current != before or now - written > PERIOD_SECONDS:
                self._last[name] = (current, now)
                self._lines.note(f"{name}: {sentence(view)}")

    def note(self, message: str) -> None:
        """Write the sentence."""
        self._lines.note(message)

    def close(self) -> None:
        """Do nothing."""


class LiveSeveral:
    """The table of all campaigns."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def update(self, status: AllocationStatus, views: Mapping[str, View | None]) -> None:
        """Draw the table."""
        del views
        self._live.update(allocation_table(status))

    def note(self, message: str) -> None:
        """Print the sentence above the table."""
        self._console.print(message)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def several_display_for(console: Console) -> SeveralDisplay:
    """Return a live display for a terminal that can move its cursor, plain lines for anything else."""
    live = console.file.isatty() and not console.is_dumb_terminal
    return LiveSeveral(console) if live else PlainSeveral()


STATES = {"running": "running", "finished": "finished", "failed": "ended with an error", "gone": "its driver is gone"}


def allocation_head(folder: Path, status: AllocationStatus) -> Sheet:
    """Return the state of an allocation's driver, as a table."""
    table = Sheet(("", ""), title=str(folder), ruled=False, headed=False)
    state = STATES.get(status.state, status.state)
    table.add("state", ": ".join(part for part in (state, status.message) if part))
    if status.state in ("gone", "failed"):
        table.add("", "run the same command again to go on")
    since = time.strftime("%F %T", time.localtime(status.started))
    table.add("driver", f"process {status.pid} on {status.host}, started {since}")
    return table


def allocation_table(status: AllocationStatus) -> Sheet:
    """Return what each campaign does and who used what, as a table."""
    executors = tuple(status.workers)
    headings = [f"{label} {what}" for label in executors for what in ("worker-s", "share")]
    table = Sheet(
        ("campaign", "state", "stage"),
        ("iter.", "labels", "shared", "waiting", "running", "weight", *headings),
        title=f"Campaigns on site {status.site}",
        caption=usage(status),
    )
    for line in status.campaigns:
        table.add(*_cells(status, line, executors))
    return table


def _cells(status: AllocationStatus, line: CampaignLine, executors: tuple[str, ...]) -> list[str]:
    of_executors = [
        text
        for label in executors
        for text in (f"{line.seconds.get(label, 0.0):.0f}", f"{status.share(line, label):.0%}")
    ]
    ended = line.state not in ("starting", "running")
    return [
        line.name,
        line.state,
        line.message if ended else line.stage,
        f"{line.iteration}/{line.iterations}",
        f"{line.labels_done}/{line.labels_wanted}",
        str(line.labels_shared),
        str(line.waiting),
        str(line.running),
        f"{line.weight:g}",
        *of_executors,
    ]


def usage(status: AllocationStatus) -> str:
    """Say how much of what was held was used."""
    parts = []
    for label, held in status.held.items():
        used = status.used(label)
        share = f"{used / held:.0%}" if held > 0 else "none"
        parts.append(
            f"{label}: {status.workers.get(label, 0)} workers; {used:.0f} of {held:.0f} worker-seconds used ({share})"
        )
    return "\n".join([*parts, "Tasks that run count once they have ended."])
