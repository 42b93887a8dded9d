"""Loops over the atoms, pairs and triples of one structure: descriptors, Jacobian, forces.

One pass over pairs and one over triples fill the descriptors and keep what depends on geometry alone; the Jacobian and
the forces are then contractions of what was kept.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from alflow.potentials.ani.kernels.arrays import FAST, Array
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
from alflow.potentials.ani.kernels.workspace import (
    ANGULAR_CUTOFF,
    ANGULAR_ETA,
    ANGULAR_STEP,
    RADIAL_CUTOFF,
    RADIAL_ETA,
    RADIAL_STEP,
    Functions,
    Workspace,
)
from alflow.types import FloatArray, IntArray


@numba.njit(cache=True, nogil=True)
def count_neighbours(positions: FloatArray, radial_cutoff: float, angular_cutoff: float, counts: IntArray) -> None:
    """Fill (F, 4) counts: pairs, most angular neighbours of an atom, triples, directed angular neighbours.

    Pairs are counted as -1 where a distance is not finite.
    """
    frames, atoms, _ = positions.shape
    neighbours = np.empty(atoms, np.int64)
    for frame in range(frames):
        pairs, most, triples, total, not_finite = 0, 0, 0, 0, False
        for i in range(atoms):
            neighbours[i] = 0
        for i in range(atoms):
            for j in range(i):
                square = 0.0
                for axis in range(3):
                    offset = positions[frame, i, axis] - positions[frame, j, axis]
                    square += offset * offset
                if square < radial_cutoff * radial_cutoff:
                    pairs += 1
                if square < angular_cutoff * angular_cutoff:
                    neighbours[i] += 1
                    neighbours[j] += 1
                if not square < math.inf:
                    not_finite = True
        for i in range(atoms):
            most = max(most, neighbours[i])
            triples += neighbours[i] * (neighbours[i] - 1) // 2
            total += neighbours[i]
        counts[frame, 0] = -1 if not_finite else pairs
        counts[frame, 1] = most
        counts[frame, 2] = triples
        counts[frame, 3] = total


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_pairs(positions: FloatArray, species: IntArray, functions: Functions, work: Workspace) -> None:
    """List the pairs within the radial cutoff, the atoms sorted by element."""
    cutoff, count = functions.scalars[RADIAL_CUTOFF], len(functions.static_radial)
    order, atoms, unit, parts = work.order, work.pair_atoms, work.pair_unit, work.pair_parts
    position = 0
    for element in range(len(functions.pair_columns)):
        for i in range(len(species)):
            if species[i] == element:
                order[position] = i
                position += 1
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
def _fill_uneven(eta: float, shifts: FloatArray, parts: FloatArray, count: int, gaussians: Array) -> None:
    """Fill exp(-η (r - s)²) for shifts that are not even; the distances r are the first row of `parts`."""
    for n in range(count):
        for m in range(len(shifts)):
            gaussians[n, m] = math.exp(-eta * (parts[0, n] - shifts[m]) ** 2)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pass_over_pairs(species: IntArray, functions: Functions, work: Workspace, vectors: Array) -> None:
    """Start (A, L) vectors with the radial functions, keep their slopes, and list the angular neighbours."""
    eta, angular_cutoff = functions.scalars[RADIAL_ETA], functions.scalars[ANGULAR_CUTOFF]
    parts, pairs = work.pair_parts, work.counts[0]
    evaluate_pairs(functions, work, pairs)
    if functions.scalars[RADIAL_STEP] == 0.0:
        _fill_uneven(eta, functions.radial_shifts, parts, pairs, work.pair_slope)
    else:
        fill_radial(functions, work, pairs)
    for i in range(len(species)):
        for column in range(vectors.shape[1]):
            vectors[i, column] = 0.0
    add_pairs(functions, work, vectors, pairs)
    _list_neighbours(angular_cutoff, pairs, work)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_neighbours(cutoff: float, pairs: int, work: Workspace) -> None:
    """List the angular neighbours of every atom."""
    atoms, units, parts, counts = work.pair_atoms, work.pair_unit, work.pair_parts, work.neighbour_count
    neighbour, unit = work.neighbour_atom, work.neighbour_unit
    distances, cutoffs = work.neighbour_distance, work.neighbour_cutoff
    for i in range(len(counts)):
        counts[i] = 0
    for pair in range(pairs):
        distance = parts[0, pair]
        if distance < cutoff:
            for side in range(2):
                centre, sign = atoms[pair, side], 1.0 - 2.0 * side
                row = counts[centre]
                neighbour[centre, row] = atoms[pair, 1 - side]
                for axis in range(3):
                    unit[centre, row, axis] = sign * units[pair, axis]
                distances[centre, row] = distance
                cutoffs[centre, row, 0] = parts[6, pair]
                cutoffs[centre, row, 1] = parts[7, pair]
                cutoffs[centre, row, 2] = 1.0 / distance
                counts[centre] = row + 1


@numba.njit(cache=True, nogil=True, inline="always")
def _end_of_element(species: IntArray, neighbour: IntArray, i: int, start: int, count: int) -> int:
    """Return where the run of neighbours of `i` of one element ends that begins at `start`."""
    stop = start
    while stop < count and species[neighbour[i, stop]] == species[neighbour[i, start]]:
        stop += 1
    return stop


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _list_triples(species: IntArray, functions: Functions, work: Workspace) -> None:
    """List the triples of each centre by pairs of elements, with cosine, mean distance and product of the cutoffs."""
    columns, blocks, ends, parts = functions.pair_columns, work.blocks, work.triple_ends, work.triple_parts
    neighbour, unit, counts = work.neighbour_atom, work.neighbour_unit, work.neighbour_count
    distance, cutoff = work.neighbour_distance, work.neighbour_cutoff
    triple, block = 0, 0
    for i in range(len(species)):
        count, first_a = counts[i], 0
        while first_a < count:
            stop_a, first_b = _end_of_element(species, neighbour, i, first_a, count), 0
            while first_b <= first_a:
                stop_b = _end_of_element(species, neighbour, i, first_b, count)
                blocks[block, 0] = i
                blocks[block, 1] = columns[species[neighbour[i, first_a]], species[neighbour[i, first_b]]]
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
    if functions.scalars[ANGULAR_STEP] == 0.0:
        _fill_uneven(
            functions.scalars[ANGULAR_ETA], functions.angular_shifts, work.triple_parts, triples, work.triple_radial
        )
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
        work: large enough for this structure.
        vectors: (A, L), overwritten.
    """
    _list_pairs(positions, species, functions, work)
    _pass_over_pairs(species, functions, work, vectors)
    _list_triples(species, functions, work)
    _pass_over_triples(functions, work, vectors)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add_pair_forces(pairs: int, work: Workspace, forces: FloatArray) -> None:
    """Start (A, 3) forces with those along the pairs."""
    atoms, unit, sums = work.pair_atoms, work.pair_unit, work.pair_sums
    for i in range(len(forces)):
        for axis in range(3):
            forces[i, axis] = 0.0
    for pair in range(pairs):
        i, j, slope = atoms[pair, 0], atoms[pair, 1], sums[pair]
        for axis in range(3):
            force = slope * unit[pair, axis]
            forces[i, axis] += force
            forces[j, axis] -= force


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _add_triple_forces(eta: float, blocks: int, work: Workspace, forces: FloatArray) -> None:
    """Add the forces of the triples to (A, 3) forces: along the two bonds, and across them where the angle changes."""
    table, ends, parts, sums = work.blocks, work.triple_ends, work.triple_parts, work.triple_sums
    neighbour, counts, unit, cutoff = (
        work.neighbour_atom,
        work.neighbour_count,
        work.neighbour_unit,
        work.neighbour_cutoff,
    )
    force = work.neighbour_force
    block = 0
    for i in range(len(forces)):
        for a in range(counts[i]):
            for axis in range(3):
                force[a, axis] = 0.0
        first = table[block, 2] if block < blocks else 0
        stop = first
        while block < blocks and table[block, 0] == i:
            stop = table[block, 3]
            block += 1
        triple = first
        while triple < stop:
            a = ends[triple, 0]
            x, y, z = unit[i, a, 0], unit[i, a, 1], unit[i, a, 2]
            envelope_a, slope_a, inverse = cutoff[i, a, 0], cutoff[i, a, 1], cutoff[i, a, 2]
            force_x, force_y, force_z = 0.0, 0.0, 0.0
            while triple < stop and ends[triple, 0] == a:
                b = ends[triple, 1]
                value, cosine, envelope = sums[0, triple], parts[4, triple], parts[5, triple]
                by_cosine, by_mean = sums[1, triple] * envelope, -eta * sums[2, triple] * envelope
                tangential_a, tangential_b = by_cosine * inverse, by_cosine * cutoff[i, b, 2]
                radial_a = by_mean + value * slope_a * cutoff[i, b, 0] - tangential_a * cosine
                radial_b = by_mean + value * envelope_a * cutoff[i, b, 1] - tangential_b * cosine
                force_x += radial_a * x + tangential_a * unit[i, b, 0]
                force_y += radial_a * y + tangential_a * unit[i, b, 1]
                force_z += radial_a * z + tangential_a * unit[i, b, 2]
                force[b, 0] += radial_b * unit[i, b, 0] + tangential_b * x
                force[b, 1] += radial_b * unit[i, b, 1] + tangential_b * y
                force[b, 2] += radial_b * unit[i, b, 2] + tangential_b * z
                triple += 1
            force[a, 0] += force_x
            force[a, 1] += force_y
            force[a, 2] += force_z
        for a in range(counts[i]):
            for axis in range(3):
                forces[neighbour[i, a], axis] -= force[a, axis]
                forces[i, axis] += force[a, axis]


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
    _add_pair_forces(pairs, work, forces)
    _add_triple_forces(functions.scalars[ANGULAR_ETA], blocks, work, forces)


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def fill_neighbour_blocks(species: IntArray, functions: Functions, work: Workspace, blocks: Array) -> None:
    """Fill the angular part of the Jacobian: one block for each centre and each neighbour within the angular cutoff.

    Args:
        species: (A,) rows of the elements.
        functions: the symmetry functions.
        work: as `fill_descriptors` left it for this structure.
        blocks: (D, 3, E·B) ∂G_i/∂r_a, centre after centre, 0 before the call; columns [element of the other neighbour,
            B functions].
            The derivative with respect to the centre is minus the sum over its neighbours.
    """
    eta, shifts = functions.scalars[ANGULAR_ETA], functions.angular_shifts
    count, sections = len(functions.static_angular), len(functions.static_sections)
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
            gaussian = work.triple_radial[triple]
            mean, cosine = work.triple_parts[0, triple], work.triple_parts[4, triple]
            cutoff_a, cutoff_b = work.neighbour_cutoff[i, a], work.neighbour_cutoff[i, b]
            column_a = species[work.neighbour_atom[i, b]] * width
            column_b = species[work.neighbour_atom[i, a]] * width
            for axis in range(3):
                u, v = work.neighbour_unit[i, a, axis], work.neighbour_unit[i, b, axis]
                tangential_a = (v - cosine * u) * cutoff_a[2] * cutoff_a[0] * cutoff_b[0]
                tangential_b = (u - cosine * v) * cutoff_b[2] * cutoff_a[0] * cutoff_b[0]
                row_a, row_b = blocks[base + a, axis, column_a:], blocks[base + b, axis, column_b:]
                for p in range(count):
                    by_mean = -eta * (mean - shifts[p]) * cutoff_a[0] * cutoff_b[0]
                    radial_a = (by_mean + cutoff_a[1] * cutoff_b[0]) * u * gaussian[p]
                    radial_b = (by_mean + cutoff_a[0] * cutoff_b[1]) * v * gaussian[p]
                    angular_a, angular_b = tangential_a * gaussian[p], tangential_b * gaussian[p]
                    for q in range(sections):
                        row_a[p * sections + q] += radial_a * factors[0, q] + angular_a * factors[1, q]
                        row_b[p * sections + q] += radial_b * factors[0, q] + angular_b * factors[1, q]
        base += work.neighbour_count[i]
