"""``alflow report`` and ``alflow reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli.campaign import RunDir, Site, SiteOptions


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow report runs/quickstart")(report)
    app.command(epilog="Example: alflow reproduce fig2 fig3 --quick --site local -o workers=2")(reproduce)


def report(run: RunDir) -> None:
    """Write the report of a run, finished or not: one HTML page that opens offline."""
    from alflow.analysis.report import write_report
    from alflow.rundir import RunDirectory

    typer.echo(str(write_report(RunDirectory(run.resolve()))))


def reproduce(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Of fig2, fig3, fig4, fig5, fig6, fig7, s1, s2, s7; all of these; or, beyond the paper, of alkanes, "
            "fluctuation, fluctuation-members.",
            show_default=False,
        ),
    ],
    site: Site = "local",
    options: SiteOptions = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Folder of runs and results.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A reduced version, in minutes; figures and tables say so.")
    ] = False,
) -> None:
    """Reproduce figures of the paper: run what is missing, draw ours with the paper's numbers, write tables."""
    from rich.console import Console

    from alflow.progress import display_for
    from alflow.reproduce import reproduce_figures
    from alflow.sites import parse_option_pairs

    console = Console()
    folder = runs or Path("runs") / ("paper-quick" if quick else "paper")
    display = display_for(console)
    try:
        results = reproduce_figures(names, folder, site, parse_option_pairs(options or ()), display, quick=quick)
    finally:
        display.close()
    for result in results:
        console.print(result.table())
        console.print(f"{result.differs}\n  {result.picture}\n  {result.json}", soft_wrap=True, highlight=False)
