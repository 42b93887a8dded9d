"""Products with the Jacobian of a batch, by torch; on a device dense ones are fastest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from alflow.potentials.ani.kernels.jacobian import densify
from alflow.potentials.ani.training.data import Batch, TrainingData
from alflow.types import IntArray

CHUNK = 64
"""Frames whose Jacobians are made dense at a time."""


@dataclass(frozen=True)
class Slots:
    """Where atoms stand in frames that all have the same number of slots: sorted by element, P slots in all."""

    bounds: IntArray
    """(E + 1,) first slot of each element."""
    of_atoms: IntArray
    """(n,) slot of each atom of the dataset."""

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Return slots with room for each frame of a dataset."""
        bounds = np.concatenate([[0], np.cumsum(data.counts.max(axis=0))]).astype(np.int64)
        of_atoms = []
        for group in data.groups:
            species = data.functions.species(group.numbers)
            order = np.argsort(species, kind="stable")
            place = np.empty(len(species), np.int64)
            place[order] = np.arange(len(species)) - np.searchsorted(species[order], species[order])
            of_atoms.append(np.tile(bounds[species] + place, len(group)))
        return cls(bounds, np.concatenate(of_atoms))

    def __len__(self) -> int:
        return int(self.bounds[-1])


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

    def __init__(
        self, batch: Batch, device: torch.device, dense: Tensor | None = None, slots: IntArray | None = None
    ) -> None:
        """Take a batch.

        Args:
            batch: of B frames with n atoms.
            device: where it runs.
            dense: (B, P · L, P · 3) Jacobians of the batch if they are there.
            slots: (n,) where in the P slots of its frame each atom stands; as in the frame if not given.
        """
        self._shape = batch.vectors.shape
        if dense is None:
            dense = torch.from_numpy(densify(batch.jacobian, batch.places, batch.offsets, self._shape[2])).to(device)
        self._dense = dense
        frames, most = len(batch.frames), dense.shape[2] // 3
        atoms = np.diff(batch.offsets)
        first = np.repeat(batch.offsets[:-1], atoms)
        within = np.arange(len(first)) - first if slots is None else slots
        real = np.repeat(np.arange(frames) * most, atoms) + within
        padded = np.full(frames * most, self._shape[0] * self._shape[1], np.int64)
        padded[real] = batch.rows
        self._rows = torch.from_numpy(batch.rows).to(device)
        self._padded_rows = torch.from_numpy(padded.reshape(frames, most)).to(device)
        self._real = torch.from_numpy(real).to(device)

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
        self.slots = Slots.of(data)
        most, length = len(self.slots), data.functions.length
        self._atom_start, self._length = data.atom_start, length
        self.dense = torch.zeros(len(data), most * length, most * 3, device=device)
        """(F, P · L, P · 3)."""
        for start in range(0, len(data), CHUNK):
            frames = np.arange(start, min(start + CHUNK, len(data)))
            self._fill(data, frames)

    def _fill(self, data: TrainingData, frames: IntArray) -> None:
        """Put the Jacobians of consecutive frames where their atoms stand."""
        _, jacobian, places = data.pieces(frames)
        atoms = data.atoms[frames]
        dense = densify(jacobian, places, np.concatenate([[0], np.cumsum(atoms)]).astype(np.int64), self._length)
        most, size = len(self.slots), dense.shape[2] // 3
        slots = np.full((len(frames), size), most, np.int64)  # those that are no atom go to one more, which is dropped
        slots[np.arange(size) < atoms[:, None]] = self.slots.of_atoms[
            data.atom_start[frames[0]] : data.atom_start[frames[-1] + 1]
        ]
        there = torch.from_numpy(slots).to(self.dense.device)
        part = self.dense.new_zeros(len(frames), most + 1, self._length, most + 1, 3)
        blocks = torch.from_numpy(dense).to(self.dense.device).view(len(frames), size, self._length, size, 3)
        frame = torch.arange(len(frames), device=self.dense.device)[:, None, None]
        part[frame, there[:, :, None], :, there[:, None, :]] = blocks.permute(0, 1, 3, 2, 4)
        whole = part[:, :most, :, :most].reshape(len(frames), most * self._length, most * 3)
        self.dense[frames[0] : frames[-1] + 1] = whole

    def __call__(self, batch: Batch, device: torch.device) -> DenseContraction:
        """Return the products of a batch."""
        picked = self.dense[torch.from_numpy(batch.frames).to(device)]
        starts = self._atom_start[batch.frames]
        atoms = np.diff(batch.offsets)
        within = np.arange(batch.offsets[-1]) - np.repeat(batch.offsets[:-1], atoms)
        return DenseContraction(batch, device, picked, self.slots.of_atoms[np.repeat(starts, atoms) + within])


def contraction_of(data: TrainingData, device: torch.device, limit_gb: float) -> Contract:
    """Return Jacobians that stay on the device where they keep to the limit and to half of what is free there.

    Args:
        data: descriptors of the dataset.
        device: where it trains.
        limit_gb: most memory for them, GB.
    """
    needed = 4.0 * len(data) * 3 * int(data.counts.max(axis=0).sum()) ** 2 * data.functions.length
    free = torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else float("inf")
    return ResidentJacobians(data, device) if needed <= min(1e9 * limit_gb, free) else DenseContraction
