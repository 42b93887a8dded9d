"""Passes through the small dense networks of one structure: products, activations, ∂E/∂G.

`forward` and `backward` of `training.passes` are their specification. Written out rather than given to a linear
algebra library: with a dozen rows the register tiles of `gemm` are four to six times as fast, need no threads of their
own, and give the same bits on every run.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.kernels.activations import GELU, celu, gelu, sum_of_products
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.gemm import multiply
from alflow.types import FloatArray, IntArray


class PackedNetworks(NamedTuple):
    """All weights of an ensemble in flat arrays. M members, E elements, H layers, the last included."""

    activation: int
    layers: int
    shape: IntArray
    """(E, H, 2) inputs and outputs of each layer."""
    weight_start: IntArray
    """(M, E, H) first entry in `weights`."""
    bias_start: IntArray
    """(M, E, H) first entry in `biases`."""
    weights: SingleArray
    """Flat: each layer (inputs, outputs), one after the other."""
    panel_start: IntArray
    """(M, E, H - 1, 2) first entry in `panels` of each hidden layer, and of its transpose."""
    panels: SingleArray
    """Flat: see `gemm.pack`."""
    biases: SingleArray
    """Flat."""


class NetworkWorkspace(NamedTuple):
    """Arrays that the passes work in. A atoms, L functions, H hidden layers, V = A times the widest layer."""

    inputs: SingleArray
    """(A, L) sorted by element."""
    gradient: SingleArray
    """(A, L) sorted by element."""
    values: SingleArray
    """(H, V)."""
    slopes: SingleArray
    """(H, V)."""


def make_network_workspace(networks: PackedNetworks, atoms: int, length: int) -> NetworkWorkspace:
    """Allocate a workspace for structures of some atoms with descriptors of some length."""
    hidden = (networks.layers - 1, atoms * int(networks.shape[:, :-1, 1].max()))
    return NetworkWorkspace(
        inputs=np.zeros((atoms, length), np.float32),
        gradient=np.zeros((atoms, length), np.float32),
        values=np.zeros(hidden, np.float32),
        slopes=np.zeros(hidden, np.float32),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def evaluate_networks(  # noqa: C901, PLR0912 - a kernel
    networks: PackedNetworks,
    bounds: IntArray,
    order: IntArray,
    vectors: FloatArray,
    member_weights: FloatArray,
    work: NetworkWorkspace,
    energies: FloatArray,
    gradient: FloatArray,
) -> None:
    """Fill the energy of every member, and the gradient of their weighted sum with respect to the descriptors.

    Args:
        networks: of M members.
        bounds: (E + 1,) first sorted atom of each element.
        order: (A,) atoms sorted by element.
        vectors: (A, L) descriptors.
        member_weights: (M,) of each member in the sum; a member with 0 is passed through forward only, one with a
            negative number is left out.
        work: large enough for this structure.
        energies: (M,) eV, overwritten.
        gradient: (A, L) eV, overwritten.
    """
    members, elements, layers = networks.weight_start.shape
    inputs, sorted_gradient, values, slopes = work
    flat_inputs, flat_gradient = inputs.reshape(inputs.size), sorted_gradient.reshape(inputs.size)
    no_curvatures = flat_inputs[:0]
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
            if member_weights[m] < 0.0:
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
                    celu(out[: rows * narrow], slopes[layer, : rows * narrow], no_curvatures)
                hidden, first = out, 0
            wide, start = networks.shape[e, layers - 1, 0], networks.weight_start[m, e, layers - 1]
            weights = networks.weights
            total = rows * np.float64(networks.biases[networks.bias_start[m, e, layers - 1]])
            for row in range(rows):
                total += sum_of_products(hidden, row * wide, weights, start, wide)
            energies[m] += total
            if member_weights[m] == 0.0:
                continue
            back = slopes[layers - 2]
            for row in range(rows):
                for n in range(wide):
                    back[row * wide + n] *= np.float32(member_weights[m]) * weights[start + n]
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
