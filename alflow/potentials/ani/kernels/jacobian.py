"""The Jacobian of the descriptors, kept only where it is not zero, and its two products.

A radial function depends on a distance alone: for a pair of atoms its derivative is a number a shift, times the unit
vector between them. An angular function of a centre depends on the neighbours within the angular cutoff, and only the
pairs of elements that a neighbour can be part of have a derivative. The derivative with respect to the centre is minus
the sum over its neighbours. For hexane this is less than a third of the dense Jacobian.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.kernels.arrays import FAST, SingleArray
from alflow.types import FloatArray, IntArray


class Jacobian(NamedTuple):
    """Derivatives of the descriptors of F frames with n atoms in all, of any compositions.

    N pairs and D directed angular neighbours in all; E elements, R radial functions for each, B angular for each pair.
    """

    atom_start: IntArray
    """(F + 1,) first atom of each frame."""
    species: IntArray
    """(n,) rows of the elements."""
    pair_start: IntArray
    """(F + 1,) first pair of each frame."""
    pair_atoms: IntArray
    """(N, 2) atoms, counted within the frame."""
    pair_unit: SingleArray
    """(N, 3) from the first atom to the second."""
    pair_slope: SingleArray
    """(N, R) Å⁻¹."""
    neighbour_start: IntArray
    """(n + 1,) first neighbour of each atom."""
    neighbour_atom: IntArray
    """(D,) atom, counted within the frame."""
    neighbour_block: SingleArray
    """(D, 3, E·B) Å⁻¹: see `geometry.fill_neighbour_blocks`."""
    pair_columns: IntArray
    """(E, E) first column of the angular functions of each pair of elements."""


@numba.njit(cache=True, nogil=True)
def store_geometry(
    jacobian: Jacobian,
    frame: int,
    pair_atoms: IntArray,
    pair_unit: FloatArray,
    pair_slope: FloatArray,
    neighbour_count: IntArray,
    neighbour_atom: IntArray,
) -> None:
    """Copy what a workspace keeps of one frame: see `workspace.Workspace`."""
    start = jacobian.pair_start[frame]
    for pair in range(jacobian.pair_start[frame + 1] - start):
        for side in range(2):
            jacobian.pair_atoms[start + pair, side] = pair_atoms[pair, side]
        for axis in range(3):
            jacobian.pair_unit[start + pair, axis] = pair_unit[pair, axis]
        for m in range(pair_slope.shape[1]):
            jacobian.pair_slope[start + pair, m] = pair_slope[pair, m]
    first = jacobian.atom_start[frame]
    n = jacobian.neighbour_start[first]
    for i in range(jacobian.atom_start[frame + 1] - first):
        for row in range(neighbour_count[i]):
            jacobian.neighbour_atom[n] = neighbour_atom[i, row]
            n += 1
        jacobian.neighbour_start[first + i + 1] = n


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forces_of_batch(
    jacobian: Jacobian,
    frames: IntArray,
    offsets: IntArray,
    rows: IntArray,
    gradient: SingleArray,
    forces: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill forces -∂E/∂G · ∂G/∂r of the frames `start` to `stop` of a batch.

    Args:
        jacobian: of the whole dataset.
        frames: (B,) frames of the batch.
        offsets: (B + 1,) first atom of each in the batch.
        rows: (n,) row of each atom of the batch in `gradient`.
        gradient: (R, L) ∂E/∂G, eV.
        forces: (n, 3) eV/Å, overwritten.
        start: first frame of the batch to do.
        stop: end of the frames to do.
    """
    shifts = jacobian.pair_slope.shape[1]
    width = jacobian.neighbour_block.shape[2] // jacobian.pair_columns.shape[0]
    for b in range(start, stop):
        frame, offset = frames[b], offsets[b]
        first = jacobian.atom_start[frame]
        forces[offset : offsets[b + 1]] = 0.0
        for pair in range(jacobian.pair_start[frame], jacobian.pair_start[frame + 1]):
            i, j = jacobian.pair_atoms[pair, 0], jacobian.pair_atoms[pair, 1]
            row_i = gradient[rows[offset + i], jacobian.species[first + j] * shifts :]
            row_j = gradient[rows[offset + j], jacobian.species[first + i] * shifts :]
            slope = np.float32(0.0)
            for m in range(shifts):
                slope += (row_i[m] + row_j[m]) * jacobian.pair_slope[pair, m]
            for axis in range(3):
                force = slope * jacobian.pair_unit[pair, axis]
                forces[offset + i, axis] += force
                forces[offset + j, axis] -= force
        for i in range(offsets[b + 1] - offset):
            row = gradient[rows[offset + i]]
            for n in range(jacobian.neighbour_start[first + i], jacobian.neighbour_start[first + i + 1]):
                a = jacobian.neighbour_atom[n]
                for axis in range(3):
                    force = np.float32(0.0)
                    for e in range(jacobian.pair_columns.shape[0]):
                        part = row[jacobian.pair_columns[jacobian.species[first + a], e] :]
                        block = jacobian.neighbour_block[n, axis, e * width :]
                        for m in range(width):
                            force += part[m] * block[m]
                    forces[offset + i, axis] += force
                    forces[offset + a, axis] -= force


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def tangents_of_batch(
    jacobian: Jacobian,
    frames: IntArray,
    offsets: IntArray,
    rows: IntArray,
    displacements: SingleArray,
    tangents: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill the changes of the descriptors ∂G/∂r · δr of the frames `start` to `stop` of a batch.

    Args:
        jacobian: of the whole dataset.
        frames: (B,) frames of the batch.
        offsets: (B + 1,) first atom of each in the batch.
        rows: (n,) row of each atom of the batch in `tangents`.
        displacements: (n, 3) δr, Å.
        tangents: (R, L), the rows of these atoms overwritten.
        start: first frame of the batch to do.
        stop: end of the frames to do.
    """
    shifts = jacobian.pair_slope.shape[1]
    width = jacobian.neighbour_block.shape[2] // jacobian.pair_columns.shape[0]
    for b in range(start, stop):
        frame, offset = frames[b], offsets[b]
        first = jacobian.atom_start[frame]
        for i in range(offset, offsets[b + 1]):
            tangents[rows[i]] = 0.0
        for pair in range(jacobian.pair_start[frame], jacobian.pair_start[frame + 1]):
            i, j = jacobian.pair_atoms[pair, 0], jacobian.pair_atoms[pair, 1]
            row_i = tangents[rows[offset + i], jacobian.species[first + j] * shifts :]
            row_j = tangents[rows[offset + j], jacobian.species[first + i] * shifts :]
            stretch = np.float32(0.0)
            for axis in range(3):
                stretch += (displacements[offset + j, axis] - displacements[offset + i, axis]) * jacobian.pair_unit[
                    pair, axis
                ]
            for m in range(shifts):
                tangent = stretch * jacobian.pair_slope[pair, m]
                row_i[m] += tangent
                row_j[m] += tangent
        for i in range(offsets[b + 1] - offset):
            row = tangents[rows[offset + i]]
            for n in range(jacobian.neighbour_start[first + i], jacobian.neighbour_start[first + i + 1]):
                a = jacobian.neighbour_atom[n]
                x = displacements[offset + a, 0] - displacements[offset + i, 0]
                y = displacements[offset + a, 1] - displacements[offset + i, 1]
                z = displacements[offset + a, 2] - displacements[offset + i, 2]
                for e in range(jacobian.pair_columns.shape[0]):
                    part = row[jacobian.pair_columns[jacobian.species[first + a], e] :]
                    block = jacobian.neighbour_block[n, :, e * width :]
                    for m in range(width):
                        part[m] += x * block[0, m] + y * block[1, m] + z * block[2, m]


def densify(jacobian: Jacobian, frames: IntArray, offsets: IntArray, length: int) -> SingleArray:
    """Return the dense Jacobians (B, most atoms · L, most atoms · 3) of some frames, padded with 0.

    Args:
        jacobian: of the whole dataset.
        frames: (B,) which frames.
        offsets: (B + 1,) first atom of each, counted over these frames.
        length: number of functions of an atom, L.
    """
    most = int(np.diff(offsets).max())
    dense = np.zeros((len(frames), most, length, most, 3), np.float32)
    _fill_dense(jacobian, frames, offsets, dense)
    return dense.reshape(len(frames), most * length, most * 3)


@numba.njit(cache=True, nogil=True)
def _fill_dense(jacobian: Jacobian, frames: IntArray, offsets: IntArray, dense: SingleArray) -> None:
    shifts = jacobian.pair_slope.shape[1]
    width = jacobian.neighbour_block.shape[2] // jacobian.pair_columns.shape[0]
    for b in range(len(frames)):
        first = jacobian.atom_start[frames[b]]
        for pair in range(jacobian.pair_start[frames[b]], jacobian.pair_start[frames[b] + 1]):
            i, j = jacobian.pair_atoms[pair, 0], jacobian.pair_atoms[pair, 1]
            for axis in range(3):
                unit = jacobian.pair_unit[pair, axis]
                for m in range(shifts):
                    slope = jacobian.pair_slope[pair, m] * unit
                    column_i = jacobian.species[first + j] * shifts + m
                    column_j = jacobian.species[first + i] * shifts + m
                    dense[b, i, column_i, i, axis] -= slope
                    dense[b, i, column_i, j, axis] += slope
                    dense[b, j, column_j, i, axis] -= slope
                    dense[b, j, column_j, j, axis] += slope
        for i in range(offsets[b + 1] - offsets[b]):
            for n in range(jacobian.neighbour_start[first + i], jacobian.neighbour_start[first + i + 1]):
                a = jacobian.neighbour_atom[n]
                for axis in range(3):
                    for e in range(jacobian.pair_columns.shape[0]):
                        column = jacobian.pair_columns[jacobian.species[first + a], e]
                        for m in range(width):
                            slope = jacobian.neighbour_block[n, axis, e * width + m]
                            dense[b, i, column + m, a, axis] += slope
                            dense[b, i, column + m, i, axis] -= slope
