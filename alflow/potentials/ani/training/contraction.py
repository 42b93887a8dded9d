"""Products with the Jacobian of a batch on a device, where dense ones are fastest."""

from __future__ import annotations

import numba
import numpy as np
import torch

from alflow.potentials.ani.kernels.jacobian import Jacobian, SingleArray
from alflow.potentials.ani.training.data import Batch
from alflow.types import IntArray


class DenseContraction:
    """Both products of the Jacobian: one padded matrix (most atoms · L, most atoms · 3) for each frame of a batch."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self._shape = batch.vectors.shape
        dense = densify(batch.jacobian, batch.places, batch.offsets, self._shape[2])
        self._dense = torch.from_numpy(dense).to(device)
        self._rows = torch.from_numpy(batch.rows).to(device)
        self._padded_rows = torch.from_numpy(batch.padded_rows).to(device)
        self._real = self._padded_rows.view(-1) != self._shape[0] * self._shape[1]

    def forces(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) -∂E/∂G · ∂G/∂r from (M, R, L) ∂E/∂G."""
        frames, most = self._padded_rows.shape
        length = gradient.shape[2]
        dummy = gradient.new_zeros(1, length)
        spread = torch.cat([gradient.view(-1, length), dummy])[self._padded_rows]
        product = torch.bmm(spread.view(frames, 1, most * length), self._dense)
        return -product.view(-1, 3)[self._real]

    def changes(self, moves: torch.Tensor) -> torch.Tensor:
        """Return (M, R, L) ∂G/∂r · δr from (n, 3) δr; 0 in padding."""
        frames, most = self._padded_rows.shape
        length = self._shape[2]
        padded = moves.new_zeros(frames * most, 3)
        padded[self._real] = moves
        product = torch.bmm(self._dense, padded.view(frames, most * 3, 1)).view(-1, length)[self._real]
        changes = moves.new_zeros(self._shape[0] * self._shape[1], length)
        changes[self._rows] = product
        return changes.view(self._shape)


def densify(jacobian: Jacobian, places: IntArray, offsets: IntArray, length: int) -> SingleArray:
    """Return the dense Jacobians (B, most atoms · L, most atoms · 3) of some frames, padded with 0."""
    most = int(np.diff(offsets).max())
    dense = np.zeros((len(places), most, length, most, 3), np.float32)
    _fill_dense(jacobian, places, offsets, dense)
    return dense.reshape(len(places), most * length, most * 3)


@numba.njit(cache=True, nogil=True)
def _fill_dense(jacobian: Jacobian, places: IntArray, offsets: IntArray, dense: SingleArray) -> None:
    shifts = jacobian.pair_slope.shape[1]
    width = jacobian.near_block.shape[2] // jacobian.pair_blocks.shape[0]
    for b in range(len(places)):
        first = jacobian.atom_start[places[b]]
        for pair in range(jacobian.pair_start[places[b]], jacobian.pair_start[places[b] + 1]):
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
            for near in range(jacobian.near_start[first + i], jacobian.near_start[first + i + 1]):
                a = jacobian.near_atom[near]
                for axis in range(3):
                    for e in range(jacobian.pair_blocks.shape[0]):
                        column = jacobian.pair_blocks[jacobian.species[first + a], e]
                        for m in range(width):
                            slope = jacobian.near_block[near, axis, e * width + m]
                            dense[b, i, column + m, a, axis] += slope
                            dense[b, i, column + m, i, axis] -= slope
