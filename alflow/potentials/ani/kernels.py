"""Compiled loops over atoms, pairs and triples of one structure: descriptors, Jacobian, forces.

One pass over pairs and one over triples fill the descriptors and keep what depends on geometry alone; the Jacobian and
the forces are then contractions of what was kept. Every kernel releases the interpreter lock, so that threads can work
on different structures at once.

Kernels that call one another stand in one file: what numba has compiled and cached for a function is thrown away when
its own file changes, not when that of a function it calls does. And they are few and shallow: each level compiles all
below it once more.

What they call with reassociation allowed is inlined before LLVM sees it. A called function is optimised in its own
library and once more in its caller's, and which of the two then runs depends on what was compiled or loaded first: the
last bits would differ between a process that compiles and one that finds the cache.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from alflow.potentials.ani.jacobian import FAST
from alflow.types import FloatArray, IntArray

Array = npt.NDArray[Any]


class Functions(NamedTuple):
    """Parameters of the symmetry functions as the kernels take them."""

    scalars: FloatArray
    """[cutoff, η, step, shrink] of the radial functions, then of the angular: see `_fill_gaussians`."""
    radial_shifts: FloatArray
    angular_shifts: FloatArray
    bends: FloatArray
    """(K + 1, 2, Q) angular factor and its slope at evenly spaced cosines from -1 to 1."""
    blocks: IntArray
    """(E, E) first column of each pair of elements."""
    radial_marks: tuple[int, ...]
    angular_marks: tuple[int, ...]
    section_marks: tuple[int, ...]
    """As many as there are shifts and sections: the length of a tuple is known when a kernel is compiled, so that its
    inner loops are unrolled."""


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
    """Fill (F, 4) counts: pairs, most angular neighbours of an atom, triples, directed angular neighbours.

    Pairs are counted as -1 where a distance is not finite.
    """
    frames, atoms, _ = positions.shape
    near = np.empty(atoms, np.int64)
    for frame in range(frames):
        pairs, most, triples, total, broken = 0, 0, 0, 0, False
        for i in range(atoms):
            near[i] = 0
        for i in range(atoms):
            for j in range(i):
                square = 0.0
                for axis in range(3):
                    offset = positions[frame, i, axis] - positions[frame, j, axis]
                    square += offset * offset
                if square < radial_cutoff * radial_cutoff:
                    pairs += 1
                if square < angular_cutoff * angular_cutoff:
                    near[i] += 1
                    near[j] += 1
                if not square < math.inf:
                    broken = True
        for i in range(atoms):
            most = max(most, near[i])
            triples += near[i] * (near[i] - 1) // 2
            total += near[i]
        counts[frame, 0] = -1 if broken else pairs
        counts[frame, 1] = most
        counts[frame, 2] = triples
        counts[frame, 3] = total


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _fill_gaussians(
    distance: float, scalars: FloatArray, first: int, shifts: FloatArray, count: int, gaussians: FloatArray
) -> None:
    """Fill exp(-η (r - s)²) for every shift.

    For even shifts s_m = s_0 + m h, each Gaussian is the one before times exp(2ηh(r - s_0)) exp(-ηh²(2m + 1)): two
    exponentials do for all, and `shrink` = exp(-2ηh²). The little that a rounded shift is off enters to first order.
    A `step` h of 0 says that the shifts are not even. Parameters stand in `scalars` from `first` + 1 on.
    """
    eta, step, shrink = scalars[first + 1], scalars[first + 2], scalars[first + 3]
    offset = distance - shifts[0]
    if step == 0.0:
        for m in range(count):
            gaussians[m] = math.exp(-eta * (distance - shifts[m]) ** 2)
        return
    value = math.exp(-eta * offset * offset)
    ratio = math.exp(eta * step * (2.0 * offset - step))
    for m in range(count):
        even = shifts[0] + step * m
        gaussians[m] = value * (1.0 + 2.0 * eta * (distance - even) * (shifts[m] - even))
        value *= ratio
        ratio *= shrink


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _fill_bend(cosine: float, bends: FloatArray, sections: int, angular: FloatArray) -> None:
    """Fill the (2, Q) angular factor and its slope by cubic Hermite interpolation in the cosine.

    The slope is that of the interpolant, so that forces are the exact derivative of the energy.
    """
    intervals = len(bends) - 1
    width = 2.0 / intervals
    row = min(max(int((cosine + 1.0) / width), 0), intervals - 1)
    t = (cosine + 1.0) / width - row
    for q in range(sections):
        low, high = bends[row, 0, q], bends[row + 1, 0, q]
        low_slope, high_slope = width * bends[row, 1, q], width * bends[row + 1, 1, q]
        square = 3.0 * (high - low) - 2.0 * low_slope - high_slope
        cube = 2.0 * (low - high) + low_slope + high_slope
        angular[0, q] = low + t * (low_slope + t * (square + t * cube))
        angular[1, q] = (low_slope + t * (2.0 * square + 3.0 * t * cube)) / width


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _pass_over_pairs(
    positions: FloatArray, species: IntArray, functions: Functions, work: Workspace, vectors: Array
) -> None:
    """Start (A, L) vectors with the radial functions, keep their slopes, and list the angular neighbours."""
    cutoff, eta, near_cutoff = functions.scalars[0], functions.scalars[1], functions.scalars[4]
    shifts = functions.radial_shifts
    count = len(functions.radial_marks)
    pair = 0
    for i in range(len(species)):
        work.near_count[i] = 0
        for column in range(vectors.shape[1]):
            vectors[i, column] = 0.0
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
            _fill_gaussians(distance, functions.scalars, 0, shifts, count, gaussians)
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


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy", inline="always")
def _pass_over_triples(species: IntArray, functions: Functions, work: Workspace, vectors: Array) -> None:
    """Add the angular functions to (A, L) vectors and keep their factors."""
    shifts = functions.angular_shifts
    count, sections = len(functions.angular_marks), len(functions.section_marks)
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
                _fill_bend(cosine, functions.bends, sections, angular)
                _fill_gaussians(mean, functions.scalars, 4, shifts, count, radial)
                row = vectors[i, column:]
                for p in range(count):
                    factor = radial[p] * envelope
                    for q in range(sections):
                        row[p * sections + q] += factor * angular[0, q]
                triple += 1
    work.counts[1] = triple


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
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
    _pass_over_pairs(positions, species, functions, work, vectors)
    _pass_over_triples(species, functions, work, vectors)


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_forces(  # noqa: C901, PLR0912 - a kernel
    species: IntArray, functions: Functions, work: Workspace, gradient: Array, forces: FloatArray
) -> None:
    """Fill (A, 3) forces, from ∂E/∂G and what `fill_descriptors` kept.

    Args:
        species: (A,) rows of the elements.
        functions: the symmetry functions.
        work: as `fill_descriptors` left it for this structure.
        gradient: (A, L) ∂E/∂G, eV.
        forces: (A, 3) eV/Å, overwritten.
    """
    for i in range(len(species)):
        for axis in range(3):
            forces[i, axis] = 0.0
    count = len(functions.radial_marks)
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
    eta, shifts = functions.scalars[5], functions.angular_shifts
    count, sections = len(functions.angular_marks), len(functions.section_marks)
    triple = 0
    for i in range(len(species)):
        for a in range(work.near_count[i]):
            for axis in range(3):
                work.near_force[a, axis] = 0.0
        for a in range(1, work.near_count[i]):
            for b in range(a):
                angular, radial = work.triple_angular[triple], work.triple_radial[triple]
                distance_a, distance_b = work.near_distance[i, a], work.near_distance[i, b]
                mean, cosine = 0.5 * (distance_a + distance_b), work.triple_cosine[triple]
                column = functions.blocks[species[work.near_atom[i, a]], species[work.near_atom[i, b]]]
                bend, value, stretch = 0.0, 0.0, 0.0
                row = gradient[i, column:]
                for p in range(count):
                    inner, turned = 0.0, 0.0
                    for q in range(sections):
                        inner += row[p * sections + q] * angular[0, q]
                        turned += row[p * sections + q] * angular[1, q]
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
        blocks: (D, 3, E·B) ∂G_i/∂r_a, centre after centre, 0 before the call; columns [element of the other neighbour,
            B functions].
            The derivative with respect to the centre is minus the sum over its neighbours.
    """
    eta, shifts = functions.scalars[5], functions.angular_shifts
    count, sections = len(functions.angular_marks), len(functions.section_marks)
    width = count * sections
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
                    row_a, row_b = blocks[base + a, axis, column_a:], blocks[base + b, axis, column_b:]
                    for p in range(count):
                        stretch = -eta * (mean - shifts[p]) * near[0] * far[0]
                        along_a = (stretch + near[1] * far[0]) * u * radial[p]
                        along_b = (stretch + near[0] * far[1]) * v * radial[p]
                        across_a, across_b = turn_a * radial[p], turn_b * radial[p]
                        for q in range(sections):
                            row_a[p * sections + q] += along_a * angular[0, q] + across_a * angular[1, q]
                            row_b[p * sections + q] += along_b * angular[0, q] + across_b * angular[1, q]
                triple += 1
        base += work.near_count[i]
