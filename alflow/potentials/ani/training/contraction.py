"""Products with the Jacobian of a batch, by torch; on a device dense ones are fastest."""

from __future__ import annotations

from typing import Protocol

import torch

from alflow.potentials.ani.kernels.jacobian import densify
from alflow.potentials.ani.training.data import Batch


class Contraction(Protocol):
    """Both products of the Jacobian of a batch."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        """Take a batch of B frames with n atoms over all members."""

    def forces(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) -∂E/∂G · ∂G/∂r from (M, R, L) ∂E/∂G."""
        ...

    def tangents(self, displacements: torch.Tensor) -> torch.Tensor:
        """Return (M, R, L) ∂G/∂r · δr along (n, 3) displacements δr; 0 in padding."""
        ...


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

    def tangents(self, displacements: torch.Tensor) -> torch.Tensor:
        """Return (M, R, L) ∂G/∂r · δr along (n, 3) displacements δr; 0 in padding."""
        frames, most = self._padded_rows.shape
        length = self._shape[2]
        padded = displacements.new_zeros(frames * most, 3)
        padded[self._real] = displacements
        product = torch.bmm(self._dense, padded.view(frames, most * 3, 1)).view(-1, length)[self._real]
        tangents = displacements.new_zeros(self._shape[0] * self._shape[1], length)
        tangents[self._rows] = product
        return tangents.view(self._shape)
