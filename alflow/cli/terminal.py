"""Terminal of the commands: where they print, and what they say of work that takes a while."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LINE_S = 15.0
"""Between two lines about work that goes on, where no terminal shows a bar."""
PATIENCE_S = 2.0
"""What takes longer is told where no terminal shows that something goes on."""


def terminal() -> Console:
    """Return where a command prints: on a terminal tables are fitted to it; elsewhere all is as wide as it is."""
    from alflow.cli.wide import WideConsole

    return WideConsole()


@contextlib.contextmanager
def busy(message: str) -> Iterator[None]:
    """Show on stderr that something goes on: a moving sign on a terminal; elsewhere a line, if it takes longer."""
    from rich.console import Console
    from rich.text import Text

    if sys.stderr.isatty():
        with Console(stderr=True).status(Text(f"{message} ...")):
            yield
        return
    timer = threading.Timer(PATIENCE_S, lambda: print(f"{message} ...", file=sys.stderr, flush=True))  # noqa: T201
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def warn(notes: Iterable[str]) -> None:
    """Print sentences that a user should see, on stderr: what was ignored, or looks doubtful."""
    for note in notes:
        print(f"alflow: note: {note}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how many are done of how many: a bar on a terminal, elsewhere lines on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not console.file.isatty():
        yield _Lines(what)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """Says every `LINE_S` seconds how far a count is."""

    def __init__(self, what: str) -> None:
        self._what, self._written = what, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._written > LINE_S:
            self._written = now
            print(f"{self._what}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201
