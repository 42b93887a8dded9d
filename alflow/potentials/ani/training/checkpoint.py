"""A training that was killed goes on to the same weights: all that it needs, in one file."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.kernels.arrays import Array
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.potentials.weights import save
from alflow.types import Dataset, Split

FORMAT = 2
"""Of the optimiser's state, which is another on each kind of device; a checkpoint of another format is not used."""


@dataclass
class Progress:
    """Where a training stands after an epoch."""

    epoch: int
    """Epochs done."""
    step: int
    """Steps done."""
    flat: torch.Tensor
    average: torch.Tensor
    best: torch.Tensor
    """Flat weights: as they are, their running average, and of the best epoch of each member."""
    best_error: list[float]
    best_epoch: list[int]
    plateau: tuple[list[float], list[float], list[int]]
    optimiser: list[dict[str, Any]]


def fingerprint(
    dataset: Dataset,
    splits: Sequence[Split],
    settings: ANITrainingSettings,
    network: ANISettings,
    seed: Sequence[int],
    members: Sequence[int],
    initial: ANIEnsemble | None,
) -> str:
    """Return a hash of all that the weights depend on."""
    digest = hashlib.sha256()
    free = {"checkpoint_every_s", "memory_limit_gb", "members_per_task"}
    digest.update(settings.model_dump_json(exclude=free).encode())
    digest.update(network.model_dump_json().encode())
    digest.update(repr((list(seed), list(members))).encode())
    arrays: list[Array] = [array for split in splits for array in (split.train, split.valid)]
    for group in dataset.groups:
        arrays += [group.frames.numbers, group.frames.positions, group.labels.energies, group.labels.forces]
    if initial is not None:
        arrays += [initial.self_energies, *(layer for element in initial.networks.weights for layer in element)]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write(path: Path, key: str, progress: Progress) -> None:
    """Write a checkpoint; a kill meanwhile leaves the one before."""
    save({"key": key, **vars(progress)}, path)


def read(path: Path | None, key: str, device: torch.device) -> Progress | None:
    """Return the progress of this very training; None if there is none, or of another training, or damaged."""
    if path is None or not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True, map_location=device)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        return None
    if not isinstance(content, dict) or content.pop("key", None) != key:
        return None
    return Progress(**content)
