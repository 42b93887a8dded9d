"""The console of all commands."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from rich.console import Console

from alflow.display.tables import Sheet

NO_END = 100_000
"""Width where nothing has to fit: a pipe, a log file."""


class WideConsole(Console):
    """Takes nothing in a text for markup, and breaks lines at blanks alone: a path stays whole, and can be copied."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else NO_END
        super().__init__(width=width, markup=False, highlight=False, emoji=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; a word of a text, or a column of a table, that is longer than a line is left to the terminal."""
        if any(isinstance(each, str | Sheet) for each in objects):
            how = {"soft_wrap": True, **how}
        super().print(*(self._broken(each) if isinstance(each, str) else each for each in objects), **how)

    def _broken(self, text: str) -> str:
        lines = text.split("\n")
        options = {"break_long_words": False, "break_on_hyphens": False, "replace_whitespace": False}
        return "\n".join(textwrap.fill(line, self.width, **options) for line in lines)  # type: ignore[arg-type]
