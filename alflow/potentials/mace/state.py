"""State of a training, and the file that a killed one goes on from."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from alflow.errors import TrainingError
from alflow.potentials.mace.architecture import Architecture, Weights, weights_of
from alflow.potentials.mace.library import ExponentialMovingAverage, get_optimizer, get_params_options
from alflow.potentials.mace.settings import MACESettings
from alflow.potentials.weights import save
from alflow.types import FloatArray, Split


class TrainingState:
    """A network in training, the average and the best of its weights, its optimiser, and where the schedule stands."""

    def __init__(self, module: torch.nn.Module, settings: MACESettings, epochs: int, learning_rate: float) -> None:
        self.module, self.epochs = module, epochs
        self.optimizer = _optimizer(module, settings, learning_rate)
        self.average = (
            ExponentialMovingAverage(module.parameters(), decay=settings.averaging) if settings.averaging else None
        )
        self.epoch, self.best_epoch, self.best_loss = 0, 0, float("inf")
        self.best: Weights = {}
        self._settings, self._first = settings, learning_rate

    def begin_epoch(self) -> None:
        """Set the learning rate of the epoch: a cosine from the first to the least."""
        least = min(self._settings.least_learning_rate, self._first)
        share = 0.5 * (1 + math.cos(math.pi * self.epoch / self.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = least + (self._first - least) * share

    def averaged(self) -> contextlib.AbstractContextManager[Any]:
        """Have the network's weights be their average meanwhile."""
        return self.average.average_parameters() if self.average is not None else contextlib.nullcontext()

    def end_epoch(self, loss: float) -> None:
        """Count an epoch, and keep its weights if they are to be returned as things stand.

        Raises:
            TrainingError: the validation loss is not finite.
        """
        started = self._settings.in_stage_two(self.epoch, self.epochs)
        first = started and not self._settings.in_stage_two(self.epoch - 1, self.epochs)
        self.epoch += 1
        check_finite(loss, "validation", self.epoch, self._first)
        if first:  # another loss: what was best by the one before is not compared
            self.best_loss = float("inf")
        if self._settings.criterion == "last" or loss < self.best_loss:
            with self.averaged():
                self.best, self.best_epoch, self.best_loss = weights_of(self.module), self.epoch, loss

    def dump(self) -> dict[str, Any]:
        """Return tensors and plain data."""
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best": self.best,
            "weights": weights_of(self.module),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to what `dump` returned."""
        for name in ("epoch", "best_epoch", "best_loss", "best"):
            setattr(self, name, content[name])
        self.module.load_state_dict({**self.module.state_dict(), **content["weights"]})
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])


def check_finite(loss: float, what: str, epoch: int, learning_rate: float) -> None:
    """Refuse a loss that is not finite.

    Raises:
        TrainingError: it is not.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss must stay finite: the {what} loss is {loss} in epoch {epoch}. "
            f"Lower learning_rate ({learning_rate:g}), or look for outliers among the labels."
        )


def _optimizer(module: torch.nn.Module, settings: MACESettings, learning_rate: float) -> torch.optim.Optimizer:
    """Return MACE's own optimiser with its groups of weights."""
    arguments = Namespace(
        lr=learning_rate,
        weight_decay=settings.weight_decay,
        amsgrad=True,
        beta=0.9,
        lr_params_factors="{}",
        freeze=None,
        optimizer="adam",
    )
    found: torch.optim.Optimizer = get_optimizer(arguments, get_params_options(arguments, module))
    return found


class Checkpoint:
    """A file that a killed training goes on from."""

    def __init__(self, stem: Path | None, index: int, every_s: float = 0.0, key: str = "") -> None:
        self._path = None if stem is None else stem.with_name(f"{stem.name}-{index}")
        self._every, self._last, self._key = every_s, time.monotonic(), key

    def restore(self, state: TrainingState) -> None:
        """Go on from the file, if there is one of this training."""
        if self._path is not None and self._path.exists():
            content = torch.load(self._path, weights_only=True, map_location="cpu")
            if content["key"] == self._key:
                state.restore(content)

    def keep(self, state: TrainingState, *, now: bool = False) -> None:
        """Write the file, if the last one is old enough or it is to be done now."""
        if self._path is None or not (now or time.monotonic() - self._last >= self._every):
            return
        save({**state.dump(), "key": self._key}, self._path)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def fingerprint(
    settings: MACESettings,
    architecture: Architecture,
    seed: Sequence[int],
    split: Split,
    labels: Sequence[FloatArray],
    start: Weights,
) -> str:
    """Return what tells a training from every other one: a hash of all that it depends on."""
    digest = hashlib.sha256(repr((settings, architecture, list(seed))).encode())
    weights = [start[name].numpy() for name in sorted(start)]
    for array in [split.train, split.valid, *labels, *weights]:
        digest.update(array.tobytes())
    return digest.hexdigest()
