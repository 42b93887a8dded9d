"""``alflow ledger``: check, export, import and remove labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alflow.cli.options import EnergyKey, ForcesKey, RunDir
from alflow.cli.terminal import busy, warn

if TYPE_CHECKING:
    from alflow.runs.directory import RunDirectory

OriginName = Literal["import", "first-data", "selected", "jitter", "reference", "audit"]


def add_to(app: typer.Typer) -> None:
    """Add the group to the application."""
    group = typer.Typer(help="The label ledger of a run.", no_args_is_help=True, rich_markup_mode=None)
    group.command("check", epilog="Example: alflow ledger check runs/quickstart")(check)
    example = "Example: alflow ledger export runs/quickstart labels.xyz --format extxyz"
    group.command("export", epilog=example)(export)
    group.command("import", epilog="Example: alflow ledger import runs/quickstart mine.xyz")(import_labels)
    group.command("remove", epilog="Example: alflow ledger remove runs/quickstart --origin import --yes")(remove)
    app.add_typer(group, name="ledger")


def check(run: RunDir) -> None:
    """Check every row: file integrity, keys, sizes, finite numbers, orphans; exit code 1 if something is wrong."""
    from alflow.ledger import LedgerReader, check_ledger
    from alflow.runs.directory import RunDirectory

    with busy(f"Checking the ledger of {run}"), LedgerReader.open(RunDirectory(run).ledger) as ledger:
        report = check_ledger(ledger)
    if report.sound or report.theories:
        typer.echo(f"{report.labelled} labels, {report.failed} failures, {report.theories} theories")
    for reason, count in report.reasons.items():
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
        str | None,
        typer.Option("--format", help="Format; as the name ends if not given. `alflow plugins` lists them."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write all labels to a file that other programs read."""
    from alflow.ledger import LedgerReader
    from alflow.ledger.export import export_labels
    from alflow.runs.directory import RunDirectory

    with busy(f"Writing the labels of {run}"), LedgerReader.open(RunDirectory(run).ledger) as ledger:
        count = export_labels(ledger, target, form, overwrite=overwrite)
    typer.echo(f"{count} labels written to {target}")


def import_labels(
    run: RunDir,
    source: Annotated[
        Path, typer.Argument(help="Any file that ASE reads, with energies and forces.", show_default=False)
    ],
    theory: Annotated[
        str | None,
        typer.Option(
            help="Theory of the labels, where the file does not name the campaign's: its fingerprint, or "
            '"own" to say that it is the campaign\'s.'
        ),
    ] = None,
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "forces",
) -> None:
    """Take labels that you have already into a run; the members learn from them from the next training on.

    What comes between the first training and the second is learnt from in the third.
    """
    from alflow.campaign.plan import make_plan
    from alflow.errors import InputError
    from alflow.labeling import make_engine
    from alflow.ledger import Ledger
    from alflow.ledger.imports import import_labels as take_in
    from alflow.runs.directory import RunDirectory
    from alflow.runs.lock import RunLock
    from alflow.structures import LabelKeys

    directory = RunDirectory(run)
    settings = directory.settings()
    with RunLock(directory.path):
        own = make_engine(settings.labels.engine, settings.labels.settings).theory
        if theory not in (None, "own", own):
            raise InputError(
                f"Labels of two theories do not mix; the members of {run} learn from labels of {own!r}, and --theory "
                f"names {theory!r}."
            )
        plan = make_plan(settings)
        directory.check_labels()
        with Ledger.open(directory.ledger) as ledger:
            learners = _next_learners(directory)
            kept = learners > 0 and settings.training.start == "carried-over"
            imported = take_in(
                ledger,
                source,
                own,
                trusted=theory is not None,
                keys=LabelKeys(energy_key, forces_key),
                iteration=max(learners - 1, 0),
                charge=plan.molecules[0].composition.charge,
                elements=plan.elements if kept else None,
                max_offset_ev=settings.labels.max_energy_offset_ev,
            )
    warn(imported.notes)
    failed = f", {imported.failed} frames without a label left out" if imported.failed else ""
    typer.echo(f"{imported.new} labels imported, {imported.known} were known{failed} (theory {own[:12]})")
    typer.echo(f"The members of iteration {learners} learn from them.")


def remove(
    run: RunDir,
    origin: Annotated[
        OriginName | None, typer.Option("--origin", help="Labels that were asked for so.", show_default=False)
    ] = None,
    iteration: Annotated[int | None, typer.Option(help="Labels that this iteration asked for.")] = None,
    force_above: Annotated[float | None, typer.Option(help="Labels with a force component above this, eV/Å.")] = None,
    energy_above: Annotated[
        float | None, typer.Option(help="Labels whose energy is this far from the median of their molecule, eV.")
    ] = None,
    structures: Annotated[Path | None, typer.Option(help="Labels of the structures in this file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise they are only listed.")] = False,
) -> None:
    """Take labels out of a run: nothing learns from them any more, and they are not asked for again.

    All that is given has to hold for a label. Iterations that learnt from them stay as they are; from the next training
    on they are left out. An import of the same structure brings a label again.
    """
    from alflow.errors import InputError
    from alflow.labeling import make_engine
    from alflow.ledger import Ledger
    from alflow.ledger.removal import Unwanted, find_labels
    from alflow.runs.directory import RunDirectory
    from alflow.runs.lock import RunLock
    from alflow.structures import read_structures

    chosen = read_structures(structures).structures if structures else ()
    unwanted = Unwanted(origin, iteration, force_above, energy_above, chosen)
    if not unwanted.says_anything:
        raise InputError("Labels that are to be taken out are named: by --origin, --iteration, --structures, ...")
    directory = RunDirectory(run)
    settings = directory.settings()
    with RunLock(directory.path):
        theory = make_engine(settings.labels.engine, settings.labels.settings).theory
        directory.check_labels()
        with Ledger.open(directory.ledger) as ledger:
            found = find_labels(ledger, theory, unwanted)
            for row in found:
                typer.echo(f"  {row.origin.kind} of iteration {row.origin.iteration}: {row.energy:.4f} eV")
            if yes:
                ledger.remove([row.key for row in found], "by `alflow ledger remove`")
    typer.echo(f"{len(found)} labels taken out." if yes else f"{len(found)} labels; --yes takes them out.")


def _next_learners(directory: RunDirectory) -> int:
    """Return the first iteration whose rows are not settled: iteration i learns from the labels of those before it.

    First data, and what is imported before them, are of iteration 0 and learnt from in 0 and 1 alike; so what comes
    once iteration 0 is trained has to be of iteration 1, and is learnt from in 2.
    """
    learners = len(directory.records())
    while (directory.iteration(learners) / "dataset.npz").exists():
        learners += 1
    return 2 if learners == 1 else learners
