"""The optimisers of `schedule` for weights on a device: a dozen operations over all weights of all members a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.compiled_optimiser import FIRST_DECAY, SECOND_DECAY, SMALLEST
from alflow.potentials.ani.training.parameters import Parameters
from alflow.potentials.ani.training.schedule import layer_decays


class DeviceOptimiser:
    """AdamW over all, or AdamW over weights and gradient descent over biases; a learning rate for each member."""

    def __init__(self, settings: ANITrainingSettings, parameters: Parameters, gradient: Parameters) -> None:
        """Take the gradient from where the passes leave it."""
        self._flat, self._gradient = parameters.flat.detach(), gradient.flat.detach()
        decays = layer_decays(settings, len(parameters.weights[0]))
        self._member = torch.zeros_like(self._flat, dtype=torch.int64)
        self._decay = torch.zeros_like(self._flat)
        for element in parameters.like(self._decay).weights:
            for layer, leaf in enumerate(element):
                leaf.fill_(decays[layer])
        members = parameters.like(self._member)
        for element in (*members.weights, *members.biases):
            for leaf in element:
                leaf.copy_(torch.arange(len(leaf))[:, None, None].expand_as(leaf))
        self._descends: Tensor | None = None
        if settings.optimizer == "adamw-sgd":
            self._descends = torch.zeros_like(self._flat, dtype=torch.bool)
            for element in parameters.like(self._descends).biases:
                for leaf in element:
                    leaf.fill_(True)
        self._first, self._second = torch.zeros_like(self._flat), torch.zeros_like(self._flat)
        self._steps = 0

    def step(self, rates: list[float]) -> None:
        """Change the weights, with one learning rate a member."""
        numbers = torch.tensor([*rates, *self.count()], dtype=self._flat.dtype).to(self._flat.device)
        self.change(numbers[:-2], numbers[-2], numbers[-1])

    def count(self) -> tuple[float, float]:
        """Count one step more, and return what its means of the gradient and of its square are short of: 1 - βᵗ."""
        self._steps += 1
        return 1.0 - FIRST_DECAY**self._steps, 1.0 - SECOND_DECAY**self._steps

    @torch.no_grad()
    def change(self, rates: Tensor, mean_bias: Tensor, square_bias: Tensor) -> None:
        """Change the weights without asking anything of the host.

        Args:
            rates: (M,) learning rates.
            mean_bias: () of the step, see `count`.
            square_bias: () of the step.
        """
        rate = rates[self._member]
        self._first.lerp_(self._gradient, 1.0 - FIRST_DECAY)
        self._second.mul_(SECOND_DECAY).addcmul_(self._gradient, self._gradient, value=1.0 - SECOND_DECAY)
        change = (self._first / mean_bias).div_((self._second / square_bias).sqrt_().add_(SMALLEST))
        if self._descends is not None:
            change = torch.where(self._descends, self._gradient, change)
        self._flat.sub_(rate * (change + self._decay * self._flat))

    def tensors(self) -> list[Tensor]:
        """Return what a step changes beside the weights."""
        return [self._first, self._second]

    def state(self) -> list[dict[str, Any]]:
        """Return what a checkpoint keeps."""
        return [{"steps": self._steps, "first": self._first, "second": self._second}]

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint."""
        (state,) = states
        self._steps = int(state["steps"])
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
