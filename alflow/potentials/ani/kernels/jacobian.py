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
import numpy.typing as npt

from alflow.types import FloatArray, IntArray

SingleArray = npt.NDArray[np.float32]

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Allow vector sums and fused products; NaN and infinity keep their meaning."""


class Jacobian(NamedTuple):
    """Of F frames with n atoms in all, of any compositions. N pairs, D directed angular neighbours, in all."""

    atom_start: IntArray
    """(F + 1,) first atom of each frame."""
    species: IntArray
    """(n,) rows of the elements."""
    pair_start: IntArray
    """(F + 1,)."""
    pair_atoms: IntArray
    """(N, 2) counted within the frame."""
    pair_unit: SingleArray
    """(N, 3)."""
    pair_slope: SingleArray
    """(N, R) Å⁻¹."""
    near_start: IntArray
    """(n + 1,) first neighbour of each atom."""
    near_atom: IntArray
    """(D,) counted within the frame."""
    near_block: SingleArray
    """(D, 3, E·B) Å⁻¹: see `geometry.fill_near_blocks`."""
    pair_blocks: IntArray
    """(E, E) first column of each pair of elements."""

    def nbytes(self) -> int:
        """Return the memory that it takes, bytes."""
        return sum(part.nbytes for part in self)


@numba.njit(cache=True, nogil=True)
def store_geometry(
    jacobian: Jacobian,
    frame: int,
    pair_atoms: IntArray,
    pair_unit: FloatArray,
    pair_slope: FloatArray,
    near_count: IntArray,
    near_atom: IntArray,
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
    near = jacobian.near_start[first]
    for i in range(jacobian.atom_start[frame + 1] - first):
        for row in range(near_count[i]):
            jacobian.near_atom[near] = near_atom[i, row]
            near += 1
        jacobian.near_start[first + i + 1] = near


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
    width = jacobian.near_block.shape[2] // jacobian.pair_blocks.shape[0]
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
                push = slope * jacobian.pair_unit[pair, axis]
                forces[offset + i, axis] += push
                forces[offset + j, axis] -= push
        for i in range(offsets[b + 1] - offset):
            row = gradient[rows[offset + i]]
            for near in range(jacobian.near_start[first + i], jacobian.near_start[first + i + 1]):
                a = jacobian.near_atom[near]
                for axis in range(3):
                    push = np.float32(0.0)
                    for e in range(jacobian.pair_blocks.shape[0]):
                        part = row[jacobian.pair_blocks[jacobian.species[first + a], e] :]
                        block = jacobian.near_block[near, axis, e * width :]
                        for m in range(width):
                            push += part[m] * block[m]
                    forces[offset + i, axis] += push
                    forces[offset + a, axis] -= push


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def changes_of_batch(
    jacobian: Jacobian,
    frames: IntArray,
    offsets: IntArray,
    rows: IntArray,
    moves: SingleArray,
    changes: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Fill the changes of the descriptors ∂G/∂r · δr of the frames `start` to `stop` of a batch.

    Args:
        jacobian: of the whole dataset.
        frames: (B,) frames of the batch.
        offsets: (B + 1,) first atom of each in the batch.
        rows: (n,) row of each atom of the batch in `changes`.
        moves: (n, 3) δr, Å.
        changes: (R, L), the rows of these atoms overwritten.
        start: first frame of the batch to do.
        stop: end of the frames to do.
    """
    shifts = jacobian.pair_slope.shape[1]
    width = jacobian.near_block.shape[2] // jacobian.pair_blocks.shape[0]
    for b in range(start, stop):
        frame, offset = frames[b], offsets[b]
        first = jacobian.atom_start[frame]
        for i in range(offset, offsets[b + 1]):
            changes[rows[i]] = 0.0
        for pair in range(jacobian.pair_start[frame], jacobian.pair_start[frame + 1]):
            i, j = jacobian.pair_atoms[pair, 0], jacobian.pair_atoms[pair, 1]
            row_i = changes[rows[offset + i], jacobian.species[first + j] * shifts :]
            row_j = changes[rows[offset + j], jacobian.species[first + i] * shifts :]
            growth = np.float32(0.0)
            for axis in range(3):
                growth += (moves[offset + j, axis] - moves[offset + i, axis]) * jacobian.pair_unit[pair, axis]
            for m in range(shifts):
                change = growth * jacobian.pair_slope[pair, m]
                row_i[m] += change
                row_j[m] += change
        for i in range(offsets[b + 1] - offset):
            row = changes[rows[offset + i]]
            for near in range(jacobian.near_start[first + i], jacobian.near_start[first + i + 1]):
                a = jacobian.near_atom[near]
                x = moves[offset + a, 0] - moves[offset + i, 0]
                y = moves[offset + a, 1] - moves[offset + i, 1]
                z = moves[offset + a, 2] - moves[offset + i, 2]
                for e in range(jacobian.pair_blocks.shape[0]):
                    part = row[jacobian.pair_blocks[jacobian.species[first + a], e] :]
                    block = jacobian.near_block[near, :, e * width :]
                    for m in range(width):
                        part[m] += x * block[0, m] + y * block[1, m] + z * block[2, m]
