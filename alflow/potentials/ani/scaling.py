"""Centred and scaled descriptors: the networks learn sooner, and err less between and beyond the frames they saw.

The scaling is a change of variables of the first layer. It is folded into the weights that a training returns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.network import Networks
from alflow.potentials.ani.training.data import TrainingData
from alflow.types import FloatArray

SAMPLE = 500
"""Frames, evenly spaced over the dataset, that shift and scale are taken from."""


@dataclass(frozen=True)
class Scaling:
    """In training, descriptors enter the networks as (G - shift) · scale."""

    shift: FloatArray
    """(E, L)."""
    scale: FloatArray
    """(E, L)."""

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both in single precision on a device."""
        shift, scale = (torch.from_numpy(array.astype(np.float32)).to(device) for array in (self.shift, self.scale))
        return shift, scale

    def apply(self, networks: Networks) -> Networks:
        """Return networks of scaled descriptors that are the same function as the given ones of plain descriptors."""
        return self._changed(networks, 1.0 / self.scale, self.shift)

    def fold(self, networks: Networks) -> Networks:
        """Return networks of plain descriptors that are the same function as the given ones of scaled descriptors."""
        return self._changed(networks, self.scale, -self.shift * self.scale)

    def _changed(self, networks: Networks, factor: FloatArray, offset: FloatArray) -> Networks:
        weights: list[tuple[SingleArray, ...]] = []
        biases: list[tuple[SingleArray, ...]] = []
        for e, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            first = weight[0].astype(np.float64)
            moved = bias[0] + np.einsum("l,mln->mn", offset[e], first)
            weights.append(((factor[e][:, None] * first).astype(np.float32), *weight[1:]))
            biases.append((moved.astype(np.float32), *bias[1:]))
        return Networks(tuple(weights), tuple(biases), networks.activation)


def descriptor_scaling(data: TrainingData, floor: float) -> Scaling:
    """Return mean and inverse standard deviation of each element's descriptors; a deviation counts as `floor` at least.

    A floor of 0 leaves the descriptors as they are.
    """
    shape = (len(data.functions.elements), data.functions.length)
    shift, scale = np.zeros(shape), np.ones(shape)
    if floor == 0.0:
        return Scaling(shift, scale)
    frames = np.unique(np.linspace(0, len(data) - 1, SAMPLE).astype(np.int64))
    vectors, jacobian, places = data.pieces(frames)
    starts, stops = jacobian.atom_start[places], jacobian.atom_start[places + 1]
    atoms = np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])
    for e in range(shape[0]):
        rows = vectors[atoms[jacobian.species[atoms] == e]].astype(np.float64)
        if len(rows):
            shift[e], scale[e] = rows.mean(axis=0), 1.0 / np.maximum(rows.std(axis=0), floor)
    return Scaling(shift, scale)
