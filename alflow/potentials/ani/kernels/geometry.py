"""Compiled loops over atoms, pairs and triples of one structure: descriptors, Jacobian, forces.

One pass over pairs and one over triples fill the descriptors and keep what depends on geometry alone; the Jacobian and
the forces are then contractions of what was kept. Every kernel releases the interpreter lock, so that threads can work
on different structures at once.

Kernels that call one another stand in one file: what numba has compiled and cached for a function is thrown away when
its own file changes, not when that of a function it calls does. And they are few and shallow: each level compiles all
below it once more.

A called function is optimised in its own library and once more in its caller's, and which of the two then runs depends
on what was compiled or loaded first. So none that others call may reorder sums or fuse products as the compiler likes:
the last bits would differ between a process that compiles and one that finds the cache. What gains by it is written out
in `simd_geometry`.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from alflow.potentials.ani.kernels.jacobian import FAST
from alflow.potentials.ani.kernels.simd_geometry import (
    add_block,
    add_pairs,
    contract_block,
    contract_pairs,
    evaluate_pairs,
    evaluate_triples,
    fill_angular,
    fill_radial,
)
from alflow.potentials.ani.kernels.workspace import Array, Functions, Workspace
from alflow.types import FloatArray, IntArray


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


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_pairs(positions: FloatArray, species: IntArray, functions: Functions, work: Workspace) -> None:
    """List the pairs within the radial cutoff, the atoms sorted by element."""
    cutoff, count = functions.scalars[0], len(functions.radial_marks)
    order, atoms, unit, parts = work.order, work.pair_atoms, work.pair_unit, work.pair_parts
    place = 0
    for element in range(len(functions.blocks)):
        for i in range(len(species)):
            if species[i] == element:
                order[place] = i
                place += 1
    pair = 0
    for first in range(len(species)):
        i = order[first]
        for second in range(first):
            j = order[second]
            x = positions[j, 0] - positions[i, 0]
            y = positions[j, 1] - positions[i, 1]
            z = positions[j, 2] - positions[i, 2]
            square = x * x + y * y + z * z
            if not square < cutoff * cutoff:
                continue
            distance = math.sqrt(square)
            inverse = 1.0 / distance
            atoms[pair, 0] = i
            atoms[pair, 1] = j
            atoms[pair, 2] = species[j] * count
            atoms[pair, 3] = species[i] * count
            unit[pair, 0] = x * inverse
            unit[pair, 1] = y * inverse
            unit[pair, 2] = z * inverse
            parts[0, pair] = distance
            pair += 1
    work.counts[0] = pair


@numba.njit(cache=True, nogil=True)
def _fill_one_by_one(eta: float, shifts: FloatArray, parts: FloatArray, count: int, gaussians: Array) -> None:
    """Fill exp(-η (r - s)²) for shifts that are not even; the distances r are the first row of `parts`."""
    for n in range(count):
        for m in range(len(shifts)):
            gaussians[n, m] = math.exp(-eta * (parts[0, n] - shifts[m]) ** 2)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pass_over_pairs(species: IntArray, functions: Functions, work: Workspace, vectors: Array) -> None:
    """Start (A, L) vectors with the radial functions, keep their slopes, and list the angular neighbours."""
    eta, near_cutoff = functions.scalars[1], functions.scalars[3]
    parts, pairs = work.pair_parts, work.counts[0]
    evaluate_pairs(functions, work, pairs)
    if functions.scalars[2] == 0.0:
        _fill_one_by_one(eta, functions.radial_shifts, parts, pairs, work.pair_slope)
    else:
        fill_radial(functions, work, pairs)
    for i in range(len(species)):
        for column in range(vectors.shape[1]):
            vectors[i, column] = 0.0
    add_pairs(functions, work, vectors, pairs)
    _list_neighbours(near_cutoff, pairs, work)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_neighbours(cutoff: float, pairs: int, work: Workspace) -> None:
    """List the angular neighbours of every atom."""
    atoms, units, parts, counts = work.pair_atoms, work.pair_unit, work.pair_parts, work.near_count
    near, near_unit, near_distance, near_cutoff = work.near_atom, work.near_unit, work.near_distance, work.near_cutoff
    for i in range(len(counts)):
        counts[i] = 0
    for pair in range(pairs):
        distance = parts[0, pair]
        if distance < cutoff:
            for side in range(2):
                centre, sign = atoms[pair, side], 1.0 - 2.0 * side
                row = counts[centre]
                near[centre, row] = atoms[pair, 1 - side]
                for axis in range(3):
                    near_unit[centre, row, axis] = sign * units[pair, axis]
                near_distance[centre, row] = distance
                near_cutoff[centre, row, 0] = parts[6, pair]
                near_cutoff[centre, row, 1] = parts[7, pair]
                near_cutoff[centre, row, 2] = 1.0 / distance
                counts[centre] = row + 1


@numba.njit(cache=True, nogil=True, inline="always")
def _end_of_element(species: IntArray, near: IntArray, i: int, start: int, count: int) -> int:
    """Return where the run of neighbours of `i` of one element ends that begins at `start`."""
    stop = start
    while stop < count and species[near[i, stop]] == species[near[i, start]]:
        stop += 1
    return stop


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_triples(species: IntArray, functions: Functions, work: Workspace) -> None:
    """List the triples of each centre by pairs of elements, with cosine, mean distance and product of the cutoffs."""
    columns, blocks, ends, parts = functions.blocks, work.blocks, work.triple_ends, work.triple_parts
    near, unit, distance, cutoff = work.near_atom, work.near_unit, work.near_distance, work.near_cutoff
    counts = work.near_count
    triple, block = 0, 0
    for i in range(len(species)):
        count, first_a = counts[i], 0
        while first_a < count:
            stop_a, first_b = _end_of_element(species, near, i, first_a, count), 0
            while first_b <= first_a:
                stop_b = _end_of_element(species, near, i, first_b, count)
                blocks[block, 0] = i
                blocks[block, 1] = columns[species[near[i, first_a]], species[near[i, first_b]]]
                blocks[block, 2] = triple
                for a in range(first_a, stop_a):
                    x, y, z = unit[i, a, 0], unit[i, a, 1], unit[i, a, 2]
                    half, envelope = 0.5 * distance[i, a], cutoff[i, a, 0]
                    for b in range(first_b, min(stop_b, a)):
                        ends[triple, 0] = a
                        ends[triple, 1] = b
                        parts[0, triple] = half + 0.5 * distance[i, b]
                        parts[4, triple] = x * unit[i, b, 0] + y * unit[i, b, 1] + z * unit[i, b, 2]
                        parts[5, triple] = envelope * cutoff[i, b, 0]
                        triple += 1
                blocks[block, 3] = triple
                block += 1
                first_b = stop_b
            first_a = stop_a
    work.counts[1] = triple
    work.counts[2] = block


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pass_over_triples(functions: Functions, work: Workspace, vectors: Array) -> None:
    """Set the angular functions of (A, L) vectors and keep their factors."""
    triples = work.counts[1]
    evaluate_triples(functions, work, triples)
    if functions.scalars[5] == 0.0:
        _fill_one_by_one(functions.scalars[4], functions.angular_shifts, work.triple_parts, triples, work.triple_radial)
    else:
        fill_angular(functions, work, triples)
    blocks = work.blocks
    for block in range(work.counts[2]):
        add_block(functions, work, vectors, blocks[block, 0], blocks[block, 1], blocks[block, 2], blocks[block, 3])


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
    _list_pairs(positions, species, functions, work)
    _pass_over_pairs(species, functions, work, vectors)
    _list_triples(species, functions, work)
    _pass_over_triples(functions, work, vectors)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _push_pairs(pairs: int, work: Workspace, forces: FloatArray) -> None:
    """Start (A, 3) forces with those along the pairs."""
    atoms, unit, sums = work.pair_atoms, work.pair_unit, work.pair_sums
    for i in range(len(forces)):
        for axis in range(3):
            forces[i, axis] = 0.0
    for pair in range(pairs):
        i, j, slope = atoms[pair, 0], atoms[pair, 1], sums[pair]
        for axis in range(3):
            push = slope * unit[pair, axis]
            forces[i, axis] += push
            forces[j, axis] -= push


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _push_triples(eta: float, blocks: int, work: Workspace, forces: FloatArray) -> None:
    """Add the forces of the triples to (A, 3) forces."""
    table, ends, parts, sums = work.blocks, work.triple_ends, work.triple_parts, work.triple_sums
    near, counts, unit, cutoff = work.near_atom, work.near_count, work.near_unit, work.near_cutoff
    push = work.near_force
    block = 0
    for i in range(len(forces)):
        for a in range(counts[i]):
            for axis in range(3):
                push[a, axis] = 0.0
        first = table[block, 2] if block < blocks else 0
        stop = first
        while block < blocks and table[block, 0] == i:
            stop = table[block, 3]
            block += 1
        triple = first
        while triple < stop:
            a = ends[triple, 0]
            x, y, z = unit[i, a, 0], unit[i, a, 1], unit[i, a, 2]
            near_envelope, near_slope, inverse = cutoff[i, a, 0], cutoff[i, a, 1], cutoff[i, a, 2]
            push_x, push_y, push_z = 0.0, 0.0, 0.0
            while triple < stop and ends[triple, 0] == a:
                b = ends[triple, 1]
                value, cosine, envelope = sums[0, triple], parts[4, triple], parts[5, triple]
                bend, stretch = sums[1, triple] * envelope, -eta * sums[2, triple] * envelope
                turn_a, turn_b = bend * inverse, bend * cutoff[i, b, 2]
                along_a = stretch + value * near_slope * cutoff[i, b, 0] - turn_a * cosine
                along_b = stretch + value * near_envelope * cutoff[i, b, 1] - turn_b * cosine
                push_x += along_a * x + turn_a * unit[i, b, 0]
                push_y += along_a * y + turn_a * unit[i, b, 1]
                push_z += along_a * z + turn_a * unit[i, b, 2]
                push[b, 0] += along_b * unit[i, b, 0] + turn_b * x
                push[b, 1] += along_b * unit[i, b, 1] + turn_b * y
                push[b, 2] += along_b * unit[i, b, 2] + turn_b * z
                triple += 1
            push[a, 0] += push_x
            push[a, 1] += push_y
            push[a, 2] += push_z
        for a in range(counts[i]):
            for axis in range(3):
                forces[near[i, a], axis] -= push[a, axis]
                forces[i, axis] += push[a, axis]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_forces(functions: Functions, work: Workspace, gradient: Array, forces: FloatArray) -> None:
    """Fill (A, 3) forces, from ∂E/∂G and what `fill_descriptors` kept.

    Args:
        functions: the symmetry functions.
        work: as `fill_descriptors` left it for this structure.
        gradient: (A, L) ∂E/∂G, eV.
        forces: (A, 3) eV/Å, overwritten.
    """
    pairs, blocks = work.counts[0], work.counts[2]
    contract_pairs(functions, work, gradient, pairs)
    table = work.blocks
    for block in range(blocks):
        contract_block(functions, work, gradient, table[block, 0], table[block, 1], table[block, 2], table[block, 3])
    _push_pairs(pairs, work, forces)
    _push_triples(functions.scalars[4], blocks, work, forces)


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
    eta, shifts = functions.scalars[4], functions.angular_shifts
    count, sections = len(functions.angular_marks), len(functions.section_marks)
    width = count * sections
    factors = np.empty((2, sections))
    base, block = 0, 0
    for i in range(len(species)):
        first = block
        while block < work.counts[2] and work.blocks[block, 0] == i:
            block += 1
        start, stop = (work.blocks[first, 2], work.blocks[block - 1, 3]) if block > first else (0, 0)
        for triple in range(start, stop):
            a, b = work.triple_ends[triple]
            for q in range(sections):
                factors[0, q] = work.triple_angular[q, triple]
                factors[1, q] = work.triple_angular[sections + q, triple]
            radial = work.triple_radial[triple]
            mean, cosine = work.triple_parts[0, triple], work.triple_parts[4, triple]
            near, far = work.near_cutoff[i, a], work.near_cutoff[i, b]
            column_a = species[work.near_atom[i, b]] * width
            column_b = species[work.near_atom[i, a]] * width
            for axis in range(3):
                u, v = work.near_unit[i, a, axis], work.near_unit[i, b, axis]
                turn_a = (v - cosine * u) * near[2] * near[0] * far[0]
                turn_b = (u - cosine * v) * far[2] * near[0] * far[0]
                row_a, row_b = blocks[base + a, axis, column_a:], blocks[base + b, axis, column_b:]
                for p in range(count):
                    stretch = -eta * (mean - shifts[p]) * near[0] * far[0]
                    along_a = (stretch + near[1] * far[0]) * u * radial[p]
                    along_b = (stretch + near[0] * far[1]) * v * radial[p]
                    across_a, across_b = turn_a * radial[p], turn_b * radial[p]
                    for q in range(sections):
                        row_a[p * sections + q] += along_a * factors[0, q] + across_a * factors[1, q]
                        row_b[p * sections + q] += along_b * factors[0, q] + across_b * factors[1, q]
        base += work.near_count[i]
