"""Learning rates, optimisers and the running average of the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, pi
from typing import Any

import torch

from alflow.errors import TrainingError
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.parameters import Layers, Parameters

PLATEAU_PATIENCE = 100
"""Epochs without a better validation energy before the learning rate is halved."""


def scheduled_rate(settings: ANITrainingSettings, largest: float, progress: float) -> float:
    """Return the learning rate after a share `progress` of all steps, for a schedule that only depends on it."""
    if settings.schedule == "cosine":
        return largest * 0.5 * (1.0 + cos(pi * progress))
    if settings.schedule == "one-cycle":
        rise = 0.3
        if progress < rise:
            return largest * (0.04 + 0.96 * 0.5 * (1.0 - cos(pi * progress / rise)))
        return largest * 0.5 * (1.0 + cos(pi * (progress - rise) / (1.0 - rise)))
    return largest


@dataclass
class Plateau:
    """Halves the learning rate of a member whose validation energy has not got better for a while."""

    factors: list[float]
    best: list[float]
    waited: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, members: int) -> Plateau:
        """Start with the full rate for every member."""
        return cls([1.0] * members, [float("inf")] * members, [0] * members)

    def update(self, errors: list[float]) -> None:
        """Take the validation errors of an epoch, one a member."""
        for member, error in enumerate(errors):
            if error < self.best[member] * (1.0 - 1e-4):
                self.best[member], self.waited[member] = error, 0
                continue
            self.waited[member] += 1
            if self.waited[member] > PLATEAU_PATIENCE:
                self.factors[member], self.waited[member] = 0.5 * self.factors[member], 0


class Optimiser:
    """AdamW over all, or AdamW over weights and gradient descent over biases; a learning rate for each member."""

    def __init__(self, settings: ANITrainingSettings, parameters: Parameters, gradient: Parameters) -> None:
        """Take the gradient from where the passes leave it."""
        members = parameters.weights[0][0].shape[0]
        layers = len(parameters.weights[0])
        decays = layer_decays(settings, layers)
        adam: list[dict[str, Any]] = []
        descent: list[dict[str, Any]] = []
        for member in range(members):
            for layer in range(layers):
                leaves = _leaves(parameters.weights, gradient.weights, layer, member)
                adam.append({"params": leaves, "weight_decay": decays[layer], "member": member})
            biases = [leaf for h in range(layers) for leaf in _leaves(parameters.biases, gradient.biases, h, member)]
            target = adam if settings.optimizer == "adamw" else descent
            target.append({"params": biases, "weight_decay": 0.0, "member": member})
        self._optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam, lr=0.0, fused=True)]
        if descent:
            self._optimisers.append(torch.optim.SGD(descent, lr=0.0, fused=True))

    def step(self, rates: list[float]) -> None:
        """Change the weights, with one learning rate a member."""
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rates[group["member"]]
            optimiser.step()

    def state(self) -> list[dict[str, Any]]:
        """Return what a checkpoint keeps."""
        return [optimiser.state_dict() for optimiser in self._optimisers]

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint."""
        for optimiser, state in zip(self._optimisers, states, strict=True):
            optimiser.load_state_dict(state)


def layer_decays(settings: ANITrainingSettings, layers: int) -> list[float]:
    """Return the weight decay of each layer.

    Raises:
        TrainingError: the settings give a list of another length.
    """
    decay = settings.weight_decay
    if isinstance(decay, float):
        return [decay] * layers
    if len(decay) != layers:
        raise TrainingError(
            f"training.weight_decay is one number, or one a layer: {len(decay)} were given for {layers} layers "
            "(the hidden ones and the last). Give one number."
        )
    return list(decay)


def average_into(average: torch.Tensor, flat: torch.Tensor, decay: float, step: int) -> None:
    """Move a running average of the weights on by one step."""
    average.lerp_(flat, average_weight(decay, step))


def average_weight(decay: float, step: int) -> float:
    """Return the weight of the newest weights in their running average; the first steps are forgotten sooner."""
    return 1.0 - min(decay, (1.0 + step) / (10.0 + step))


def _leaves(layers: Layers, gradients: Layers, layer: int, member: int) -> list[torch.Tensor]:
    """Return one layer of one member, for every element, as tensors that an optimiser takes."""
    leaves = []
    for element, gradient in zip(layers, gradients, strict=True):
        leaf = element[layer][member].requires_grad_()
        leaf.grad = gradient[layer][member]
        leaves.append(leaf)
    return leaves
