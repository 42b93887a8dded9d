"""Activations with their first and second derivatives, on the CPU (compiled) and elsewhere (torch)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from alflow.potentials.ani.layers import gelu_to_second
from alflow.potentials.ani.network import Activation
from alflow.potentials.ani.parallel import Share

Activate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""From values z to the activation, its slope and its curvature; z may be overwritten."""


def compiled_gelu(share: Share) -> Activate:
    """Return GELU for tensors in the memory of the CPU, shared out among threads."""

    def activate(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        slopes, curvatures = torch.empty_like(z), torch.empty_like(z)
        flat = [tensor.view(-1).numpy() for tensor in (z, slopes, curvatures)]
        share(lambda start, stop: gelu_to_second(*(part[start:stop] for part in flat)), z.numel())
        return z, slopes, curvatures

    return activate


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


def activation_for(kind: Activation, device: torch.device, share: Share) -> Activate:
    """Return the fastest form of an activation on a device."""
    if kind == "celu":
        return celu
    return compiled_gelu(share) if device.type == "cpu" else gelu
