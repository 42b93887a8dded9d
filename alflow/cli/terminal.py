"""What the commands share of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

TABLE_WIDTH = 130
"""Columns of a table where the output is no terminal."""


def wide(console: Console) -> Console:
    """Return a console that does not fold tables where the output is no terminal."""
    from rich.console import Console

    return console if console.is_terminal else Console(width=TABLE_WIDTH)
