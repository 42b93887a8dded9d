"""Weights of a file that the first training starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alflow.campaign.plan import Plan
from alflow.config.plugins import POTENTIALS, find_installed
from alflow.errors import ConfigError, InputError
from alflow.files.targets import cause, shown
from alflow.potentials import Ensemble, PotentialKind
from alflow.runs.directory import RunDirectory
from alflow.runs.startdata import StartFolder


@dataclass(frozen=True)
class StartWeights:
    """Weights that a campaign starts from."""

    ensemble: Ensemble | None = None
    """To be kept; None where there are none, or where the run has its copy and the file has gone."""
    identity: Mapping[str, str] = field(default_factory=dict)

    def keep(self, run: RunDirectory) -> None:
        """Write the run's own copy, where there is something to keep and none yet."""
        target = StartFolder.of(run).weights
        if self.ensemble is not None and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.ensemble.save(target)


def read_weights(plan: Plan, run: RunDirectory) -> StartWeights:
    """Read the file of `training.weights`, and check that the campaign can start from it. Nothing is written.

    Raises:
        ConfigError: it is not there, holds something else, or has too few members.
    """
    given, settings = plan.settings.training.weights, plan.settings
    if given is None:
        return StartWeights()
    path = Path(given)
    if not path.exists() and StartFolder.of(run).weights.exists():
        return StartWeights()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"training.weights: {shown(path)} cannot be read: {cause(error)}.") from error
    kind: PotentialKind[Any] = find_installed(POTENTIALS, settings.potential.kind)
    elements = np.unique(np.concatenate([molecule.numbers for molecule in plan.molecules]))
    try:
        ensemble = kind.pretrained(path, elements.tolist())
        for molecule in plan.molecules:
            ensemble.force_model(molecule.composition)
    except InputError as error:
        raise ConfigError(f"training.weights: {error}") from error
    if ensemble.members < settings.split.members:
        raise ConfigError(
            f"training.weights: each member starts from weights of its own; split.members is {settings.split.members}, "
            f"and {shown(path)} has {ensemble.members} members. Set split.members to {ensemble.members} at most."
        )
    return StartWeights(ensemble, {"file of weights": digest})
