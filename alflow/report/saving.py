"""Figures into files: the format is that of the name's ending."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from alflow.errors import InputError
from alflow.files.targets import check_target, shown, writing

WHAT = "The figure"
USUAL = ("png", "svg", "pdf")


def check_figure(path: Path) -> None:
    """Find out, before anything is computed for it, whether a figure can be drawn into a file.

    Raises:
        InputError: The ending of its name is no format of a figure, or the file cannot be written.
    """
    check_ending(path)
    check_target(path, WHAT)


def check_ending(path: Path) -> None:
    """Find out whether the ending of a name is a format of figures.

    Raises:
        InputError: It is none.
    """
    if _format(path) not in FigureCanvasBase.filetypes:
        raise InputError(
            f"The ending of a figure's name is its format, such as {', '.join(USUAL)}; {shown(path)} ends in "
            f"{path.suffix!r}."
        )


def save_figure(figure: Figure, path: Path, dpi: float = 150) -> None:
    """Draw a figure into a file, which appears whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    with writing(path, WHAT) as part:
        figure.savefig(part, dpi=dpi, format=_format(path))


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or "png"
