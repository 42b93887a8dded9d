"""Compiled passes through the small dense networks of one structure: products, activations, ∂E/∂G.

Written out rather than given to a linear algebra library: with a dozen rows an own loop is faster, needs no threads of
its own, and gives the same bits on every run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.jacobian import FAST, SingleArray
from alflow.types import FloatArray, IntArray

GELU, CELU = 0, 1
"""Activations: Gaussian error linear unit, and CELU with parameter 0.1 as the published ANI models have it."""


class PackedNetworks(NamedTuple):
    """All weights of an ensemble in flat arrays. M members, E elements, H layers."""

    activation: int
    layers: int
    shape: IntArray
    """(E, H, 2) inputs and outputs of each layer."""
    weight_start: IntArray
    """(M, E, H) first entry in `weights`."""
    bias_start: IntArray
    """(M, E, H)."""
    weights: SingleArray
    """Each layer (inputs, outputs), one after the other."""
    biases: SingleArray


class LayerRoom(NamedTuple):
    """Arrays that the passes work in. A atoms, L functions, H hidden layers, V = A times the widest layer."""

    inputs: SingleArray
    """(A, L) sorted by element."""
    gradient: SingleArray
    """(A, L) sorted by element."""
    values: SingleArray
    """(H, V)."""
    slopes: SingleArray
    """(H, V)."""


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_product(a: SingleArray, b: SingleArray, out: SingleArray) -> None:
    """Add the product of (R, K) and (K, N) to (R, N).

    Eight rows of `b` at a time stay in the nearest cache while every row of `a` passes over them, in vectors of
    columns.
    """
    rows, inner = a.shape
    columns = b.shape[1]
    whole = inner - inner % 8
    for k in range(0, whole, 8):
        b0, b1, b2, b3, b4, b5, b6, b7 = b[k], b[k + 1], b[k + 2], b[k + 3], b[k + 4], b[k + 5], b[k + 6], b[k + 7]
        for r in range(rows):
            a0, a1, a2, a3 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            a4, a5, a6, a7 = a[r, k + 4], a[r, k + 5], a[r, k + 6], a[r, k + 7]
            row = out[r]
            for n in range(columns):
                row[n] += (
                    a0 * b0[n] + a1 * b1[n] + a2 * b2[n] + a3 * b3[n]
                    + a4 * b4[n] + a5 * b5[n] + a6 * b6[n] + a7 * b7[n]
                )  # fmt: skip
    for k in range(whole, inner):
        for r in range(rows):
            for n in range(columns):
                out[r, n] += a[r, k] * b[k, n]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_product_turned(a: SingleArray, b: SingleArray, out: SingleArray) -> None:
    """Add the product of (R, N) and the transpose of (K, N) to (R, K).

    Two rows of `a` by four of `b` at a time keep eight sums in registers.
    """
    rows, inner = a.shape
    columns = len(b)
    whole = columns - columns % 4
    for k in range(0, whole, 4):
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        for r in range(0, rows - 1, 2):
            upper, lower = a[r], a[r + 1]
            u0, u1, u2, u3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            l0, l1, l2, l3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for n in range(inner):
                u0 += upper[n] * b0[n]
                u1 += upper[n] * b1[n]
                u2 += upper[n] * b2[n]
                u3 += upper[n] * b3[n]
                l0 += lower[n] * b0[n]
                l1 += lower[n] * b1[n]
                l2 += lower[n] * b2[n]
                l3 += lower[n] * b3[n]
            out[r, k] += u0
            out[r, k + 1] += u1
            out[r, k + 2] += u2
            out[r, k + 3] += u3
            out[r + 1, k] += l0
            out[r + 1, k + 1] += l1
            out[r + 1, k + 2] += l2
            out[r + 1, k + 3] += l3
        for r in range(rows - rows % 2, rows):
            upper = a[r]
            u0, u1, u2, u3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for n in range(inner):
                u0 += upper[n] * b0[n]
                u1 += upper[n] * b1[n]
                u2 += upper[n] * b2[n]
                u3 += upper[n] * b3[n]
            out[r, k] += u0
            out[r, k + 1] += u1
            out[r, k + 2] += u2
            out[r, k + 3] += u3
    for k in range(whole, columns):
        for r in range(rows):
            total = np.float32(0)
            for n in range(inner):
                total += a[r, n] * b[k, n]
            out[r, k] += total


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def gelu_parts(x: float) -> tuple[float, float]:
    """Return Φ(x) and φ(x), the normal distribution and its density.

    φ(x) = exp(-x²/2)/√2π is a Taylor sum at x²/128 squared six times, and Φ(-|x|) = φ(x) M(|x|), with Mills' ratio M a
    polynomial in 1/(1 + 0.3 |x|), fitted by least squares on 0..6: right to 2e-9, and free of calls, so that
    loops over it run in vectors.
    """
    a = min(abs(x), 6.0)
    y = -a * a / 128.0
    e = 1.0 + y * (1.0 + y / 2 * (1.0 + y / 3 * (1.0 + y / 4 * (1.0 + y / 5 * (1.0 + y / 6 * (1.0 + y / 7))))))
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    density = 0.3989422804014327 * e
    t = 1.0 / (1.0 + 0.3 * a)
    mills = (-0.00513712657063) + t * (
        0.36084577108
        + t
        * (
            (-0.0106446628962)
            + t
            * (
                1.16080363673
                + t * ((-1.31345263179) + t * (1.72628310608 + t * ((-0.791448213887) + t * 0.12606425518)))
            )
        )
    )
    tail = density * mills
    share = tail if x < 0.0 else 1.0 - tail
    return share, density


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gelu(values: SingleArray, slopes: SingleArray) -> None:
    """Replace flat values x by x Φ(x) and fill the slopes Φ(x) + x φ(x)."""
    for n in range(len(values)):
        x = np.float64(values[n])
        share, density = gelu_parts(x)
        values[n] = x * share
        slopes[n] = share + x * density


@numba.njit(cache=True, nogil=True, error_model="numpy")
def celu(values: SingleArray, slopes: SingleArray) -> None:
    """Replace flat values x by max(x, 0) + min(0.1 (exp(x/0.1) - 1), 0) and fill the slopes."""
    for n in range(len(values)):
        x = np.float64(values[n])
        if x < 0.0:
            e = math.exp(10.0 * x)
            values[n] = 0.1 * (e - 1.0)
            slopes[n] = e
        else:
            slopes[n] = 1.0


@numba.njit(cache=True, nogil=True)
def _layer(flat: SingleArray, start: int, rows: int, columns: int) -> SingleArray:
    return flat[start : start + rows * columns].reshape(rows, columns)


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def pass_through(  # noqa: C901, PLR0912 - a kernel
    networks: PackedNetworks,
    bounds: IntArray,
    order: IntArray,
    vectors: FloatArray,
    shares: FloatArray,
    room: LayerRoom,
    energies: FloatArray,
    gradient: FloatArray,
) -> None:
    """Fill the energy of every member, and the gradient of the shared energy with respect to the descriptors.

    Args:
        networks: of M members.
        bounds: (E + 1,) first sorted atom of each element.
        order: (A,) atoms sorted by element.
        vectors: (A, L) descriptors.
        shares: (M,) how much of the gradient each member gives; a member with 0 is passed through forward only,
            one with a negative number is left out.
        room: to work in.
        energies: (M,) eV, overwritten.
        gradient: (A, L) eV, overwritten.
    """
    members, elements, layers = networks.weight_start.shape
    inputs, sorted_gradient, values, slopes = room
    for m in range(members):
        energies[m] = 0.0
    for row in range(len(order)):
        for column in range(vectors.shape[1]):
            inputs[row, column] = vectors[order[row], column]
            sorted_gradient[row, column] = np.float32(0.0)
    for e in range(elements):
        rows = bounds[e + 1] - bounds[e]
        if rows == 0:
            continue
        for m in range(members):
            if shares[m] < 0.0:
                continue
            hidden = inputs[bounds[e] : bounds[e + 1]]
            for layer in range(layers - 1):
                wide, narrow = networks.shape[e, layer, 0], networks.shape[e, layer, 1]
                start = networks.bias_start[m, e, layer]
                out = _layer(values[layer], 0, rows, narrow)
                for row in range(rows):
                    for n in range(narrow):
                        out[row, n] = networks.biases[start + n]
                add_product(hidden, _layer(networks.weights, networks.weight_start[m, e, layer], wide, narrow), out)
                if networks.activation == GELU:
                    gelu(values[layer, : rows * narrow], slopes[layer, : rows * narrow])
                else:
                    celu(values[layer, : rows * narrow], slopes[layer, : rows * narrow])
                hidden = out
            wide, start = networks.shape[e, layers - 1, 0], networks.weight_start[m, e, layers - 1]
            last = networks.weights[start : start + wide]
            total = rows * np.float64(networks.biases[networks.bias_start[m, e, layers - 1]])
            for row in range(rows):
                for n in range(wide):
                    total += np.float64(hidden[row, n]) * np.float64(last[n])
            energies[m] += total
            if shares[m] == 0.0:
                continue
            back = _layer(slopes[layers - 2], 0, rows, wide)
            for row in range(rows):
                for n in range(wide):
                    back[row, n] *= np.float32(shares[m]) * last[n]
            for layer in range(layers - 2, 0, -1):
                wide, narrow = networks.shape[e, layer, 0], networks.shape[e, layer, 1]
                front = _layer(values[layer - 1], 0, rows, wide)
                for n in range(rows * wide):
                    values[layer - 1, n] = np.float32(0.0)
                add_product_turned(
                    back, _layer(networks.weights, networks.weight_start[m, e, layer], wide, narrow), front
                )
                back = _layer(slopes[layer - 1], 0, rows, wide)
                for n in range(rows * wide):
                    slopes[layer - 1, n] *= values[layer - 1, n]
            wide, narrow = networks.shape[e, 0, 0], networks.shape[e, 0, 1]
            first = _layer(networks.weights, networks.weight_start[m, e, 0], wide, narrow)
            add_product_turned(back, first, sorted_gradient[bounds[e] : bounds[e + 1]])
    for row in range(len(order)):
        for column in range(vectors.shape[1]):
            gradient[order[row], column] = np.float64(sorted_gradient[row, column])


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gelu_to_second(values: SingleArray, slopes: SingleArray, curvatures: SingleArray) -> None:
    """Replace flat values x by x Φ(x), and fill the slopes and the curvatures φ(x) (2 - x²)."""
    for n in range(len(values)):
        x = np.float64(values[n])
        share, density = gelu_parts(x)
        values[n] = x * share
        slopes[n] = share + x * density
        curvatures[n] = density * (2.0 - min(x * x, 36.0))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def celu_to_second(values: SingleArray, slopes: SingleArray, curvatures: SingleArray) -> None:
    """Replace flat values by CELU (its parameter 0.1), and fill the slopes and the curvatures."""
    for n in range(len(values)):
        x = np.float64(values[n])
        if x < 0.0:
            e = math.exp(10.0 * x)
            values[n], slopes[n], curvatures[n] = 0.1 * (e - 1.0), e, 10.0 * e
        else:
            slopes[n], curvatures[n] = 1.0, 0.0
