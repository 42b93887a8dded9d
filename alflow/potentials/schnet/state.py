"""State of a training, and the file that a killed one goes on from."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from alflow.errors import TrainingError
from alflow.potentials.schnet.network import Architecture, Parameters
from alflow.potentials.schnet.settings import SchNetSettings
from alflow.potentials.weights import save
from alflow.types import Split


class TrainingState:
    """Weights, their average, the best of them, the optimiser, and where the schedule stands."""

    def __init__(self, start: Parameters, settings: SchNetSettings, epochs: int, learning_rate: float) -> None:
        self.parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
        self.averaged = {name: value.clone() for name, value in start.items()}
        self.best = self.averaged
        self.best_loss, self.best_epoch, self.epoch, self.waited = float("inf"), 0, 0, 0
        self.steps = 0
        self.optimizer = torch.optim.Adam(list(self.parameters.values()), lr=learning_rate)
        self._settings, self._epochs, self._first, self._progress = settings, epochs, learning_rate, 0.0
        self.rate, self.lowest = learning_rate, float("inf")

    @property
    def finished(self) -> bool:
        """Say whether the plateau schedule has come to its end."""
        return self._settings.schedule == "plateau" and self.rate <= self._settings.least_learning_rate

    def step(self, share: float) -> None:
        """Take a step; `share` of an epoch."""
        if self._settings.schedule == "cosine":
            least = min(self._settings.least_learning_rate, self._first)
            done = (self.epoch + self._progress) / self._epochs
            self.rate = least + (self._first - least) * 0.5 * (1 + math.cos(math.pi * done))
        self._progress += share
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()
        self.steps += 1
        decay = min(self._settings.averaging, self.steps / (self.steps + 10))
        with torch.no_grad():
            for name, value in self.parameters.items():
                self.averaged[name] = torch.lerp(value.detach(), self.averaged[name], decay)

    def judge(self, loss: float) -> None:
        """Keep the weights if they are the best so far, and lower the learning rate where the loss has stalled.

        The rule is that of torch's ReduceLROnPlateau: a loss counts as lower if it is by one part in 10⁴.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss must stay finite: the validation loss is {loss} after {self.epoch} epochs. "
                f"Lower learning_rate ({self._first:g}), or look for outliers among the labels."
            )
        self._progress = 0.0
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best = loss, self.epoch, dict(self.averaged)
        if loss < self.lowest * (1 - 1e-4):
            self.lowest, self.waited = loss, 0
            return
        self.waited += 1
        if self._settings.schedule == "plateau" and self.waited > self._settings.plateau_patience:
            self.rate = max(self.rate * self._settings.plateau_factor, self._settings.least_learning_rate)
            self.waited = 0

    NUMBERS = ("best_loss", "best_epoch", "epoch", "waited", "steps", "rate", "lowest")

    def dump(self) -> dict[str, Any]:
        """Return tensors and plain data."""
        return {
            **{name: getattr(self, name) for name in self.NUMBERS},
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "averaged": self.averaged,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to what `dump` returned."""
        for name in self.NUMBERS:
            setattr(self, name, content[name])
        self.averaged, self.best = content["averaged"], content["best"]
        with torch.no_grad():
            for name, value in content["parameters"].items():
                self.parameters[name].copy_(value)
        self.optimizer.load_state_dict(content["optimizer"])


class Checkpoint:
    """A file that a killed training goes on from."""

    def __init__(self, stem: Path | None, index: int, every_s: float = 0.0, key: str = "") -> None:
        self._path = None if stem is None else stem.with_name(f"{stem.name}-{index}")
        self._every, self._last, self._key = every_s, time.monotonic(), key

    def restore(self, state: TrainingState) -> None:
        """Go on from the file, if there is one of this training."""
        if self._path is not None and self._path.exists():
            content = torch.load(self._path, weights_only=True)
            if content["key"] == self._key:
                state.restore(content)

    def keep(self, state: TrainingState) -> None:
        """Write the file, if the last one is old enough."""
        if self._path is None or time.monotonic() - self._last < self._every:
            return
        save({**state.dump(), "key": self._key}, self._path)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def fingerprint(
    settings: SchNetSettings,
    architecture: Architecture,
    seed: Sequence[int],
    split: Split,
    energies: torch.Tensor,
    start: Parameters,
) -> str:
    """Return what tells a training from every other one: a hash of all that it depends on."""
    digest = hashlib.sha256(repr((settings, architecture, list(seed))).encode())
    arrays = [split.train, split.valid, energies.numpy(), *(value.numpy() for value in start.values())]
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
