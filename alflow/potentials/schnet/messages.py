r"""Compiled sums over pairs of atoms, and their derivatives to any order for torch.

Messages :math:`m_i = \sum_j W_{ij} \circ x_j`, with one filter for both directions of a pair, and the products
:math:`p_{ij} = x_i \circ y_j + x_j \circ y_i` are each other's derivatives, as are interpolation from the
table of the filters and its transpose. So two pairs of kernels are enough for forces, and for the gradient of a loss on
forces. N atoms, P pairs, G rows of the table, F features.
"""

# torch's own functions for automatic derivatives are untyped.
# mypy: disable-error-code="no-untyped-call, misc"
from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from alflow.types import IntArray

FAST = {"reassoc", "contract", "nsz", "arcp"}
SingleArray = npt.NDArray[np.float32]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_messages(pairs: IntArray, x: SingleArray, filters: SingleArray, out: SingleArray) -> None:
    """Add messages (N, F) of (N, F) features through (P, F) filters to `out`."""
    for pair in range(len(pairs)):
        i, j = pairs[pair, 0], pairs[pair, 1]
        for f in range(x.shape[1]):
            out[i, f] += filters[pair, f] * x[j, f]
            out[j, f] += filters[pair, f] * x[i, f]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_products(pairs: IntArray, x: SingleArray, y: SingleArray, out: SingleArray) -> None:
    """Fill products (P, F) of (N, F) and (N, F)."""
    for pair in range(len(pairs)):
        i, j = pairs[pair, 0], pairs[pair, 1]
        for f in range(x.shape[1]):
            out[pair, f] = x[i, f] * y[j, f] + x[j, f] * y[i, f]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_filters(rows: IntArray, shares: SingleArray, table: SingleArray, out: SingleArray) -> None:
    """Fill (P, F) filters from a (G, F) table: the four rows from (P,) `rows` on, weighted by (P, 4) `shares`."""
    for pair in range(len(rows)):
        r = rows[pair]
        s0, s1, s2, s3 = shares[pair, 0], shares[pair, 1], shares[pair, 2], shares[pair, 3]
        for f in range(table.shape[1]):
            out[pair, f] = s0 * table[r, f] + s1 * table[r + 1, f] + s2 * table[r + 2, f] + s3 * table[r + 3, f]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_to_table(rows: IntArray, shares: SingleArray, gradient: SingleArray, out: SingleArray) -> None:
    """Add the transpose of `fill_filters`: (P, F) to a (G, F) table."""
    for pair in range(len(rows)):
        for k in range(4):
            share, r = shares[pair, k], rows[pair] + k
            for f in range(out.shape[1]):
                out[r, f] += share * gradient[pair, f]


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, filters: torch.Tensor, pairs: IntArray) -> torch.Tensor:
        ctx.save_for_backward(x, filters)
        ctx.pairs = pairs
        out = torch.zeros_like(x)
        fill_messages(pairs, _array(x), _array(filters), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, filters = ctx.saved_tensors
        to_x = messages(gradient, filters, ctx.pairs) if ctx.needs_input_grad[0] else None
        to_filters = products(x, gradient, ctx.pairs) if ctx.needs_input_grad[1] else None
        return to_x, to_filters, None


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, pairs: IntArray) -> torch.Tensor:
        ctx.save_for_backward(x, y)
        ctx.pairs = pairs
        out = x.new_empty((len(pairs), x.shape[1]))
        fill_products(pairs, _array(x), _array(y), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, y = ctx.saved_tensors
        to_x = messages(y, gradient, ctx.pairs) if ctx.needs_input_grad[0] else None
        to_y = messages(x, gradient, ctx.pairs) if ctx.needs_input_grad[1] else None
        return to_x, to_y, None


class _Filters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, rows: IntArray, shares: npt.NDArray[Any]) -> torch.Tensor:
        ctx.rows, ctx.shares, ctx.length = rows, shares, table.shape[0]
        out = table.new_empty((len(rows), table.shape[1]))
        fill_filters(rows, shares, _array(table), out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        out = gradient.new_zeros((ctx.length, gradient.shape[1]))
        add_to_table(ctx.rows, ctx.shares, _array(gradient), out.numpy())
        return out, None, None


def messages(x: torch.Tensor, filters: torch.Tensor, pairs: IntArray) -> torch.Tensor:
    """Return (N, F) messages of (N, F) features through (P, F) filters; `pairs` is (P, 2)."""
    result: torch.Tensor = _Messages.apply(x, filters, pairs)
    return result


def products(x: torch.Tensor, y: torch.Tensor, pairs: IntArray) -> torch.Tensor:
    """Return (P, F) products of (N, F) and (N, F); `pairs` is (P, 2)."""
    result: torch.Tensor = _Products.apply(x, y, pairs)
    return result


def interpolate(table: torch.Tensor, rows: IntArray, shares: npt.NDArray[Any]) -> torch.Tensor:
    """Return (P, F) filters from a (G, F) table; see `fill_filters`. Once differentiable."""
    result: torch.Tensor = _Filters.apply(table, rows, shares)
    return result
