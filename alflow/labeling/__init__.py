"""Label engines: one name each, imported only when one is made."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from alflow.config.base import Settings
from alflow.errors import ConfigError
from alflow.labeling.frames import compute_checked, label_frames
from alflow.types import LabelEngine

__all__ = ["ENGINES", "compute_checked", "label_frames", "make_engine"]

ENGINES: dict[str, tuple[str, str]] = {
    "dftb3": ("alflow.labeling.engines.dftb3", "DFTB3Engine"),
    "dftbplus": ("alflow.labeling.engines.dftbplus", "DFTBPlusEngine"),
    "gfn2-xtb": ("alflow.labeling.engines.xtb", "XTBEngine"),
    "ase": ("alflow.labeling.engines.ase", "ASEEngine"),
    "sleep": ("alflow.labeling.engines.sleep", "SleepEngine"),
}
"""Module and class of each engine; the class takes its settings."""


def make_engine(name: str, settings: Settings) -> LabelEngine:
    """Make the engine of that name.

    Raises:
        InputError: no such engine, or one that its settings do not allow to be made.
    """
    if name not in ENGINES:
        raise ConfigError(f"A label engine is one of {', '.join(sorted(ENGINES))}; there is none named {name!r}.")
    module, engine = ENGINES[name]
    return cast("LabelEngine", getattr(import_module(module), engine)(settings))
