"""Compiled passes through the small dense networks of one structure: products, activations, ∂E/∂G.

Written out rather than given to a linear algebra library: with a dozen rows the register tiles of `gemm` are faster,
need no threads of their own, and give the same bits on every run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.kernels.activations import gelu, sum_of_products
from alflow.potentials.ani.kernels.gemm import multiply
from alflow.potentials.ani.kernels.jacobian import FAST, SingleArray
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
    panel_start: IntArray
    """(M, E, H, 2) first entry in `panels` of each layer, and of its transpose; H does not count the last."""
    panels: SingleArray
    """See `gemm.pack`."""
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
    flat_inputs, flat_gradient = inputs.reshape(inputs.size), sorted_gradient.reshape(inputs.size)
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
            hidden, first = flat_inputs, bounds[e] * vectors.shape[1]
            for layer in range(layers - 1):
                wide, narrow = networks.shape[e, layer, 0], networks.shape[e, layer, 1]
                start, panel = networks.bias_start[m, e, layer], networks.panel_start[m, e, layer, 0]
                out = values[layer]
                for row in range(rows):
                    for n in range(narrow):
                        out[row * narrow + n] = networks.biases[start + n]
                multiply(False, hidden, first, wide, rows, wide, networks.panels, panel, narrow, out, 0, True)
                if networks.activation == GELU:
                    gelu(out[: rows * narrow], slopes[layer, : rows * narrow])
                else:
                    celu(out[: rows * narrow], slopes[layer, : rows * narrow])
                hidden, first = out, 0
            wide, start = networks.shape[e, layers - 1, 0], networks.weight_start[m, e, layers - 1]
            weights = networks.weights
            total = rows * np.float64(networks.biases[networks.bias_start[m, e, layers - 1]])
            for row in range(rows):
                total += sum_of_products(hidden, row * wide, weights, start, wide)
            energies[m] += total
            if shares[m] == 0.0:
                continue
            back = slopes[layers - 2]
            for row in range(rows):
                for n in range(wide):
                    back[row * wide + n] *= np.float32(shares[m]) * weights[start + n]
            for layer in range(layers - 2, 0, -1):
                wide, narrow = networks.shape[e, layer, 0], networks.shape[e, layer, 1]
                panel, front = networks.panel_start[m, e, layer, 1], values[layer - 1]
                multiply(False, back, 0, narrow, rows, narrow, networks.panels, panel, wide, front, 0, False)
                back = slopes[layer - 1]
                for n in range(rows * wide):
                    back[n] *= front[n]
            wide, narrow = networks.shape[e, 0, 0], networks.shape[e, 0, 1]
            panel, start = networks.panel_start[m, e, 0, 1], bounds[e] * wide
            multiply(False, back, 0, narrow, rows, narrow, networks.panels, panel, wide, flat_gradient, start, True)
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
