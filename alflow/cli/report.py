"""``alflow report``."""

from __future__ import annotations

import typer

from alflow.cli.campaign import RunDir


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: alflow report runs/quickstart")(report)


def report(run: RunDir) -> None:
    """Write the report of a run, finished or not: one HTML page that opens offline."""
    from alflow.analysis.report import write_report
    from alflow.rundir import RunDirectory

    typer.echo(str(write_report(RunDirectory(run.resolve()))))
