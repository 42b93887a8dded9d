"""Compiled loops: descriptors, their Jacobian, networks, forces.

One pass over pairs and one over triples fill the descriptors and keep what depends on geometry alone; the Jacobian and
the forces are then contractions of what was kept. The products of the networks are written out rather than given to a linear algebra library: with
a dozen rows an own loop is faster, needs no threads of its own, and gives the same bits on every run. Every kernel
releases the interpreter lock, so that threads can work on different structures at once.

All kernels that call one another stand in this one file: what numba has compiled and cached for a function is thrown away
when its own file changes, not when that of a function it calls does.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from alflow.potentials.ani.jacobian import Jacobian
from alflow.types import FloatArray, IntArray

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Allow vector sums and fused products; NaN and infinity keep their meaning, so that a blown-up trajectory shows."""

Array = npt.NDArray[Any]
SingleArray = npt.NDArray[np.float32]


class Functions(NamedTuple):
    """Parameters of the symmetry functions as the kernels take them."""

    scalars: FloatArray
    """[radial cutoff, radial η, radial step, angular cutoff, angular η, angular step]: see `_fill_gaussians`."""
    radial_shifts: FloatArray
    angular_shifts: FloatArray
    bends: FloatArray
    """(K + 1, 2, Q) angular factor and its slope at evenly spaced cosines from −1 to 1."""
    blocks: IntArray
    """(E, E) first column of each pair of elements."""


class Workspace(NamedTuple):
    """What the passes over one structure keep. N pairs, C the most angular neighbours of an atom, T triples."""

    counts: IntArray
    """[pairs, triples] of the structure in hand."""
    pair_atoms: IntArray
    """(N, 2)."""
    pair_unit: FloatArray
    """(N, 3) from the first atom to the second."""
    pair_slope: FloatArray
    """(N, R) derivatives of the radial functions with respect to the distance."""
    near_count: IntArray
    """(A,) neighbours within the angular cutoff."""
    near_atom: IntArray
    """(A, C)."""
    near_unit: FloatArray
    """(A, C, 3) from the centre to the neighbour."""
    near_distance: FloatArray
    """(A, C) Å."""
    near_cutoff: FloatArray
    """(A, C, 2) the cutoff function and its slope."""
    triple_angular: FloatArray
    """(T, 2, Q) the angular factor and its slope with respect to the cosine."""
    triple_radial: FloatArray
    """(T, P) the Gaussian factor."""
    triple_cosine: FloatArray
    """(T,) cosine of the angle."""
    near_force: FloatArray
    """(C, 3) derivatives with respect to the neighbours of one centre."""


GELU, CELU = 0, 1
"""Activations: Gaussian error linear unit, and CELU with α = 0.1 as the published ANI models have it."""


class PackedNetworks(NamedTuple):
    """All weights of an ensemble in flat arrays. M members, E elements, H layers."""

    activation: int
    layers: int
    shape: IntArray
    """(E, H, 2) inputs and outputs of each layer."""
    weight_start: IntArray
    """(M, E, H) first entry in `weights` and `turned`."""
    bias_start: IntArray
    """(M, E, H)."""
    weights: SingleArray
    """Each layer (inputs, outputs), one after the other."""
    turned: SingleArray
    """Each layer (outputs, inputs)."""
    biases: SingleArray


class Room(NamedTuple):
    """Arrays that one structure after the other is worked out in. A atoms, L functions, H layers."""

    vectors: FloatArray
    """(A, L)."""
    inputs: SingleArray
    """(A, L) sorted by element."""
    sorted_gradient: SingleArray
    """(A, L) sorted by element."""
    gradient: FloatArray
    """(A, L)."""
    values: SingleArray
    slopes: SingleArray
    """(H, V): see `layers.pass_through`."""
    energies: FloatArray
    """(M,) eV."""
    forces: FloatArray
    """(A, 3) eV/Å."""
    counts: IntArray
    """(1, 4): see `kernels.count_neighbours`."""


class Composition(NamedTuple):
    """What follows from the atomic numbers alone."""

    species: IntArray
    """(A,) rows of the elements."""
    order: IntArray
    """(A,) atoms sorted by element."""
    bounds: IntArray
    """(E + 1,) first sorted atom of each element."""


def make_workspace(atoms: int, pairs: int, neighbours: int, triples: int, functions: Functions) -> Workspace:
    """Allocate room for structures of at most these sizes."""
    radial, angular, sections = len(functions.radial_shifts), len(functions.angular_shifts), functions.bends.shape[2]
    neighbours, pairs, triples = max(neighbours, 1), max(pairs, 1), max(triples, 1)
    return Workspace(
        counts=np.zeros(2, np.int64),
        pair_atoms=np.zeros((pairs, 2), np.int64),
        pair_unit=np.zeros((pairs, 3)),
        pair_slope=np.zeros((pairs, radial)),
        near_count=np.zeros(atoms, np.int64),
        near_atom=np.zeros((atoms, neighbours), np.int64),
        near_unit=np.zeros((atoms, neighbours, 3)),
        near_distance=np.zeros((atoms, neighbours)),
        near_cutoff=np.zeros((atoms, neighbours, 2)),
        triple_angular=np.zeros((triples, 2, sections)),
        triple_radial=np.zeros((triples, angular)),
        triple_cosine=np.zeros(triples),
        near_force=np.zeros((neighbours, 3)),
    )


@numba.njit(cache=True, nogil=True)
def count_neighbours(positions: FloatArray, radial_cutoff: float, angular_cutoff: float, counts: IntArray) -> None:
    """Fill (F, 4) counts: pairs, most angular neighbours of an atom, triples, directed angular neighbours."""
    frames, atoms, _ = positions.shape
    near = np.zeros(atoms, np.int64)
    for frame in range(frames):
        near[:] = 0
        pairs = 0
        for i in range(atoms):
            for j in range(i):
                square = 0.0
                for axis in range(3):
                    square += (positions[frame, i, axis] - positions[frame, j, axis]) ** 2
                if square < radial_cutoff * radial_cutoff:
                    pairs += 1
                if square < angular_cutoff * angular_cutoff:
                    near[i] += 1
                    near[j] += 1
        counts[frame, 0] = pairs
        counts[frame, 1] = near.max()
        counts[frame, 2] = (near * (near - 1) // 2).sum()
        counts[frame, 3] = near.sum()


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _fill_gaussians(distance: float, eta: float, step: float, shifts: FloatArray, gaussians: FloatArray) -> None:
    """Fill exp(−η (r − s)²) for every shift.

    For even shifts s_m = s_0 + m h, each Gaussian is the one before times exp(2ηh(r − s_0)) exp(−ηh²(2m + 1)): two
    exponentials do for all. The little that a rounded shift is off enters to first order. A `step` of 0 says that
    the shifts are not even.
    """
    offset = distance - shifts[0]
    if step == 0.0:
        for m in range(len(shifts)):
            gaussians[m] = math.exp(-eta * (distance - shifts[m]) ** 2)
        return
    value = math.exp(-eta * offset * offset)
    ratio = math.exp(eta * step * (2.0 * offset - step))
    shrink = math.exp(-2.0 * eta * step * step)
    for m in range(len(shifts)):
        even = shifts[0] + step * m
        gaussians[m] = value * (1.0 + 2.0 * eta * (distance - even) * (shifts[m] - even))
        value *= ratio
        ratio *= shrink


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _fill_bend(cosine: float, bends: FloatArray, angular: FloatArray) -> None:
    """Fill the (2, Q) angular factor and its slope by cubic Hermite interpolation in the cosine.

    The slope is that of the interpolant, so that forces are the exact derivative of the energy.
    """
    intervals = len(bends) - 1
    width = 2.0 / intervals
    row = min(max(int((cosine + 1.0) / width), 0), intervals - 1)
    t = (cosine + 1.0) / width - row
    for q in range(bends.shape[2]):
        low, high = bends[row, 0, q], bends[row + 1, 0, q]
        low_slope, high_slope = width * bends[row, 1, q], width * bends[row + 1, 1, q]
        square = 3.0 * (high - low) - 2.0 * low_slope - high_slope
        cube = 2.0 * (low - high) + low_slope + high_slope
        angular[0, q] = low + t * (low_slope + t * (square + t * cube))
        angular[1, q] = (low_slope + t * (2.0 * square + 3.0 * t * cube)) / width


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _pass_over_pairs(
    positions: FloatArray, species: IntArray, functions: Functions, work: Workspace, vectors: Array
) -> None:
    """Add the radial functions to (A, L) vectors, keep their slopes, and list the angular neighbours."""
    cutoff, eta, step, near_cutoff = (
        functions.scalars[0],
        functions.scalars[1],
        functions.scalars[2],
        functions.scalars[3],
    )
    shifts = functions.radial_shifts
    count = len(shifts)
    work.near_count[:] = 0
    pair = 0
    for i in range(len(species)):
        for j in range(i):
            x = positions[j, 0] - positions[i, 0]
            y = positions[j, 1] - positions[i, 1]
            z = positions[j, 2] - positions[i, 2]
            square = x * x + y * y + z * z
            if not square < cutoff * cutoff:
                continue
            distance = math.sqrt(square)
            inverse = 1.0 / distance
            x, y, z = x * inverse, y * inverse, z * inverse
            phase = math.pi / cutoff
            envelope = 0.5 * math.cos(phase * distance) + 0.5
            slope = -0.5 * phase * math.sin(phase * distance)
            work.pair_atoms[pair, 0] = i
            work.pair_atoms[pair, 1] = j
            work.pair_unit[pair, 0] = x
            work.pair_unit[pair, 1] = y
            work.pair_unit[pair, 2] = z
            first_i = species[j] * count
            first_j = species[i] * count
            gaussians = work.pair_slope[pair]
            _fill_gaussians(distance, eta, step, shifts, gaussians)
            for m in range(count):
                gaussian = 0.25 * gaussians[m]
                value = gaussian * envelope
                vectors[i, first_i + m] += value
                vectors[j, first_j + m] += value
                gaussians[m] = gaussian * (slope - 2.0 * eta * (distance - shifts[m]) * envelope)
            pair += 1
            if square < near_cutoff * near_cutoff:
                phase = math.pi / near_cutoff
                envelope = 0.5 * math.cos(phase * distance) + 0.5
                slope = -0.5 * phase * math.sin(phase * distance)
                for centre, other, sign in ((i, j, 1.0), (j, i, -1.0)):
                    row = work.near_count[centre]
                    work.near_atom[centre, row] = other
                    work.near_unit[centre, row, 0] = sign * x
                    work.near_unit[centre, row, 1] = sign * y
                    work.near_unit[centre, row, 2] = sign * z
                    work.near_distance[centre, row] = distance
                    work.near_cutoff[centre, row, 0] = envelope
                    work.near_cutoff[centre, row, 1] = slope
                    work.near_count[centre] = row + 1
    work.counts[0] = pair


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _pass_over_triples(species: IntArray, functions: Functions, work: Workspace, vectors: Array) -> None:
    """Add the angular functions to (A, L) vectors and keep their factors."""
    eta, step = functions.scalars[4], functions.scalars[5]
    shifts = functions.angular_shifts
    count, sections = len(shifts), functions.bends.shape[2]
    triple = 0
    for i in range(len(species)):
        for a in range(1, work.near_count[i]):
            for b in range(a):
                u, v = work.near_unit[i, a], work.near_unit[i, b]
                cosine = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
                mean = 0.5 * (work.near_distance[i, a] + work.near_distance[i, b])
                envelope = work.near_cutoff[i, a, 0] * work.near_cutoff[i, b, 0]
                column = functions.blocks[species[work.near_atom[i, a]], species[work.near_atom[i, b]]]
                work.triple_cosine[triple] = cosine
                angular, radial = work.triple_angular[triple], work.triple_radial[triple]
                _fill_bend(cosine, functions.bends, angular)
                _fill_gaussians(mean, eta, step, shifts, radial)
                for p in range(count):
                    factor = radial[p] * envelope
                    for q in range(sections):
                        vectors[i, column] += factor * angular[0, q]
                        column += 1
                triple += 1
    work.counts[1] = triple


@numba.njit(cache=True, nogil=True)
def fill_descriptors(
    positions: FloatArray, species: IntArray, functions: Functions, work: Workspace, vectors: Array
) -> None:
    """Fill (A, L) descriptor vectors of one structure and keep in `work` what their derivatives need.

    Args:
        positions: (A, 3) Å.
        species: (A,) rows of the elements.
        functions: the symmetry functions.
        work: room for this structure.
        vectors: (A, L), overwritten.
    """
    vectors[:] = 0.0
    _pass_over_pairs(positions, species, functions, work, vectors)
    _pass_over_triples(species, functions, work, vectors)


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_forces(species: IntArray, functions: Functions, work: Workspace, gradient: Array, forces: FloatArray) -> None:
    """Subtract from (A, 3) forces the derivative of the energy, from ∂E/∂G and what `fill_descriptors` kept.

    Args:
        species: (A,) rows of the elements.
        functions: the symmetry functions.
        work: as `fill_descriptors` left it for this structure.
        gradient: (A, L) ∂E/∂G, eV.
        forces: (A, 3) eV/Å, added to.
    """
    count = len(functions.radial_shifts)
    for pair in range(work.counts[0]):
        i, j = work.pair_atoms[pair, 0], work.pair_atoms[pair, 1]
        first_i, first_j = species[j] * count, species[i] * count
        slope = 0.0
        for m in range(count):
            slope += (gradient[i, first_i + m] + gradient[j, first_j + m]) * work.pair_slope[pair, m]
        for axis in range(3):
            push = slope * work.pair_unit[pair, axis]
            forces[i, axis] += push
            forces[j, axis] -= push
    eta, shifts = functions.scalars[4], functions.angular_shifts
    count, sections = len(shifts), functions.bends.shape[2]
    triple = 0
    for i in range(len(species)):
        work.near_force[: work.near_count[i]] = 0.0
        for a in range(1, work.near_count[i]):
            for b in range(a):
                angular, radial = work.triple_angular[triple], work.triple_radial[triple]
                distance_a, distance_b = work.near_distance[i, a], work.near_distance[i, b]
                mean, cosine = 0.5 * (distance_a + distance_b), work.triple_cosine[triple]
                column = functions.blocks[species[work.near_atom[i, a]], species[work.near_atom[i, b]]]
                bend, value, stretch = 0.0, 0.0, 0.0
                for p in range(count):
                    inner, turned = 0.0, 0.0
                    for q in range(sections):
                        inner += gradient[i, column] * angular[0, q]
                        turned += gradient[i, column] * angular[1, q]
                        column += 1
                    bend += turned * radial[p]
                    value += inner * radial[p]
                    stretch += inner * radial[p] * (mean - shifts[p])
                near, far = work.near_cutoff[i, a], work.near_cutoff[i, b]
                bend *= near[0] * far[0]
                stretch *= -eta * near[0] * far[0]
                along_a = stretch + value * near[1] * far[0]
                along_b = stretch + value * near[0] * far[1]
                for axis in range(3):
                    u, v = work.near_unit[i, a, axis], work.near_unit[i, b, axis]
                    work.near_force[a, axis] += along_a * u + bend * (v - cosine * u) / distance_a
                    work.near_force[b, axis] += along_b * v + bend * (u - cosine * v) / distance_b
                triple += 1
        for a in range(work.near_count[i]):
            for axis in range(3):
                forces[work.near_atom[i, a], axis] -= work.near_force[a, axis]
                forces[i, axis] += work.near_force[a, axis]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_near_blocks(species: IntArray, functions: Functions, work: Workspace, blocks: Array) -> None:
    """Fill the angular part of the Jacobian: one block for each centre and each neighbour within the angular cutoff.

    Args:
        species: (A,) rows of the elements.
        functions: the symmetry functions.
        work: as `fill_descriptors` left it for this structure.
        blocks: (D, 3, E·B) ∂G_i/∂r_a, centre after centre; columns [element of the other neighbour, B functions].
            The derivative with respect to the centre is minus the sum over its neighbours.
    """
    eta, shifts = functions.scalars[4], functions.angular_shifts
    count, sections = len(shifts), functions.bends.shape[2]
    width = count * sections
    blocks[:] = 0.0
    triple, base = 0, 0
    for i in range(len(species)):
        for a in range(1, work.near_count[i]):
            for b in range(a):
                angular, radial = work.triple_angular[triple], work.triple_radial[triple]
                distance_a, distance_b = work.near_distance[i, a], work.near_distance[i, b]
                mean, cosine = 0.5 * (distance_a + distance_b), work.triple_cosine[triple]
                near, far = work.near_cutoff[i, a], work.near_cutoff[i, b]
                column_a = species[work.near_atom[i, b]] * width
                column_b = species[work.near_atom[i, a]] * width
                for axis in range(3):
                    u, v = work.near_unit[i, a, axis], work.near_unit[i, b, axis]
                    turn_a = (v - cosine * u) / distance_a * near[0] * far[0]
                    turn_b = (u - cosine * v) / distance_b * near[0] * far[0]
                    row_a, row_b = blocks[base + a, axis], blocks[base + b, axis]
                    column = 0
                    for p in range(count):
                        stretch = -eta * (mean - shifts[p]) * near[0] * far[0]
                        along_a = (stretch + near[1] * far[0]) * u * radial[p]
                        along_b = (stretch + near[0] * far[1]) * v * radial[p]
                        across_a, across_b = turn_a * radial[p], turn_b * radial[p]
                        for q in range(sections):
                            row_a[column_a + column] += along_a * angular[0, q] + across_a * angular[1, q]
                            row_b[column_b + column] += along_b * angular[0, q] + across_b * angular[1, q]
                            column += 1
                triple += 1
        base += work.near_count[i]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_product(a: SingleArray, b: SingleArray, out: SingleArray) -> None:
    """Add the product of (R, K) and (K, N) to (R, N).

    Three rows by eight columns of `a` at a time keep the sums of a vector of columns in registers.
    """
    rows, inner = a.shape
    columns = b.shape[1]
    whole = inner - inner % 8
    r = 0
    while r + 3 <= rows:
        o0, o1, o2 = out[r], out[r + 1], out[r + 2]
        for k in range(0, whole, 8):
            a00, a01, a02, a03 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            a04, a05, a06, a07 = a[r, k + 4], a[r, k + 5], a[r, k + 6], a[r, k + 7]
            a10, a11, a12, a13 = a[r + 1, k], a[r + 1, k + 1], a[r + 1, k + 2], a[r + 1, k + 3]
            a14, a15, a16, a17 = a[r + 1, k + 4], a[r + 1, k + 5], a[r + 1, k + 6], a[r + 1, k + 7]
            a20, a21, a22, a23 = a[r + 2, k], a[r + 2, k + 1], a[r + 2, k + 2], a[r + 2, k + 3]
            a24, a25, a26, a27 = a[r + 2, k + 4], a[r + 2, k + 5], a[r + 2, k + 6], a[r + 2, k + 7]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            b4, b5, b6, b7 = b[k + 4], b[k + 5], b[k + 6], b[k + 7]
            for n in range(columns):
                o0[n] += (
                    a00 * b0[n] + a01 * b1[n] + a02 * b2[n] + a03 * b3[n]
                    + a04 * b4[n] + a05 * b5[n] + a06 * b6[n] + a07 * b7[n]
                )  # fmt: skip
                o1[n] += (
                    a10 * b0[n] + a11 * b1[n] + a12 * b2[n] + a13 * b3[n]
                    + a14 * b4[n] + a15 * b5[n] + a16 * b6[n] + a17 * b7[n]
                )  # fmt: skip
                o2[n] += (
                    a20 * b0[n] + a21 * b1[n] + a22 * b2[n] + a23 * b3[n]
                    + a24 * b4[n] + a25 * b5[n] + a26 * b6[n] + a27 * b7[n]
                )  # fmt: skip
        for k in range(whole, inner):
            a0, a1, a2 = a[r, k], a[r + 1, k], a[r + 2, k]
            for n in range(columns):
                o0[n] += a0 * b[k, n]
                o1[n] += a1 * b[k, n]
                o2[n] += a2 * b[k, n]
        r += 3
    while r < rows:
        o0 = out[r]
        for k in range(0, whole, 8):
            a00, a01, a02, a03 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            a04, a05, a06, a07 = a[r, k + 4], a[r, k + 5], a[r, k + 6], a[r, k + 7]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            b4, b5, b6, b7 = b[k + 4], b[k + 5], b[k + 6], b[k + 7]
            for n in range(columns):
                o0[n] += (
                    a00 * b0[n] + a01 * b1[n] + a02 * b2[n] + a03 * b3[n]
                    + a04 * b4[n] + a05 * b5[n] + a06 * b6[n] + a07 * b7[n]
                )  # fmt: skip
        for k in range(whole, inner):
            a0 = a[r, k]
            for n in range(columns):
                o0[n] += a0 * b[k, n]
        r += 1


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def gelu_parts(x: float) -> tuple[float, float]:
    """Return Φ(x) and φ(x), the normal distribution and its density.

    φ(x) = exp(−x²/2)/√2π is a Taylor sum at x²/128 squared six times, and Φ(−|x|) = φ(x) M(|x|), with Mills' ratio M a
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
    """Replace flat values x by max(x, 0) + min(0.1 (exp(x/0.1) − 1), 0) and fill the slopes."""
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
def pass_through(
    networks: PackedNetworks,
    bounds: IntArray,
    inputs: SingleArray,
    shares: FloatArray,
    values: SingleArray,
    slopes: SingleArray,
    energies: FloatArray,
    gradient: SingleArray,
) -> None:
    """Fill the energy of every member, and the gradient of the shared energy with respect to the descriptors.

    Args:
        networks: of M members.
        bounds: (E + 1,) first row of each element in `inputs`.
        inputs: (A, L) descriptors, sorted by element.
        shares: (M,) how much of the gradient each member gives; a member with 0 is passed through forward only,
            one with a negative number is left out.
        values: (H, V) room for hidden values; V is the most rows of an element times the widest layer.
        slopes: (H, V) room for the slopes of the activations.
        energies: (M,) eV, overwritten.
        gradient: (A, L) eV, overwritten.
    """
    members, elements, layers = networks.weight_start.shape
    energies[:] = 0.0
    gradient[:] = 0.0
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
                out[:] = networks.biases[start : start + narrow]
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
                front[:] = np.float32(0.0)
                add_product(back, _layer(networks.turned, networks.weight_start[m, e, layer], narrow, wide), front)
                back = _layer(slopes[layer - 1], 0, rows, wide)
                for n in range(rows * wide):
                    slopes[layer - 1, n] *= values[layer - 1, n]
            wide, narrow = networks.shape[e, 0, 0], networks.shape[e, 0, 1]
            turned = _layer(networks.turned, networks.weight_start[m, e, 0], narrow, wide)
            add_product(back, turned, gradient[bounds[e] : bounds[e + 1]])


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gelu_to_second(values: SingleArray, slopes: SingleArray, curvatures: SingleArray) -> None:
    """Replace flat values x by x Φ(x), and fill the slopes and the curvatures φ(x) (2 − x²)."""
    for n in range(len(values)):
        x = np.float64(values[n])
        share, density = gelu_parts(x)
        values[n] = x * share
        slopes[n] = share + x * density
        curvatures[n] = density * (2.0 - min(x * x, 36.0))


@numba.njit(cache=True, nogil=True)
def fits(positions: FloatArray, functions: Functions, work: Workspace, room: Room) -> bool:
    """Say whether the workspace is large enough for (A, 3) positions."""
    count_neighbours(positions.reshape(1, -1, 3), functions.scalars[0], functions.scalars[3], room.counts)
    return (
        room.counts[0, 0] <= len(work.pair_atoms)
        and room.counts[0, 1] <= work.near_atom.shape[1]
        and room.counts[0, 2] <= len(work.triple_cosine)
    )


@numba.njit(cache=True, nogil=True)
def fill_inputs(
    positions: FloatArray, composition: Composition, functions: Functions, work: Workspace, room: Room
) -> None:
    """Work out the descriptors of (A, 3) positions."""
    fill_descriptors(positions, composition.species, functions, work, room.vectors)
    for row in range(len(composition.order)):
        room.inputs[row] = room.vectors[composition.order[row]]


@numba.njit(cache=True, nogil=True)
def fill_member(
    composition: Composition,
    functions: Functions,
    networks: PackedNetworks,
    shares: FloatArray,
    work: Workspace,
    room: Room,
) -> None:
    """Work out energies (M,) and the forces (A, 3) of the shared energy, after `fill_inputs`."""
    pass_through(
        networks, composition.bounds, room.inputs, shares, room.values, room.slopes, room.energies, room.sorted_gradient
    )
    for row in range(len(composition.order)):
        room.gradient[composition.order[row]] = room.sorted_gradient[row]
    room.forces[:] = 0.0
    fill_forces(composition.species, functions, work, room.gradient, room.forces)


@numba.njit(cache=True, nogil=True)
def step(
    positions: FloatArray,
    composition: Composition,
    functions: Functions,
    networks: PackedNetworks,
    shares: FloatArray,
    work: Workspace,
    room: Room,
) -> bool:
    """Work out energies (M,) and forces (A, 3) in `room`; False if the workspace is too small."""
    if not fits(positions, functions, work, room):
        return False
    fill_inputs(positions, composition, functions, work, room)
    fill_member(composition, functions, networks, shares, work, room)
    return True


@numba.njit(cache=True, nogil=True)
def descriptors_of(
    positions: FloatArray, species: IntArray, functions: Functions, work: Workspace, vectors: Array
) -> None:
    for frame in range(len(positions)):
        fill_descriptors(positions[frame], species, functions, work, vectors[frame])


@numba.njit(cache=True, nogil=True)
def forces_of(
    positions: FloatArray,
    species: IntArray,
    functions: Functions,
    work: Workspace,
    gradient: Array,
    forces: FloatArray,
) -> None:
    vectors = np.zeros((len(species), gradient.shape[2]))
    for frame in range(len(positions)):
        fill_descriptors(positions[frame], species, functions, work, vectors)
        fill_forces(species, functions, work, gradient[frame], forces[frame])


@numba.njit(cache=True, nogil=True)
def jacobian_of(
    positions: FloatArray, functions: Functions, work: Workspace, vectors: Array, first: int, jacobian: Jacobian
) -> None:
    """Fill the rows of the frames from `first` on in (n, L) vectors of all atoms and in the Jacobian."""
    atoms = positions.shape[1]
    for frame in range(len(positions)):
        at = first + frame
        atom = jacobian.atom_start[at]
        species = jacobian.species[atom : atom + atoms]
        fill_descriptors(positions[frame], species, functions, work, vectors[atom : atom + atoms])
        start, stop = jacobian.pair_start[at], jacobian.pair_start[at + 1]
        jacobian.pair_atoms[start:stop] = work.pair_atoms[: stop - start]
        jacobian.pair_unit[start:stop] = work.pair_unit[: stop - start]
        jacobian.pair_slope[start:stop] = work.pair_slope[: stop - start]
        near = jacobian.near_start[atom]
        begin = near
        for i in range(atoms):
            for row in range(work.near_count[i]):
                jacobian.near_atom[near] = work.near_atom[i, row]
                near += 1
            jacobian.near_start[atom + i + 1] = near
        fill_near_blocks(species, functions, work, jacobian.near_block[begin:near])


@numba.njit(cache=True, nogil=True)
def evaluate_frames(
    positions: FloatArray,
    composition: Composition,
    functions: Functions,
    networks: PackedNetworks,
    work: Workspace,
    room: Room,
    energies: FloatArray,
    forces: FloatArray,
) -> None:
    """Fill energies (F, M) and forces (F, M, A, 3); the descriptors of a frame are worked out once for all members."""
    members = energies.shape[1]
    shares = np.zeros(members)
    for frame in range(len(positions)):
        fill_inputs(positions[frame], composition, functions, work, room)
        for member in range(members):
            shares[:] = -1.0
            shares[member] = 1.0
            fill_member(composition, functions, networks, shares, work, room)
            forces[frame, member] = room.forces
            energies[frame, member] = room.energies[member]
