"""Sweeps: one campaign file, a campaign for each value of a setting, or for each combination of several."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign
from alflow.errors import ConfigError

MOST_CAMPAIGNS = 200
"""One driver has a thread for each."""
LONGEST_VALUE = 24
"""Characters of a value in a name; longer ones are numbered."""


@dataclass(frozen=True)
class Sweep:
    """A setting, and the values that it takes."""

    key: str
    values: tuple[Any, ...]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the name of a run says of each value."""
        last = self.key.rpartition(".")[2]
        words = list(map(_word, self.values))
        if max(map(len, words)) > LONGEST_VALUE or len(set(words)) < len(words) or not all(words):
            words = [str(number) for number in range(1, len(words) + 1)]
        return tuple(f"{last}{word}" for word in words)


def _word(value: Any) -> str:
    """Return a value as it may stand in a name."""
    text = json.dumps(value, default=str)
    return text if isinstance(value, int | float) else re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def parse_sweep(text: str) -> Sweep:
    """Read ``key=1..8``, ``key=[...]`` (a value for each item) or ``key=a,b,c``.

    Raises:
        ConfigError: it is written otherwise, has no values, or the same twice.
    """
    key, equals, given = text.partition("=")
    key = key.strip()
    if not equals or not key or not given.strip():
        raise ConfigError(f"A sweep must read key=FIRST..LAST or key=[value, value]; got {text!r}.")
    if key == "name":
        raise ConfigError("A sweep must be over a setting; it makes the names itself. Leave `name` out.")
    values = _values(given.strip(), text)
    if len({json.dumps(value, default=str) for value in values}) < len(values):
        raise ConfigError(f"A sweep must have each value once; got {text!r}.")
    return Sweep(key, values)


def _values(given: str, text: str) -> tuple[Any, ...]:
    span = re.fullmatch(r"(-?\d+)\s*\.\.\s*(-?\d+)", given)
    if span is not None:
        first, last = int(span[1]), int(span[2])
        if first > last or last - first >= MOST_CAMPAIGNS:
            raise ConfigError(
                f"A range must read FIRST..LAST, upwards, with at most {MOST_CAMPAIGNS} values; got {text!r}."
            )
        return tuple(range(first, last + 1))
    listed = given if given.startswith("[") else f"[{given}]"
    try:
        values = tomllib.loads(f"values = {listed}")["values"]
    except tomllib.TOMLDecodeError:
        if given.startswith("["):
            raise ConfigError(f"The values of a sweep must be a list as in TOML; got {text!r}.") from None
        values = [word.strip() for word in given.split(",")]
    if not values or "" in values:
        raise ConfigError(f"A sweep must have values; got {text!r}.")
    return tuple(values)


def load_sweep(path: Path, overrides: Iterable[str], sweeps: Sequence[Sweep]) -> list[CampaignSettings]:
    """Read a campaign file once for each combination of the values of sweeps; the runs are named by them.

    Raises:
        ConfigError: a key does not exist, is swept twice, a value breaks its rule, or there are too many campaigns.
    """
    fixed = tuple(overrides)
    base = load_campaign(path, fixed)
    if not sweeps:
        return [base]
    keys = [sweep.key for sweep in sweeps]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"A key must be swept once; got {', '.join(keys)}.")
    choices = [list(zip(sweep.values, sweep.suffixes, strict=True)) for sweep in sweeps]
    combinations = list(itertools.islice(itertools.product(*choices), MOST_CAMPAIGNS + 1))
    if len(combinations) > MOST_CAMPAIGNS:
        raise ConfigError(f"A driver has at most {MOST_CAMPAIGNS} campaigns; the sweeps make more.")
    found = []
    for combination in combinations:
        settings = [f"{key}={_toml(value)}" for key, (value, _) in zip(keys, combination, strict=True)]
        name = "-".join([base.name, *(suffix for _, suffix in combination)])
        found.append(load_campaign(path, [*fixed, *settings, f'name="{name}"']))
    return found


def _toml(value: Any) -> str:
    """Write a value as TOML has it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return tomli_w.dumps({"value": value}).partition("=")[2].strip()
