"""Result of reproducing a figure: a picture, and a table of the paper's numbers beside ours."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from alflow.display.tables import Sheet
from alflow.files.targets import writing
from alflow.report.saving import save_figure
from alflow.runs.environment import environment

PAPER_COLOUR = "tab:orange"
"""Of everything that the paper reports, in all figures."""


@dataclass(frozen=True)
class Row:
    """One quantity."""

    quantity: str
    unit: str
    paper: float | None
    """None where the paper's text gives no number."""
    ours: float

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.paper is None else self.ours - self.paper


@dataclass(frozen=True)
class Drawn:
    """A figure before it is stored."""

    title: str
    figure: Figure
    rows: tuple[Row, ...]
    differs: str
    """What differs from the paper, and why."""


@dataclass(frozen=True)
class Result:
    """A stored figure and its table."""

    name: str
    title: str
    rows: tuple[Row, ...]
    differs: str
    picture: Path
    json: Path

    def table(self) -> Sheet:
        """Return the table for a terminal."""
        table = Sheet(("quantity", "unit"), ("paper", "ours", "difference"), title=f"{self.name}: {self.title}")
        for row in self.rows:
            numbers = (_number(value) for value in (row.paper, row.ours, row.difference))
            table.add(row.quantity, row.unit, *numbers)
        return table


def store(drawn: Drawn, name: str, folder: Path, seconds: float, *, quick: bool) -> Result:
    """Write the picture and the table of a figure.

    Args:
        drawn: The figure.
        name: Such as fig3.
        folder: Where to.
        seconds: How long it took, what was already there not counted.
        quick: Whether it is the reduced version; picture, title and table then say so.
    """
    title = drawn.title + (" (reduced version)" if quick else "")
    drawn.figure.suptitle(title, fontsize=11)
    result = Result(name, title, drawn.rows, drawn.differs, folder / f"{name}.png", folder / f"{name}.json")
    save_figure(drawn.figure, result.picture, dpi=140)
    rows = [
        {
            "quantity": r.quantity,
            "unit": r.unit,
            "paper": r.paper,
            "ours": _finite(r.ours),
            "difference": _finite(r.difference),
        }
        for r in drawn.rows
    ]
    machine = environment()
    content = {
        "figure": name,
        "title": title,
        "quick": quick,
        "seconds": round(seconds, 1),
        "rows": rows,
        "differs": drawn.differs,
        "machine": {key: machine[key] for key in ("python", "platform", "processors", "packages")},
    }
    with writing(result.json, "The table") as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return result


def scatter(values: Sequence[float]) -> float:
    """Return the sample standard deviation of the second half of a series, not-a-numbers left out."""
    later = [value for value in values[len(values) // 2 :] if math.isfinite(value)]
    return statistics.stdev(later) if len(later) > 1 else 0.0


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
