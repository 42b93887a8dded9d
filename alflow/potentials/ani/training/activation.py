"""Activations with their first and second derivatives, by torch: the specification of `kernels.activations`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from alflow.potentials.ani.network import Activation

Activate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""From values z to the activation, its slope and its curvature."""


def gelu(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x Φ(x) with slope Φ + x φ and curvature φ (2 - x²)."""
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    share = 0.5 * torch.erfc(-z / math.sqrt(2.0))
    return z * share, share + z * density, density * (2.0 - z * z)


def celu(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return CELU (its parameter 0.1), its slope and its curvature."""
    growth = torch.exp(10.0 * z.clamp(max=0.0))
    below = z < 0.0
    return torch.where(below, 0.1 * (growth - 1.0), z), growth, torch.where(below, 10.0 * growth, 0.0)


ACTIVATIONS: dict[Activation, Activate] = {"gelu": gelu, "celu": celu}
