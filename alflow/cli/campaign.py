"""``alflow run`` and what looks at a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.allocation import FOLDER, AllocationFolder, CampaignsOrRuns, Sweeps, Weights, requests_of, run_several
from alflow.cli.config import Overrides
from alflow.cli.ending import interruptible
from alflow.cli.options import OldSiteOptions, SiteName, SiteOptions, site_options
from alflow.cli.terminal import terminal
from alflow.files.resources import find_campaign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from alflow.allocation.requests import Request
    from alflow.campaign.forecast import Forecast
    from alflow.config.campaign import CampaignSettings
    from alflow.display.view import Display
    from alflow.execution.sites import Capacity
    from alflow.runs.directory import RunDirectory


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow run configs/quickstart.toml --site local -O workers=2")(run)


def run(
    campaigns: CampaignsOrRuns,
    site: SiteName = "local",
    options: SiteOptions = None,
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", "-d", help="Run directory, runs/NAME if not given; of several, their folder."),
    ] = None,
    overrides: Overrides = None,
    sweeps: Sweeps = None,
    weights: Weights = None,
    allocation: AllocationFolder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated cost; submit nothing.")
    ] = False,
    old_options: OldSiteOptions = None,
) -> None:
    """Run a campaign, or several side by side, or go on: the same command continues where the last one ended."""
    console, chosen = terminal(), site_options(options, old_options)
    folder = allocation or (run_dir or Path("runs")) / FOLDER
    several = len(campaigns) > 1 or bool(sweeps or weights or allocation)
    if several:
        requests = requests_of(campaigns, overrides, sweeps, weights, run_dir, folder)
    else:
        requests = [_single(campaigns[0], overrides, run_dir)]
    if dry_run:
        _forecast(console, requests, site, chosen)
    elif several:
        run_several(console, requests, site, chosen, folder)
    else:
        _launch(console, requests[0].settings, site, chosen, requests[0].run)


def _single(campaign: str, overrides: Sequence[str] | None, run_dir: Path | None) -> Request:
    """Return the campaign of a file, or of a run directory, with its own run directory."""
    from alflow.allocation.requests import Request
    from alflow.config.load import load_campaign

    begun = Path(campaign) / "campaign.toml"
    settings = load_campaign(begun if begun.is_file() else find_campaign(campaign), overrides or ())
    target = Path(campaign) if begun.is_file() else Path("runs") / settings.name
    return Request(settings, run_dir or target, settings.name)


def _forecast(console: Console, requests: Sequence[Request], site: str, options: dict[str, str]) -> None:
    """Print the plan of each campaign and its estimated cost, and those of all together."""
    from alflow.cli.forecasts import sum_table
    from alflow.execution.sites import find_site, load_site, site_capacity

    site_file, found = find_site(site), []
    for request in requests:
        capacity = site_capacity(load_site(site_file, request.run, options))
        found.append(_plan(console, request.settings, capacity, request.run))
    if len(found) > 1:
        console.print(sum_table(found, capacity))


def _plan(console: Console, settings: CampaignSettings, capacity: Mapping[str, Capacity], target: Path) -> Forecast:
    """Print the plan of a campaign, that of its base before it, and their costs; return its own forecast."""
    from alflow.campaign.beginning import find_beginning
    from alflow.campaign.budget import budget_words
    from alflow.campaign.forecast import Start, forecast
    from alflow.campaign.plan import make_plan
    from alflow.campaign.preflight import check_campaign
    from alflow.campaign.startfile import started_from
    from alflow.cli.forecasts import forecast_table
    from alflow.runs.directory import RunDirectory

    run = RunDirectory(target.resolve())
    plan = make_plan(started_from(run, settings, console.print))
    theory = check_campaign(plan).theory
    begun = find_beginning(plan, run, theory)
    for note in (*plan.notes, *begun.given.notes):
        console.print(f"Note: {note}")
    base = begun.base
    if base is not None and base.explores:
        console.print(forecast_table(forecast(base.plan, say=console.print), capacity))
    start = Start.of(settings, begun.given, base)
    found = forecast(plan, say=console.print, start=start)
    console.print(forecast_table(found, capacity))
    if words := budget_words(plan, start.structures):
        console.print(words)
    return found


def _launch(console: Console, settings: CampaignSettings, site: str, options: dict[str, str], target: Path) -> None:
    from alflow.display.progress import display_for

    display = display_for(console)
    again = f"Run the same command again to go on. What is committed lies in {target}."
    with interruptible(display.close, console.print, again):
        run, reason = _launched(settings, site, options, target, display)
    _summary(console, run, reason)


def _launched(
    settings: CampaignSettings, site: str, options: dict[str, str], target: Path, display: Display
) -> tuple[RunDirectory, str]:
    """Return the run directory of a finished campaign, and why it ended."""
    display.note("Loading PyTorch, Parsl and LAMMPS ...")
    from alflow.campaign.launch import launch
    from alflow.report.report import refresh_report
    from alflow.runs.directory import RunDirectory
    from alflow.sitecheck.check import check_warning

    warning = check_warning(site)
    if warning:
        display.note(f"Warning: {warning}.")
    finished = launch(settings, site, options, target, display, refresh_report)
    return RunDirectory(target.resolve()), finished.reason


def _summary(console: Console, run: RunDirectory, reason: str) -> None:
    """Print the table, and where everything lies."""
    from alflow.display.progress import iteration_table
    from alflow.report.curves import draw_work

    console.print(iteration_table(run.records()))
    figure = draw_work(run)
    console.print(f"The campaign ended: {reason}.")
    for what, path in (
        ("report", run.path / "report.html"),
        ("work curves", figure),
        ("labels", run.ledger),
        ("tasks", run.events),
        ("iterations", run.path / "iterations.jsonl"),
        ("trajectories", run.iteration(len(run.records()) - 1) / "pull-00.xyz"),
        ("last ensemble", run.iteration(len(run.records()) - 1) / "ensemble.pt"),
    ):
        console.print(f"  {what:<14} {path}")
