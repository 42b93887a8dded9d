"""Batched matrix products of the training, by oneDNN where that is at hand on the CPU.

The linear algebra library behind `torch.bmm` has no wide-vector kernels for some processors (AMD's); there oneDNN is
nearly twice as fast. Torch reaches it by an operator of its compiler, so it is tried once, and done without if that
fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

Linear = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From (R, K), (N, K) and (N,) or None to (R, N)."""


@cache
def one_dnn() -> Linear | None:
    """Return oneDNN's product of single-precision matrices on the CPU, or None if this torch has none that is right."""

    def linear(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")  # noqa: SLF001
        return found

    a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4)
    try:
        right = torch.allclose(linear(a, b.t(), b[0]), a @ b + b[0]) and torch.allclose(
            linear(a.t(), a.t(), None), a.t() @ a
        )
    except (AttributeError, RuntimeError, TypeError):
        return None
    return linear if right else None


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (M, R, N) from (M, R, K) and (M, K, N)."""
    linear = _fast(a)
    if linear is None:
        return torch.bmm(a, b)
    return _stacked([linear(one, other.t(), None) for one, other in zip(a, b, strict=True)])


def affine(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return (M, R, N) from (M, R, K), (M, K, N) and bias (M, 1, N)."""
    linear = _fast(a)
    if linear is None:
        return torch.baddbmm(bias, a, b)
    return _stacked([linear(one, other.t(), shift[0]) for one, other, shift in zip(a, b, bias, strict=True)])


def add_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """Add the product of (M, R, K) and (M, K, N) to (M, R, N)."""
    linear = _fast(a)
    if linear is None:
        out.baddbmm_(a, b)
        return
    for one, other, target in zip(a, b, out, strict=True):
        target.add_(linear(one, other.t(), None))


def _fast(a: torch.Tensor) -> Linear | None:
    return one_dnn() if a.device.type == "cpu" and a.dtype == torch.float32 else None


def _stacked(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)
