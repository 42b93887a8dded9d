"""Products with the Jacobian of a batch, by torch; on a device dense ones are fastest."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from alflow.potentials.ani.kernels.jacobian import densify
from alflow.potentials.ani.training.data import Batch, TrainingData

CHUNK = 64
"""Frames whose Jacobians are made dense at a time."""


class Contraction(Protocol):
    """Both products of the Jacobian of a batch of B frames with n atoms over all members."""

    def forces(self, gradient: Tensor) -> Tensor:
        """Return (n, 3) -∂E/∂G · ∂G/∂r from (M, R, L) ∂E/∂G."""
        ...

    def tangents(self, displacements: Tensor) -> Tensor:
        """Return (M, R, L) ∂G/∂r · δr along (n, 3) displacements δr; 0 in padding."""
        ...


class Contract(Protocol):
    """What makes the products of a batch."""

    def __call__(self, batch: Batch, device: torch.device) -> Contraction:
        """Take a batch."""
        ...


class DenseContraction:
    """Both products of the Jacobian: one padded matrix (most atoms · L, most atoms · 3) for each frame of a batch."""

    def __init__(self, batch: Batch, device: torch.device, dense: Tensor | None = None) -> None:
        """Take a batch; `dense` are its Jacobians if they are there, perhaps with room for more atoms."""
        self._shape = batch.vectors.shape
        if dense is None:
            dense = torch.from_numpy(densify(batch.jacobian, batch.places, batch.offsets, self._shape[2])).to(device)
        self._dense = dense
        frames, present = batch.padded_rows.shape
        dummy = self._shape[0] * self._shape[1]
        padded = np.full((frames, dense.shape[2] // 3), dummy, np.int64)
        padded[:, :present] = batch.padded_rows
        self._rows = torch.from_numpy(batch.rows).to(device)
        self._padded_rows = torch.from_numpy(padded).to(device)
        self._real = torch.from_numpy(np.flatnonzero(padded != dummy)).to(device)

    def forces(self, gradient: Tensor) -> Tensor:
        """Return (n, 3) -∂E/∂G · ∂G/∂r from (M, R, L) ∂E/∂G."""
        frames, most = self._padded_rows.shape
        length = gradient.shape[2]
        dummy = gradient.new_zeros(1, length)
        spread = torch.cat([gradient.view(-1, length), dummy])[self._padded_rows]
        product = torch.bmm(spread.view(frames, 1, most * length), self._dense)
        return -product.view(-1, 3)[self._real]

    def tangents(self, displacements: Tensor) -> Tensor:
        """Return (M, R, L) ∂G/∂r · δr along (n, 3) displacements δr; 0 in padding."""
        frames, most = self._padded_rows.shape
        length = self._shape[2]
        padded = displacements.new_zeros(frames * most, 3)
        padded[self._real] = displacements
        product = torch.bmm(self._dense, padded.view(frames, most * 3, 1)).view(-1, length)[self._real]
        tangents = displacements.new_zeros(self._shape[0] * self._shape[1], length)
        tangents[self._rows] = product
        return tangents.view(self._shape)


class ResidentJacobians:
    """The dense Jacobians of a whole dataset, made once and kept on the device: a batch picks its own there."""

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        """Take all frames of a dataset."""
        most, length = int(data.atoms.max()), data.functions.length
        self._dense = torch.zeros(len(data), most, length, most, 3, device=device)
        for start in range(0, len(data), CHUNK):
            frames = np.arange(start, min(start + CHUNK, len(data)))
            _, jacobian, places = data.pieces(frames)
            offsets = np.concatenate([[0], np.cumsum(data.atoms[frames])]).astype(np.int64)
            dense = densify(jacobian, places, offsets, length)
            size = dense.shape[2] // 3
            part = torch.from_numpy(dense).to(device).view(len(frames), size, length, size, 3)
            self._dense[start : start + len(frames), :size, :, :size] = part

    def __call__(self, batch: Batch, device: torch.device) -> DenseContraction:
        """Return the products of a batch."""
        frames, most, length, _, _ = self._dense.shape
        picked = self._dense.view(frames, most * length, most * 3)[torch.from_numpy(batch.frames).to(device)]
        return DenseContraction(batch, device, picked)


def contraction_of(data: TrainingData, device: torch.device, limit_gb: float) -> Contract:
    """Return Jacobians that stay on the device where they keep to the limit and to half of what is free there.

    Args:
        data: descriptors of the dataset.
        device: where it trains.
        limit_gb: most memory for them, GB.
    """
    needed = 4.0 * len(data) * 3 * int(data.atoms.max()) ** 2 * data.functions.length
    free = torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else float("inf")
    return ResidentJacobians(data, device) if needed <= min(1e9 * limit_gb, free) else DenseContraction
