"""What is asked of a driver of several campaigns: which campaigns, where they run, and with what weight."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign
from alflow.config.sweeps import MOST_CAMPAIGNS, Sweep, load_sweep
from alflow.errors import ConfigError
from alflow.files.resources import find_campaign
from alflow.files.targets import shown


@dataclass(frozen=True)
class Request:
    """A campaign that is to run."""

    settings: CampaignSettings
    run: Path
    """Run directory, resolved."""
    family: str
    """Name of the campaign file; that of the settings says which of a sweep it is."""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """Of the campaign."""
        return self.settings.name


def make_requests(
    campaigns: Sequence[str], overrides: Iterable[str] = (), sweeps: Sequence[Sweep] = (), folder: Path | None = None
) -> list[Request]:
    """Return the campaigns that are asked for.

    Args:
        campaigns: campaign files, names of those that come with alflow, or run directories to go on with.
        overrides: ``key.subkey=value``, of all of them.
        sweeps: of each campaign file.
        folder: where run directories are made; ``runs`` if not given.

    Raises:
        ConfigError: a campaign breaks a rule, or there are too many.
    """
    fixed, found = tuple(overrides), list[Request]()
    for campaign in campaigns:
        found += _of(campaign, fixed, sweeps, folder or Path("runs"))
    if len(found) > MOST_CAMPAIGNS:
        raise ConfigError(f"A driver has at most {MOST_CAMPAIGNS} campaigns; got {len(found)}.")
    return found


def _of(campaign: str, overrides: tuple[str, ...], sweeps: Sequence[Sweep], folder: Path) -> list[Request]:
    resolved = Path(campaign) / "campaign.toml"
    if resolved.is_file():
        if sweeps:
            raise ConfigError(f"A sweep is over a campaign file; {shown(Path(campaign))} is a run that has begun.")
        settings = load_campaign(resolved, overrides)
        return [Request(settings, Path(campaign).resolve(), settings.name)]
    path = find_campaign(campaign)
    family = load_campaign(path, overrides).name
    return [
        Request(settings, (folder / settings.name).resolve(), family)
        for settings in load_sweep(path, overrides, sweeps)
    ]


def check_apart(requests: Sequence[Request], folder: Path) -> None:
    """Refuse campaigns that would meet in one run directory, or could not be told apart.

    Args:
        requests: the campaigns.
        folder: of the allocation, resolved.

    Raises:
        ConfigError: two have one run directory or one name, or one folder lies in the run directory of a campaign.
    """
    for place, one in enumerate(requests):
        if one.run == folder or one.run in folder.parents or folder in one.run.parents:
            raise ConfigError(
                f"An allocation has a folder of its own; {one.name!r} would run in {shown(one.run)}, and the "
                f"allocation in {shown(folder)}. Name another one with --allocation."
            )
        for other in requests[:place]:
            if one.run == other.run:
                raise ConfigError(
                    f"Each campaign has a run directory of its own; {other.name!r} and {one.name!r} would both run in "
                    f"{shown(one.run)}. Give them different names."
                )
            if one.name == other.name:
                raise ConfigError(
                    f"Each campaign of an allocation has a name of its own; two are called {one.name!r} "
                    f"({shown(other.run)} and {shown(one.run)}). Give one another name, or run it by itself."
                )
            if one.run in other.run.parents or other.run in one.run.parents:
                raise ConfigError(
                    f"Each campaign has a run directory of its own; {shown(one.run)} and {shown(other.run)} lie one "
                    "inside the other."
                )


def parse_weights(given: Iterable[str]) -> dict[str, float]:
    """Read ``NAME=2``.

    Raises:
        ConfigError: it is written otherwise, given twice, or no number above 0.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or not (0.0 < weight < math.inf):
            raise ConfigError(f"A weight must read NAME=NUMBER, with a number above 0; got {text!r}.")
        if name in found:
            raise ConfigError(f"A campaign has one weight; {name!r} is given twice.")
        found[name] = weight
    return found


def with_weights(requests: Sequence[Request], weights: Mapping[str, float]) -> list[Request]:
    """Return the campaigns with their weights; a weight of a campaign file is that of each of its sweep.

    Raises:
        ConfigError: a weight is of no campaign.
    """
    known = sorted({name for request in requests for name in (request.name, request.family)})
    for name in weights:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known[:8]
            raise ConfigError(
                f"A weight must be of a campaign of the allocation; there is no {name!r}. There is "
                f"{', '.join(map(repr, near))}."
            )
    return [replace(one, weight=weights.get(one.name, weights.get(one.family, one.weight))) for one in requests]
