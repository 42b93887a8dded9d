"""Read, override, write and compare campaign files."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import SettingsOf
from alflow.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound=BaseModel)

_LABELS_MAY_CHANGE = (
    "timeout_s",
    "task_seconds",
    "frames_per_task",
    "max_failed_share",
    "budget",
    "wait_share",
    "guard",
    "memory_gb",
    "canary_tolerance_ev",
    "settings.scratch_dir",
    "settings.kept_failures",
    "settings.kept_megabytes",
    "settings.failures_dir",
    "settings.unconverged_texts",
    "settings.reuse",
    "settings.reuse_tolerance",
)
_JUDGED_BY_CONTENT = (
    "system.structure",
    "system.charge",
    "labels.settings.parameters_dir",
    "labels.settings.command",
    "labels.settings.version_command",
    "first_data.structures",
    "first_data.labels",
    "base.run",
    "training.weights",
)
"""A project may be moved, and a charge be written elsewhere: the fingerprints of molecules and theory, which a run
keeps, tell whether these are the same."""
MAY_CHANGE = (
    "iterations",
    "stop",
    "task_silence_s",
    *(f"labels.{key}" for key in _LABELS_MAY_CHANGE),
    *_JUDGED_BY_CONTENT,
)
"""Settings that a resumed campaign may change: they alter no number that was already computed."""


def load_campaign(path: Path, overrides: Iterable[str] = ()) -> CampaignSettings:
    """Read a campaign file and apply ``key.subkey=value`` overrides.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, a value breaks its rule.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"A campaign file must be readable; {path} is not: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"A campaign file must be TOML; {path} is not: {error}.") from error
    for override in overrides:
        _apply(data, override)
    return validate_campaign(data, str(path))


def validate_campaign(data: Mapping[str, Any], place: str) -> CampaignSettings:
    """Build the settings from a mapping; `place` is named in errors.

    Raises:
        ConfigError: with one line a problem.
    """
    return validate(CampaignSettings, data, place)


def validate(model: type[SettingsT], data: Mapping[str, Any], place: str) -> SettingsT:
    """Build settings of any kind from a mapping.

    Raises:
        ConfigError: with one line a problem: place, key, rule, value found.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = dict.fromkeys(_sentence(model, problem) for problem in error.errors())
        raise ConfigError("\n".join(f"{place}: {line}" for line in lines)) from error


def to_toml(settings: BaseModel) -> str:
    """Return resolved settings as TOML; what is None is left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def differences(old: BaseModel, new: BaseModel) -> list[str]:
    """Name each setting that differs and may not: ``key: old → new``."""
    before, after = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    return [
        f"{key}: {json.dumps(before.get(key))} → {json.dumps(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not any(key == may or key.startswith(may + ".") for may in MAY_CHANGE)
    ]


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"An override must read key.subkey=value; got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    table = data
    for parent in parents:
        child = table.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"An override must name a key inside a table; {parent!r} in {override!r} is a value.")
        table = child
    table[last] = value


def _sentence(model: type[BaseModel], problem: Any) -> str:
    """Turn one pydantic problem into a sentence with key, rule and value found."""
    steps = [step for step in problem["loc"] if not _is_union_tag(step)]
    key = ".".join(str(step) for step in steps) or "(top level)"
    value = problem.get("input")
    found = f"; found {value!r}" if not isinstance(value, dict | BaseModel) else ""
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(steps[-1]), _keys_at(model, steps[:-1]), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        return f"{key}: this key is unknown{hint}"
    if problem["type"] == "missing":
        return f"{key}: this key is required and was not given."
    rule = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {rule[:1].lower() + rule[1:]}{found}."


def _is_union_tag(step: object) -> bool:
    return isinstance(step, str) and step[:1].isupper()


def _keys_at(model: type[BaseModel], steps: list[Any]) -> list[str]:
    """Names of the keys allowed in the table that `steps` lead to."""
    models: list[type[BaseModel]] = [model]
    for step in steps:
        models = [inner for outer in models for inner in _models_under(outer, step)]
    return [name for found in models for name in found.model_fields]


def _models_under(model: type[BaseModel], step: Any) -> list[type[BaseModel]]:
    """Return the models that a key may hold: of its type, or of the kinds that it is settings of."""
    tables: dict[str, type[BaseModel]] = getattr(model, "tables", dict)()
    if step in tables:
        return [tables[step]]
    if step not in model.model_fields:
        return []
    field = model.model_fields[step]
    marked = [inner for mark in field.metadata if isinstance(mark, SettingsOf) for inner in mark.models()]
    return [*marked, *_models_in(field.annotation)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in _models_in(part)]
    return []
