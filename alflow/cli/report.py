"""``alflow report`` and ``alflow reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli.options import OldSiteOptions, Overwrite, RunDir, SiteName, SiteOptions, site_options
from alflow.cli.terminal import busy, terminal, warn


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow report runs/quickstart")(report)
    app.command(epilog="Example: alflow reproduce fig2 fig3 --quick --site local -O workers=2")(reproduce)


def report(
    run: RunDir,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; report.html in the run directory if not given.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the report of a run, or of several in one allocation, finished or not: a HTML page that opens offline."""
    from alflow.files.targets import check_new
    from alflow.report.allocation import write_allocation_report
    from alflow.report.report import write_report
    from alflow.runs.allocations import AllocationDirectory
    from alflow.runs.directory import RunDirectory

    if output is not None:
        check_new(output, overwrite=overwrite)
    if AllocationDirectory(run).is_one():
        with busy(f"Writing the report of {run}"):
            written = write_allocation_report(AllocationDirectory(run.resolve()), output)
        typer.echo(str(written))
        return
    with busy(f"Writing the report of {run}"):
        notes = list[str]()
        written = write_report(RunDirectory(run.resolve()), output, notes.append)
        unread = RunDirectory(run).unread()
    warn([*notes, unread] if unread else notes)
    typer.echo(str(written))


def reproduce(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Of fig2, fig3, fig4, fig5, fig6, fig7, s1, s2, s7; all of these; or, beyond the paper, of alkanes, "
            "fluctuation, fluctuation-members.",
            show_default=False,
        ),
    ],
    site: SiteName = "local",
    options: SiteOptions = None,
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", "-d", help="Folder of run directories and results; runs/paper if not given."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A reduced version, in minutes; figures and tables say so.")
    ] = False,
    old_run_dir: Annotated[Path | None, typer.Option("--runs", hidden=True)] = None,
    old_options: OldSiteOptions = None,
) -> None:
    """Reproduce figures of the paper: run what is missing, draw ours with the paper's numbers, write tables."""
    from alflow.display.progress import display_for

    console, chosen = terminal(), site_options(options, old_options)
    folder = run_dir or old_run_dir or Path("runs") / ("paper-quick" if quick else "paper")
    display = display_for(console)
    try:
        display.note("Loading PyTorch, Parsl and LAMMPS ...")
        from alflow.paper import reproduce_figures

        results = reproduce_figures(names, folder, site, chosen, display, quick=quick)
    finally:
        display.close()
    for result in results:
        console.print(result.table())
        console.print(f"{result.differs}\n  {result.picture}\n  {result.json}")
