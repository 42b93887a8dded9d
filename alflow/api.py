"""alflow from Python: run a campaign, make a label engine, read an ensemble and a ledger.

Each name is also one of `alflow` itself, where it is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alflow import labeling
from alflow.allocation.allocation import Ended, run_allocation
from alflow.allocation.requests import Request, parse_weights, with_weights
from alflow.campaign.launch import launch
from alflow.campaign.loop import Finished
from alflow.config import load
from alflow.config.campaign import CampaignSettings
from alflow.display.several import SilentSeveral
from alflow.display.view import Display, Silent
from alflow.errors import RunError
from alflow.farm.file import label_file
from alflow.files.resources import find_campaign
from alflow.labeling.frames import label_frames
from alflow.labeling.protocol import LabelEngine
from alflow.ledger import LedgerReader
from alflow.potentials import Ensemble, load_potential
from alflow.report.report import refresh_report
from alflow.runs.directory import RunDirectory

__all__ = [
    "label_file",
    "label_frames",
    "load_campaign",
    "load_ensemble",
    "make_engine",
    "read_ledger",
    "run",
    "run_several",
]


def run(
    campaign: CampaignSettings | Mapping[str, Any] | Path | str,
    site: str = "local",
    options: Mapping[str, object] | None = None,
    run_dir: Path | str | None = None,
    display: Display | None = None,
) -> Finished:
    """Run a campaign, or go on with it: the same call continues where the last one ended.

    Args:
        campaign: settings; the same as nested mappings; or a campaign file, or the name of one that comes with alflow.
        site: name of a site, or a Python file.
        options: of the site file, by name; a list is given as a list.
        run_dir: run directory; ``runs/NAME`` if not given.
        display: what shows the progress; nothing if not given.

    Returns:
        The record of each committed iteration, and why the campaign ended.

    Raises:
        InputError: the settings, the site or its options break a rule; nothing was submitted.
        RunError: the run directory is locked, or another campaign's.
        CampaignError: the campaign had to end; what is committed stays.
    """
    settings = _settings(campaign)
    texts = {name: _text(value) for name, value in (options or {}).items()}
    return launch(
        settings, site, texts, Path(run_dir or Path("runs") / settings.name), display or Silent(), refresh_report
    )


def run_several(
    campaigns: Sequence[CampaignSettings | Mapping[str, Any] | Path | str],
    site: str = "local",
    options: Mapping[str, object] | None = None,
    folder: Path | str = "runs",
    weights: Mapping[str, float] | None = None,
) -> tuple[Ended, ...]:
    """Run several campaigns, or go on with them, side by side on the same workers; each gives what it gives alone.

    Args:
        campaigns: each as `run` takes it; their names differ.
        site: name of a site, or a Python file.
        options: of the site file, by name.
        folder: the run directories are ``folder/NAME``; what they share is in ``folder/allocation``.
        weights: shares of campaigns beside others, by name; 1 where none is given.

    Returns:
        How each campaign ended: one that failed says so here, and does not keep the others from their ends.

    Raises:
        InputError: a campaign, the site or its options break a rule; nothing was submitted.
        RunError: another driver has the folder.
        CampaignError: the workers could not be started.
    """
    where, found = Path(folder), [_settings(campaign) for campaign in campaigns]
    requests = [Request(settings, (where / settings.name).resolve(), settings.name) for settings in found]
    checked = parse_weights(f"{name}={weight}" for name, weight in (weights or {}).items())
    texts = {name: _text(value) for name, value in (options or {}).items()}
    shares = with_weights(requests, checked)
    return run_allocation(shares, site, texts, where / "allocation", SilentSeveral(), refresh_report)


def load_campaign(campaign: Path | str, overrides: Iterable[str] = ()) -> CampaignSettings:
    """Read a campaign file: ``load_campaign("quickstart", ["iterations=2", "training.epochs=40"])``.

    Args:
        campaign: path of the file, a name in ``./configs``, or the name of one that comes with alflow.
        overrides: ``key.subkey=value``, as ``--set`` takes them.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, a value breaks its rule.
    """
    return load.load_campaign(find_campaign(str(campaign)), overrides)


def make_engine(name: str, **settings: Any) -> LabelEngine:
    """Make a label engine: ``make_engine("dftb3", electronic_temperature_k=300.0)``.

    Args:
        name: of the engine, as in ``labels.engine`` of a campaign file.
        settings: of that engine, as in ``[labels.settings]``.

    Raises:
        InputError: there is no such engine, a setting breaks a rule, or what the engine needs is not here.
    """
    return labeling.make_engine(name, labeling.engine_settings(name, settings, "make_engine"))


def load_ensemble(path: Path | str) -> Ensemble:
    """Read a trained ensemble; nothing in its file is executed.

    Args:
        path: file of weights, or a run directory, whose last committed iteration then counts.

    Raises:
        InputError: the file is not there, or not one that alflow wrote.
        RunError: the run has no committed iteration.
    """
    if not Path(path).is_dir():
        return load_potential(Path(path))
    run_directory = RunDirectory(Path(path))
    iterations = len(run_directory.records())
    if not iterations:
        raise RunError(f"A run has an ensemble once an iteration is committed; {path} has no committed iteration.")
    return load_potential(run_directory.iteration(iterations - 1) / "ensemble.pt")


def read_ledger(run_dir: Path | str) -> LedgerReader:
    """Open the label ledger of a run for reading, also while a campaign writes it; use it as a context manager.

    Args:
        run_dir: run directory, or the ledger's own file.

    Raises:
        RunError: there is no ledger, or it cannot be read.
    """
    path = Path(run_dir)
    return LedgerReader.open(path if path.is_file() else RunDirectory(path).ledger)


def _settings(campaign: CampaignSettings | Mapping[str, Any] | Path | str) -> CampaignSettings:
    if isinstance(campaign, CampaignSettings):
        return campaign
    if isinstance(campaign, Mapping):
        return load.validate_campaign(campaign, "campaign")
    return load_campaign(campaign)


def _text(value: object) -> str:
    """Write an option as the command line would have it."""
    return ",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
