"""``alflow site``: what sites there are, what they can be told, and whether one is fit for a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli.folder import working_folder
from alflow.cli.options import OldSiteOptions, Overwrite, SiteOptions, site_options
from alflow.cli.terminal import terminal

SiteName = Annotated[str, typer.Argument(help="A name from `alflow site list`, or a Python file.", show_default=False)]
USUAL_JSON = Path("site-check.json")

site = typer.Typer(help="Machines to run on.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(site, name="site")


@site.command("list", epilog="Example: alflow site list")
def list_all() -> None:
    """Print the sites that are found here."""
    from alflow.display.tables import Sheet
    from alflow.execution.sites import list_sites

    table = Sheet(("site", "what it is", "file"), ruled=False)
    for name, (path, summary) in list_sites().items():
        table.add(name, summary, str(path))
    terminal().print(table)


@site.command(epilog="Example: alflow site show slurm")
def show(name: SiteName) -> None:
    """Print what a site file describes, and its options."""
    from alflow.display.tables import Sheet
    from alflow.execution.sites import describe_site, find_site

    found = describe_site(find_site(name))
    table = Sheet(("option", "type", "default", "meaning"), ruled=False)
    for option in found.options:
        default = "(required)" if option.required else "-" if option.default is None else str(option.default)
        table.add(option.name, option.kind, default, option.help)
    console = terminal()
    console.print(f"{found.name}: {found.summary}\n{found.path}\n\n{found.text}\n")
    console.print(table)


@site.command(epilog="Example: alflow site check slurm -O partition=cpu -O cores_per_node=64")
def check(
    name: SiteName,
    options: SiteOptions = None,
    engine: Annotated[str, typer.Option(help="Label engine to check.")] = "dftb3",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of the engine: --set electronic_temperature_k=300. May be repeated."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", "-d", help="Folder that workers see too; a new one if not given.")
    ] = None,
    json: Annotated[Path, typer.Option(help="Where the result is written.")] = USUAL_JSON,
    limit: Annotated[float, typer.Option(help="Longest time to wait for workers, minutes.")] = 30.0,
    overwrite: Overwrite = False,
    old_options: OldSiteOptions = None,
) -> None:
    """Start one block of each executor, look at every worker, and say what is wrong. Exit code 1 if anything is."""
    from alflow.cli.label import read_settings
    from alflow.config.campaign import LabelSettings
    from alflow.config.load import validate
    from alflow.files.targets import check_new, check_target
    from alflow.sitecheck.check import check_site, save_check
    from alflow.sitecheck.show import check_tables

    console, chosen = terminal(), site_options(options, old_options)
    check_new(json, overwrite=overwrite or json == USUAL_JSON)
    check_target(json, "The result")
    with working_folder(run_dir, "site-check-") as folder:
        given = {"engine": engine, "settings": read_settings(settings or [])}
        labels = validate(LabelSettings, given, "--engine")
        result = check_site(name, chosen, folder, labels, start_limit_s=60 * limit, say=console.print)
    for part in check_tables(result):
        console.print(part)
    save_check(result, json)
    console.print(f"written to {json}")
    if not result.passed:
        raise typer.Exit(1)
