"""``alflow ledger``: check, export, import labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alflow.cli.options import RunDir
from alflow.cli.terminal import busy

if TYPE_CHECKING:
    from alflow.run.directory import RunDirectory


def add_to(app: typer.Typer) -> None:
    """Add the group to the application."""
    group = typer.Typer(help="The label ledger of a run.", no_args_is_help=True, rich_markup_mode=None)
    group.command("check", epilog="Example: alflow ledger check runs/quickstart")(check)
    example = "Example: alflow ledger export runs/quickstart labels.xyz --format extxyz"
    group.command("export", epilog=example)(export)
    group.command("import", epilog="Example: alflow ledger import runs/quickstart mine.xyz")(import_labels)
    app.add_typer(group, name="ledger")


def check(run: RunDir) -> None:
    """Check every row: file integrity, keys, sizes, finite numbers, orphans; exit code 1 if something is wrong."""
    from alflow.ledger import LedgerReader, check_ledger
    from alflow.run.directory import RunDirectory

    with busy(f"Checking the ledger of {run}"), LedgerReader.open(RunDirectory(run).ledger) as ledger:
        report = check_ledger(ledger)
        counts = ledger.counts()
        typer.echo(f"{counts.labelled} labels, {counts.failed} failures, {len(ledger.theories())} theories")
        for reason, count in ledger.failures_by_reason().items():
            typer.echo(f"  failed: {count} {reason}")
    for problem in report.problems:
        typer.echo(f"  problem: {problem}")
    typer.echo("The ledger is sound." if report.sound else "The ledger is damaged.")
    if not report.sound:
        raise typer.Exit(1)


def export(
    run: RunDir,
    target: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    form: Annotated[
        Literal["extxyz", "ase-db", "torchani-h5", "npz"], typer.Option("--format", help="Form of the file.")
    ] = "extxyz",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write all labels to a file that other programs read."""
    from alflow.ledger import LedgerReader
    from alflow.ledger_io import export_labels
    from alflow.run.directory import RunDirectory

    with busy(f"Writing the labels of {run}"), LedgerReader.open(RunDirectory(run).ledger) as ledger:
        count = export_labels(ledger, target, form, overwrite=overwrite)
    typer.echo(f"{count} labels written to {target}")


def import_labels(
    run: RunDir,
    source: Annotated[Path, typer.Argument(help="Extended XYZ file with energies and forces.", show_default=False)],
    theory: Annotated[
        str | None,
        typer.Option(help="Theory of the labels, as a check: it must be the campaign's own, which is the default."),
    ] = None,
) -> None:
    """Take labels that you have already into a run; the members learn from them from the next training on.

    What comes between the first training and the second is learnt from in the third.
    """
    from alflow.campaign.plan import make_plan
    from alflow.errors import InputError
    from alflow.labeling import make_engine
    from alflow.ledger import Ledger
    from alflow.ledger_io import import_extxyz
    from alflow.run.directory import RunDirectory, RunLock

    directory = RunDirectory(run)
    settings = directory.settings()
    with busy(f"Reading {source}"), RunLock(directory.path):
        own = make_engine(settings.labels.engine, settings.labels.settings).theory
        if theory not in (None, own):
            raise InputError(
                f"Labels of two theories do not mix; the members of {run} learn from labels of {own!r}, and --theory "
                f"names {theory!r}."
            )
        ledger = Ledger.open(directory.ledger)
        try:
            learners = _next_learners(directory)
            kept = learners > 0 and settings.training.start == "carried-over"
            known = make_plan(settings).elements if kept else None
            imported = import_extxyz(
                ledger, source, own, iteration=max(learners - 1, 0), charge=settings.system.charge, elements=known
            )
        finally:
            ledger.close()
    typer.echo(f"{imported.new} labels imported, {imported.known} were known (theory {imported.theory[:12]})")
    typer.echo(f"The members of iteration {learners} learn from them.")


def _next_learners(directory: RunDirectory) -> int:
    """Return the first iteration whose rows are not settled: iteration i learns from the labels of those before it.

    First data, and what is imported before them, are of iteration 0 and learnt from in 0 and 1 alike; so what comes
    once iteration 0 is trained has to be of iteration 1, and is learnt from in 2.
    """
    learners = len(directory.records())
    while (directory.iteration(learners) / "dataset.npz").exists():
        learners += 1
    return 2 if learners == 1 else learners
