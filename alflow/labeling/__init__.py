"""Label engines behind one protocol, found by their names and imported only when one is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alflow.config.base import Settings
from alflow.config.load import validate
from alflow.config.plugins import ENGINES, find_installed
from alflow.labeling.protocol import EngineKind, LabelEngine

__all__ = ["EngineKind", "LabelEngine", "engine_settings", "make_engine"]


def make_engine(name: str, settings: Settings | Mapping[str, Any], work: Path | None = None) -> LabelEngine:
    """Make the engine of that name.

    Args:
        name: of its kind.
        settings: of the kind, or plain data that are validated.
        work: folder of this process alone, for an engine that writes files; None where the process is not its own.

    Raises:
        InputError: no such engine, or one that its settings do not allow to be made.
    """
    kind: EngineKind[Any] = find_installed(ENGINES, name)
    checked = settings if isinstance(settings, Settings) else kind.settings.model_validate(settings)
    return kind.make_in(checked, work)


def engine_settings(name: str, given: Mapping[str, Any], place: str) -> Settings:
    """Return the settings of an engine from plain data; `place` is named in errors.

    Raises:
        InputError: no such engine, one that is not installed, or a setting that breaks its rule.
    """
    kind: EngineKind[Any] = find_installed(ENGINES, name)
    found: Settings = validate(kind.settings, given, place)
    return found
