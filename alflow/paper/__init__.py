"""Reproduce the figures of the paper: run what is missing, draw, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alflow.display.view import Display
from alflow.errors import InputError
from alflow.execution.sites import find_site, load_site
from alflow.files.resources import close_matches
from alflow.paper.fluctuation import figure_fluctuation, figure_members
from alflow.paper.learning import figure_3, figure_5, figure_6, figure_s1, figure_s2
from alflow.paper.pulling import figure_2, figure_4
from alflow.paper.result import Drawn, Result, store
from alflow.paper.runs import QUICK_WORDS, Runs
from alflow.paper.transfer import figure_7, figure_alkanes, figure_s7
from alflow.report.saving import check_figure

FIGURES: dict[str, Callable[[Runs], Drawn]] = {
    "fig2": figure_2,
    "fig3": figure_3,
    "fig4": figure_4,
    "fig5": figure_5,
    "fig6": figure_6,
    "fig7": figure_7,
    "s1": figure_s1,
    "s2": figure_s2,
    "s7": figure_s7,
    "alkanes": figure_alkanes,
    "fluctuation": figure_fluctuation,
    "fluctuation-members": figure_members,
}
BEYOND = ("alkanes", "fluctuation", "fluctuation-members")
"""Of these, what the paper does not have."""

__all__ = ["FIGURES", "Result", "Runs", "reproduce_figures"]


def reproduce_figures(
    names: Sequence[str], folder: Path, site: str, options: Mapping[str, str], display: Display, *, quick: bool
) -> list[Result]:
    """Reproduce figures, one after another; what one has run the next one finds.

    Args:
        names: Of `FIGURES`, or all for all of the paper's.
        folder: Where campaigns lie and are made; results go into its folder ``results``.
        site: Name or path of the site file.
        options: Of the site.
        display: Shows what goes on.
        quick: The reduced version.

    Raises:
        InputError: a name, the site or an option of it is unknown, or a figure cannot be made with this copy.
    """
    for name in names:
        if name != "all" and name not in FIGURES:
            hint = close_matches(name, [*FIGURES, "all"])
            raise InputError(f"A figure must be one of {', '.join(FIGURES)} or all; {name!r} is not. {hint}")
    load_site(find_site(site), folder, options)  # a wrong option is refused before a run directory is made
    wanted = [name for name in FIGURES if name in names or ("all" in names and name not in BEYOND)]
    runs = Runs(folder, site, options, display, quick)
    results = []
    for name in wanted:
        check_figure(folder / "results" / f"{name}.png")
        started = time.monotonic()
        try:
            drawn = FIGURES[name](runs)
            drawn = replace(drawn, differs=f"{QUICK_WORDS} {drawn.differs}") if quick else drawn
        except InputError as error:
            if "all" not in names:
                raise
            display.note(str(error))
            continue
        results.append(store(drawn, name, folder / "results", time.monotonic() - started, quick=quick))
    return results
