"""``alflow run`` of several campaigns, ``alflow add`` and ``alflow withdraw``."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.config import Overrides
from alflow.cli.ending import interruptible
from alflow.cli.terminal import busy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from alflow.allocation.allocation import Ended
    from alflow.allocation.requests import Request
    from alflow.display.several import SeveralDisplay

FOLDER = "allocation"
AllocationFolder = Annotated[
    Path | None,
    typer.Option("--allocation", "-a", help="Folder of the driver of several campaigns; runs/allocation if not given."),
]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weight", help="Share of a campaign beside others: --weight NAME=2. May be repeated."),
]
Sweeps = Annotated[
    list[str] | None,
    typer.Option("--sweep", help="A campaign for each value: --sweep seed=1..8. Several: each combination."),
]
CampaignsOrRuns = Annotated[
    list[str], typer.Argument(help="Campaign files, their names, or run directories to go on with.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow add configs/hexane.toml --weight hexane=2")(add)
    app.command(epilog="Example: alflow withdraw runs/hexane")(withdraw)


def add(
    campaigns: CampaignsOrRuns,
    allocation: AllocationFolder = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", "-d", help="Folder of new run directories; runs if not given.")
    ] = None,
    overrides: Overrides = None,
    sweeps: Sweeps = None,
    weights: Weights = None,
) -> None:
    """Add campaigns to a driver that runs: one that `alflow run` was given several campaigns, or --allocation."""
    from alflow.allocation.spool import ask, to_add
    from alflow.runs.allocations import AllocationDirectory

    folder = AllocationDirectory(allocation or Path("runs") / FOLDER)
    requests = requests_of(campaigns, overrides, sweeps, weights, run_dir, folder.path)
    for request in requests:
        with busy(f"Adding {request.name}"):
            answer = ask(folder, to_add(request))
        typer.echo(answer)


def withdraw(
    campaigns: Annotated[list[str], typer.Argument(help="Run directories, or names of campaigns.", show_default=False)],
    allocation: AllocationFolder = None,
) -> None:
    """Take campaigns out of a driver that runs; each stops as if interrupted, and can go on later."""
    from alflow.allocation.spool import ask, to_withdraw
    from alflow.runs.allocations import AllocationDirectory

    folder = AllocationDirectory(allocation or Path("runs") / FOLDER)
    for campaign in campaigns:
        named = str(Path(campaign).resolve()) if (Path(campaign) / "campaign.toml").exists() else campaign
        with busy(f"Withdrawing {campaign}"):
            answer = ask(folder, to_withdraw(named))
        typer.echo(answer)


def requests_of(
    campaigns: Sequence[str],
    overrides: Sequence[str] | None,
    sweeps: Sequence[str] | None,
    weights: Sequence[str] | None,
    folder: Path | None,
    allocation: Path,
) -> list[Request]:
    """Return the campaigns that are asked for on the command line.

    Raises:
        ConfigError: a campaign, a sweep or a weight breaks a rule.
    """
    from alflow.allocation.requests import check_apart, make_requests, parse_weights, with_weights
    from alflow.config.sweeps import parse_sweep

    parsed = parse_weights(weights or ())
    requests = make_requests(campaigns, overrides or (), [parse_sweep(text) for text in sweeps or ()], folder)
    check_apart(requests, allocation.resolve())
    return with_weights(requests, parsed)


def run_several(
    console: Console, requests: Sequence[Request], site: str, options: Mapping[str, str], folder: Path
) -> None:
    """Run several campaigns, and end as they did.

    Raises:
        CampaignError: one of them failed.
    """
    from alflow.display.several import several_display_for

    display = several_display_for(console)
    again = f"Run the same command again to go on. What is committed lies in the run directories ({folder})."
    with interruptible(display.close, console.print, again):
        ended = _ran(requests, site, options, folder, display)
    _conclude(console, ended, folder)


def _ran(
    requests: Sequence[Request], site: str, options: Mapping[str, str], folder: Path, display: SeveralDisplay
) -> tuple[Ended, ...]:
    display.note("Loading PyTorch, Parsl and LAMMPS ...")
    from alflow.allocation.allocation import run_allocation
    from alflow.report.allocation import refresh_allocation_report
    from alflow.report.report import refresh_report
    from alflow.runs.allocations import AllocationDirectory
    from alflow.sitecheck.check import check_warning

    warning = check_warning(site)
    if warning:
        display.note(f"Warning: {warning}.")
    ended = run_allocation(requests, site, options, folder, display, refresh_report)
    trouble = refresh_allocation_report(AllocationDirectory(folder))
    if trouble:
        display.note(trouble)
    return ended


def _conclude(console: Console, ended: Sequence[Ended], folder: Path) -> None:
    """Print what became of each campaign.

    Raises:
        CampaignError: one of them failed.
    """
    from alflow.cli.ending import ending_of
    from alflow.display.several import allocation_table
    from alflow.errors import CampaignError
    from alflow.runs.allocations import AllocationDirectory

    console.print(allocation_table(AllocationDirectory(folder).status()))
    for one in ended:
        how = "The campaign ended" if one.state == "finished" else one.state.capitalize()
        console.print(f"{one.request.name}: {how}: {one.message.removesuffix('.')}.")
    console.print(f"  report         {folder / 'report.html'}")
    failed = [one for one in ended if one.state == "failed"]
    for one in failed:
        if one.error is not None and ending_of(one.error) is None:
            traceback.print_exception(one.error, file=sys.stderr)
    if failed:
        raise CampaignError("\n".join(f"{one.request.name}: {one.message}" for one in failed))
