"""Passes of a training through the networks of one element: forward, backward, tangent and reverse.

`training.passes` is their specification. Here rows and tangents stand one below the other, and so does what multiplies
them, so that a weight's gradient is one product: Xᵀ δ + Tᵀ β = [X; T]ᵀ [δ; β].
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.kernels.activations import GELU, celu, gelu_to_second
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.gemm import multiply, pack, pack_transposed, panels_size
from alflow.types import IntArray

MEMBER, ELEMENT, FIRST, ROWS, BASE, SLOT = range(6)
"""Columns of the table of jobs: member, element, its first row, rows, first number in the workspace, gradient slot."""


class Shapes(NamedTuple):
    """Where everything stands. M members, E elements, H hidden layers."""

    activation: int
    widths: IntArray
    """(E, H + 1) width of the descriptors and of each hidden layer."""
    weight_start: IntArray
    """(M, E, H + 1) first entry of each layer, the last one included, in the flat weights."""
    bias_start: IntArray
    """(M, E, H + 1) first entry of the biases of each layer."""
    panel_start: IntArray
    """(M, E, H, 2) first entry of the panels of each layer, and of its transpose."""


@numba.njit(cache=True, nogil=True)
def row_size(widths: IntArray) -> int:
    """Return how many numbers a job keeps for each of its rows, for widths (H + 1,) of its element."""
    total: int = 0
    widest: int = 0
    for width in widths:
        total += 6 * width
        widest = max(widest, width)
    return int(total + widest + 2 * panels_size(1, widest))


@numba.njit(cache=True, nogil=True)
def _lay_out(widths: IntArray, base: int, rows: int, offsets: IntArray) -> None:
    """Fill (H + 2, 4) offsets in the workspace of a job.

    For each layer [rows and tangents, what multiplies them in a gradient, slopes, curvatures]; at the end of the first
    column a layer to spare, and panels.
    """
    widest = 0
    for layer, width in enumerate(widths):
        for part, size in enumerate((2, 2, 1, 1)):
            offsets[layer, part] = base
            base += size * rows * width
        widest = max(widest, width)
    offsets[len(widths), 0] = base
    offsets[len(widths), 1] = base + rows * widest


@numba.njit(cache=True, nogil=True)
def pack_weights(shapes: Shapes, weights: SingleArray, panels: SingleArray, start: int, stop: int) -> None:
    """Pack all hidden layers and their transposes; (member, element) `start` to `stop`, counted through."""
    _, elements, layers, _ = shapes.panel_start.shape
    for job in range(start, stop):
        m, e = job // elements, job % elements
        for layer in range(layers):
            wide, narrow = shapes.widths[e, layer], shapes.widths[e, layer + 1]
            weight_offset = shapes.weight_start[m, e, layer]
            pack(weights, weight_offset, wide, narrow, panels, shapes.panel_start[m, e, layer, 0])
            pack_transposed(weights, weight_offset, wide, narrow, panels, shapes.panel_start[m, e, layer, 1])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def forward(
    shapes: Shapes,
    jobs: IntArray,
    weights: SingleArray,
    panels: SingleArray,
    vectors: SingleArray,
    shift: SingleArray,
    scale: SingleArray,
    work: SingleArray,
    atomic: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill the energies of the rows of the jobs `start` to `stop`, and keep values, slopes and curvatures.

    Args:
        shapes: of the networks.
        jobs: (J, 6) table: see `MEMBER`.
        weights: flat weights and biases.
        panels: as `pack_weights` left them.
        vectors: (M, R, L) descriptors.
        shift: (E, L) of the descriptors: see `scaling.Scaling`.
        scale: (E, L).
        work: numbers that the jobs work in.
        atomic: (M, R) energies, eV, overwritten.
        start: first job to do.
        stop: end of the jobs to do.
    """
    layers = shapes.panel_start.shape[2]
    offsets = np.empty((layers + 2, 4), np.int64)
    for job in range(start, stop):
        m, e, first, rows = jobs[job, MEMBER], jobs[job, ELEMENT], jobs[job, FIRST], jobs[job, ROWS]
        widths = shapes.widths[e]
        _lay_out(widths, jobs[job, BASE], rows, offsets)
        for r in range(rows):
            target = work[offsets[0, 0] + r * widths[0] :]
            source = vectors[m, first + r]
            for n in range(widths[0]):
                target[n] = (source[n] - shift[e, n]) * scale[e, n]
        for layer in range(layers):
            wide, narrow = widths[layer], widths[layer + 1]
            here = offsets[layer + 1, 0]
            bias = weights[shapes.bias_start[m, e, layer] :]
            for r in range(rows):
                target = work[here + r * narrow :]
                for n in range(narrow):
                    target[n] = bias[n]
            panel = shapes.panel_start[m, e, layer, 0]
            multiply(False, work, offsets[layer, 0], wide, rows, wide, panels, panel, narrow, work, here, True)
            size = rows * narrow
            slope, curvature = offsets[layer + 1, 2], offsets[layer + 1, 3]
            values, slopes, curvatures = (
                work[here : here + size],
                work[slope : slope + size],
                work[curvature : curvature + size],
            )
            if shapes.activation == GELU:
                gelu_to_second(values, slopes, curvatures)
            else:
                celu(values, slopes, curvatures)
        last = weights[shapes.weight_start[m, e, layers] :]
        for r in range(rows):
            values = work[offsets[layers, 0] + r * widths[layers] :]
            energy = weights[shapes.bias_start[m, e, layers]]
            for n in range(widths[layers]):
                energy += values[n] * last[n]
            atomic[m, first + r] = energy


@numba.njit(cache=True, nogil=True, error_model="numpy")
def backward(
    shapes: Shapes,
    jobs: IntArray,
    weights: SingleArray,
    panels: SingleArray,
    scale: SingleArray,
    work: SingleArray,
    slope: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill ∂E/∂G (M, R, L), and keep ∂E/∂z and ∂E/∂a · curvature; arguments as for `forward`, which comes before."""
    layers = shapes.panel_start.shape[2]
    offsets = np.empty((layers + 2, 4), np.int64)
    for job in range(start, stop):
        m, e, first, rows = jobs[job, MEMBER], jobs[job, ELEMENT], jobs[job, FIRST], jobs[job, ROWS]
        widths = shapes.widths[e]
        _lay_out(widths, jobs[job, BASE], rows, offsets)
        spare = offsets[layers + 1, 0]
        last = weights[shapes.weight_start[m, e, layers] :]
        width = widths[layers]
        for r in range(rows):
            target = work[spare + r * width :]
            for n in range(width):
                target[n] = last[n]
        for layer in range(layers, 0, -1):
            width, size = widths[layer], rows * widths[layer]
            before, slopes = work[offsets[layer, 1] + size :], work[offsets[layer, 2] :]
            curvatures, after = work[offsets[layer, 3] :], work[spare:]
            for n in range(size):
                before[n] = after[n] * slopes[n]
                curvatures[n] *= after[n]
            panel = shapes.panel_start[m, e, layer - 1, 1]
            below = offsets[layer, 1] + size
            multiply(False, work, below, width, rows, width, panels, panel, widths[layer - 1], work, spare, False)
        for r in range(rows):
            source, target = work[spare + r * widths[0] :], slope[m, first + r]
            for n in range(widths[0]):
                target[n] = source[n] * scale[e, n]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def reverse(  # noqa: C901, PLR0912 - a kernel
    shapes: Shapes,
    jobs: IntArray,
    weights: SingleArray,
    panels: SingleArray,
    scale: SingleArray,
    work: SingleArray,
    seeds: SingleArray,
    direction: SingleArray,
    with_forces: bool,
    gradient: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill the gradient of Σ seed · E + (∂E along `direction`) with respect to the weights of the jobs.

    Args:
        shapes: of the networks.
        jobs: (J, 6) table.
        weights: flat weights and biases.
        panels: as `pack_weights` left them.
        scale: (E, L).
        work: as `forward` and `backward` left it.
        seeds: (M, R) ∂L/∂E of each row; 0 in padding.
        direction: (M, R, L); not read if there are no forces.
        with_forces: whether the loss has a force part.
        gradient: (slots, flat), what belongs to the jobs overwritten.
        start: first job to do.
        stop: end of the jobs to do.
    """
    layers = shapes.panel_start.shape[2]
    offsets = np.empty((layers + 2, 4), np.int64)
    for job in range(start, stop):
        m, e, first, rows = jobs[job, MEMBER], jobs[job, ELEMENT], jobs[job, FIRST], jobs[job, ROWS]
        widths, out = shapes.widths[e], gradient[jobs[job, SLOT]]
        _lay_out(widths, jobs[job, BASE], rows, offsets)
        spare, packed = offsets[layers + 1, 0], offsets[layers + 1, 1]
        if with_forces:
            for r in range(rows):
                target, source = work[offsets[0, 0] + (rows + r) * widths[0] :], direction[m, first + r]
                for n in range(widths[0]):
                    target[n] = source[n] * scale[e, n]
            for layer in range(layers):
                wide, narrow = widths[layer], widths[layer + 1]
                below, here = offsets[layer, 0] + rows * wide, offsets[layer + 1, 0] + rows * narrow
                panel = shapes.panel_start[m, e, layer, 0]
                multiply(False, work, below, wide, rows, wide, panels, panel, narrow, work, here, False)
                tangents, slopes, curvatures = work[here:], work[offsets[layer + 1, 2] :], work[offsets[layer + 1, 3] :]
                for n in range(rows * narrow):
                    curvatures[n] *= tangents[n]
                    tangents[n] *= slopes[n]
        width, size = widths[layers], rows * widths[layers]
        last = weights[shapes.weight_start[m, e, layers] :]
        last_gradient = out[shapes.weight_start[m, e, layers] :]
        total = np.float32(0.0)
        for n in range(width):
            last_gradient[n] = np.float32(0.0)
        for r in range(rows):
            seed = seeds[m, first + r]
            total += seed
            values, tangents = work[offsets[layers, 0] + r * width :], work[offsets[layers, 0] + size + r * width :]
            after = work[spare + r * width :]
            for n in range(width):
                last_gradient[n] += values[n] * seed
                after[n] = last[n] * seed
            if with_forces:
                for n in range(width):
                    last_gradient[n] += tangents[n]
        out[shapes.bias_start[m, e, layers]] = total
        for layer in range(layers, 0, -1):
            wide, width, size = widths[layer - 1], widths[layer], rows * widths[layer]
            before, after = work[offsets[layer, 1] :], work[spare:]
            slopes, curvatures = work[offsets[layer, 2] :], work[offsets[layer, 3] :]
            if with_forces:
                for n in range(size):
                    before[n] = after[n] * slopes[n] + curvatures[n]
            else:
                for n in range(size):
                    before[n] = after[n] * slopes[n]
            bias_gradient = out[shapes.bias_start[m, e, layer - 1] :]
            for n in range(width):
                bias_gradient[n] = np.float32(0.0)
            for r in range(rows):
                row = before[r * width :]
                for n in range(width):
                    bias_gradient[n] += row[n]
            depth = 2 * rows if with_forces else rows
            pack(work, offsets[layer, 1], depth, width, work, packed)
            weight_offset = shapes.weight_start[m, e, layer - 1]
            multiply(
                True, work, offsets[layer - 1, 0], wide, wide, depth, work, packed, width, out, weight_offset, False
            )
            if layer > 1:
                panel = shapes.panel_start[m, e, layer - 1, 1]
                multiply(False, work, offsets[layer, 1], width, rows, width, panels, panel, wide, work, spare, False)
