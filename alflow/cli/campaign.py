"""``alflow run`` and what looks at a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.config import CampaignFile, Overrides
from alflow.cli.options import OldSiteOptions, SiteName, SiteOptions, site_options
from alflow.cli.terminal import terminal
from alflow.files.resources import find_campaign

if TYPE_CHECKING:
    from rich.console import Console

    from alflow.config.campaign import CampaignSettings
    from alflow.display.view import Display
    from alflow.runs.directory import RunDirectory


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: alflow run configs/quickstart.toml --site local -O workers=2")(run)


def run(
    campaign: CampaignFile,
    site: SiteName = "local",
    options: SiteOptions = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", "-d", help="Run directory; runs/NAME if not given.")
    ] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated cost; submit nothing.")
    ] = False,
    old_options: OldSiteOptions = None,
) -> None:
    """Run a campaign, or go on with it: the same command continues where the last one ended."""
    from alflow.config.load import load_campaign

    console, chosen = terminal(), site_options(options, old_options)
    settings = load_campaign(find_campaign(campaign), overrides or ())
    target = run_dir or Path("runs") / settings.name
    if dry_run:
        _plan(console, settings, site, chosen, target)
        return
    _launch(console, settings, site, chosen, target)


def _plan(console: Console, settings: CampaignSettings, site: str, options: dict[str, str], target: Path) -> None:
    """Print the plan of a campaign, that of its base before it, and their costs."""
    from alflow.campaign.basetheory import find_base
    from alflow.campaign.forecast import Start, forecast
    from alflow.campaign.plan import make_plan
    from alflow.campaign.preflight import check_base, check_campaign
    from alflow.campaign.startdata import read_given
    from alflow.campaign.startfile import started_from
    from alflow.cli.forecasts import forecast_table
    from alflow.execution.sites import find_site, load_site, site_capacity
    from alflow.runs.directory import RunDirectory

    run = RunDirectory(target.resolve())
    plan = make_plan(started_from(run, settings, console.print))
    theory = check_campaign(plan).theory
    given = read_given(plan, run, theory)
    for note in (*plan.notes, *given.notes):
        console.print(f"Note: {note}")
    base = find_base(plan, run)
    base = None if base is None else check_base(plan, base)
    capacity = site_capacity(load_site(find_site(site), target, options))
    if base is not None and base.explores:
        console.print(forecast_table(forecast(base.plan, say=console.print), capacity))
    start = Start.of(settings, given, base)
    console.print(forecast_table(forecast(plan, say=console.print, start=start), capacity))


def _launch(console: Console, settings: CampaignSettings, site: str, options: dict[str, str], target: Path) -> None:
    from alflow.display.progress import display_for
    from alflow.errors import TerminatedError

    display = display_for(console)
    again = f"Run the same command again to go on. What is committed lies in {target}."
    try:
        run, reason = _launched(settings, site, options, target, display)
    except KeyboardInterrupt as error:
        display.close()
        console.print(f"Interrupted. {again}")
        raise typer.Exit(130) from error
    except TerminatedError as error:
        display.close()
        console.print(f"{error} {again}")
        raise typer.Exit(143) from error
    finally:
        display.close()
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
