"""``alflow bench``: what a site will do with an allocation, measured before it is spent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.folder import working_folder
from alflow.cli.options import OldSiteOptions, Overwrite, SiteName, SiteOptions, site_options
from alflow.cli.terminal import terminal, warn

if TYPE_CHECKING:
    from alflow.bench.workload import Workload

bench = typer.Typer(help="Measurements on a site.", no_args_is_help=True, rich_markup_mode=None)

USUAL_JSON, USUAL_FIGURE = Path("bench-label.json"), Path("bench-label.svg")


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(bench, name="bench")


@bench.command(epilog="Example: alflow bench label --site local -O workers=2 --structures hexane --count 5000")
def label(  # noqa: PLR0917 - one an option
    site: SiteName = "local",
    options: SiteOptions = None,
    structures: Annotated[
        str, typer.Option(help="An alkane's name (methane ... decane), or a structure file.")
    ] = "hexane",
    count: Annotated[int, typer.Option(help="Labels of each measurement.")] = 1000,
    engine: Annotated[str, typer.Option(help="Label engine, or sleep.")] = "dftb3",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of the engine: --set electronic_temperature_k=300. May be repeated."),
    ] = None,
    label_seconds: Annotated[float, typer.Option(help="Time of one label of the engine sleep, s.")] = 1.0,
    task_seconds: Annotated[float, typer.Option(help="Length of a task aimed at, s.")] = 3.0,
    workers: Annotated[str, typer.Option(help="Numbers of workers to measure, as 1,2,4; all if not given.")] = "0",
    chunks: Annotated[str, typer.Option(help="Frames a task to measure, as 1,8; 0: chosen from label times.")] = "0",
    splits: Annotated[
        str | None,
        typer.Option(help="Labels × cores of a node to compare, as 1x8,2x4,8x1, or all: what cores_per_label to use."),
    ] = None,
    into: Annotated[
        str, typer.Option(help="What the cores of a label are with --splits: threads or ranks.")
    ] = "threads",
    wait_for: Annotated[int | None, typer.Option(help="Workers to wait for before anything counts.")] = None,
    limit: Annotated[float, typer.Option(help="Longest time to wait for workers, minutes.")] = 30.0,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", "-d", help="Folder for logs.")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="Campaign file: say what it would cost here, with the label time measured.")
    ] = None,
    json: Annotated[Path, typer.Option(help="Where the numbers are written.")] = USUAL_JSON,
    figure: Annotated[Path, typer.Option(help="Where the figure is drawn.")] = USUAL_FIGURE,
    overwrite: Overwrite = False,
    old_options: OldSiteOptions = None,
) -> None:
    """Measure labels a second, and where the time of held workers goes."""
    from alflow.bench.label import bench_label
    from alflow.bench.report import BenchCase
    from alflow.bench.show import bench_table, draw_bench, save_bench
    from alflow.errors import InputError
    from alflow.files.targets import check_new, check_target
    from alflow.report.saving import check_figure

    console, chosen = terminal(), site_options(options, old_options)
    check_new(json, overwrite=overwrite or json == USUAL_JSON)
    check_new(figure, overwrite=overwrite or figure == USUAL_FIGURE)
    check_target(json, "The numbers")
    check_figure(figure)
    work = _workload(engine, structures, count, label_seconds, settings or [])
    if splits is not None and campaign is not None:
        raise InputError("--splits compares sites, and --campaign says what a campaign costs on one; give one of them")
    if splits is not None:
        _compare(splits, into, site, chosen, work, count, task_seconds, limit, run_dir, json, figure)
        return
    cases = [BenchCase(some, size) for some in _numbers(workers, "--workers") for size in _numbers(chunks, "--chunks")]
    with working_folder(run_dir, "bench-label-") as folder:
        report = bench_label(
            site,
            chosen,
            work,
            count,
            folder,
            cases=cases,
            task_seconds=task_seconds,
            warm_up=wait_for,
            limit_s=60.0 * limit,
            say=console.print,
        )
    console.print(bench_table(report))
    save_bench(report, json)
    console.print(f"written to {json}, drawn in {draw_bench(report, figure)}")
    if campaign is not None:
        _forecast(campaign, site, chosen, report.label_seconds)


def _forecast(campaign: str, site: str, options: dict[str, str], label_seconds: float) -> None:
    from alflow.campaign.forecast import Start, forecast
    from alflow.campaign.plan import make_plan
    from alflow.campaign.startdata import GivenData
    from alflow.cli.forecasts import forecast_table
    from alflow.config.load import load_campaign
    from alflow.execution.sites import find_site, load_site, site_capacity
    from alflow.files.resources import find_campaign

    console = terminal()
    with tempfile.TemporaryDirectory() as folder:
        capacity = site_capacity(load_site(find_site(site), Path(folder), options))
    plan = make_plan(load_campaign(find_campaign(campaign)))
    start = Start.of(plan.settings, GivenData(), None)
    found = forecast(plan, console.print, label_seconds, start)
    console.print(forecast_table(found, capacity))


def _compare(
    splits: str,
    into: str,
    site: str,
    options: dict[str, str],
    work: Workload,
    count: int,
    task_seconds: float,
    limit_minutes: float,
    run_dir: Path | None,
    json: Path,
    figure: Path,
) -> None:
    """Compare splits of a node, and recommend one."""
    from alflow.bench.show import draw_splits, save_bench, split_table
    from alflow.bench.splits import bench_splits, node_cores, read_splits
    from alflow.errors import InputError

    if into not in ("threads", "ranks"):
        raise InputError(f"--into is threads or ranks; got {into!r}")
    console = terminal()
    with working_folder(run_dir, "bench-label-") as folder:
        report = bench_splits(
            site,
            options,
            work,
            count,
            folder,
            read_splits(splits, node_cores(site, options, folder)),
            into="ranks" if into == "ranks" else "threads",
            task_seconds=task_seconds,
            limit_s=60.0 * limit_minutes,
            say=console.print,
        )
    console.print(split_table(report))
    save_bench(report, json)
    console.print(f"written to {json}, drawn in {draw_splits(report, figure)}")


def _workload(engine: str, structures: str, count: int, label_seconds: float, settings: list[str]) -> Workload:
    from alflow.bench.workload import EngineWorkload, SleepWorkload
    from alflow.cli.label import read_settings
    from alflow.config.campaign import LabelSettings
    from alflow.config.load import validate
    from alflow.errors import InputError
    from alflow.structures import alkane, read_structure

    if engine == "sleep":
        if label_seconds <= 0:
            raise InputError(f"--label-seconds is above 0; got {label_seconds}")
        return SleepWorkload(label_seconds)
    names = ("methane", "ethane", "propane", "butane", "pentane", "hexane", "heptane", "octane", "nonane", "decane")
    if structures in names:
        structure = alkane(names.index(structures) + 1)
    else:
        structure, notes = read_structure(structures)
        warn(notes)
    given = {"engine": engine, "settings": read_settings(settings)}
    return EngineWorkload.of(validate(LabelSettings, given, "--engine"), structure, min(count, 10_000))


def _numbers(text: str, name: str) -> list[int]:
    from alflow.errors import InputError

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{name} is whole numbers joined by commas; got {text!r}") from error
    if min(found) < 0:
        raise InputError(f"{name} is at least 0; got {text!r}")
    return found
