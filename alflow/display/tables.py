"""Tables that lose nothing: every digit and every heading is there, whatever the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import HEAVY_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

FOLDED = 16
"""Columns of text are folded to no less than so many characters."""
CAPTION = 78
"""Width of the text below a narrow table."""


@dataclass
class Sheet:
    """A table for a terminal or a file: columns of text, which may be folded, then columns of numbers, which may not.

    Where it is too wide for a terminal, it becomes several tables, each of which begins with the first column.
    """

    text: Sequence[str]
    """Headings of the columns of text."""
    numbers: Sequence[str] = ()
    """Headings of the columns of numbers."""
    title: str = ""
    caption: str = ""
    ruled: bool = True
    """Whether there are lines around the cells."""
    headed: bool = True
    """Whether the headings are shown."""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of all columns."""
        return (*self.text, *self.numbers)

    def parts(self, width: int) -> list[list[int]]:
        """Return the columns of each table, so that each is at most `width` characters wide if it can be."""
        least = self._least()
        parts: list[list[int]] = []
        for column in range(1, len(least)):
            if not parts or self._wide(least, [*parts[-1], column]) > width:
                parts.append([0])
            parts[-1].append(column)
        return parts or [[0]]

    def _least(self) -> list[int]:
        """Return the least width of each column."""
        widest = [max(map(cell_len, column)) for column in zip(self._shown(), *self.rows, strict=True)]
        return [min(size, FOLDED) if place < len(self.text) else size for place, size in enumerate(widest)]

    def _shown(self) -> tuple[str, ...]:
        return self.headings if self.headed else ("",) * len(self.headings)

    def _wide(self, least: Sequence[int], columns: Sequence[int]) -> int:
        """Return the width of a table of these columns: two blanks a column, and the rules."""
        return sum(least[column] + 2 for column in columns) + (len(columns) + 1 if self.ruled else 0)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=HEAVY_HEAD if self.ruled else None, show_header=self.headed)
        for column in columns:
            if column < len(self.text):
                table.add_column(self.headings[column], overflow="fold")
            else:
                table.add_column(self.headings[column], justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(row[column]) for column in columns))
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, the tables and the caption."""
        width, least = options.max_width, self._least()
        fold = options.update(no_wrap=False, overflow="fold")
        if self.title:
            yield Text(self.title, style="table.title")
        for columns in self.parts(width):
            yield from console.render(self._table(columns), fold.update(width=max(width, self._wide(least, columns))))
        if self.caption:
            widest = max(CAPTION, self._wide(least, range(len(least))))
            yield from console.render(Text(self.caption, style="table.caption"), fold.update(width=min(width, widest)))
