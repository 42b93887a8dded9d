"""The last hidden layer of ANI networks, and its derivatives by positions.

The energy of the mean of M members is linear in the last layers' weights w: E = f · w + constant, where f holds, for
each member and element, the sum over the atoms of that element of the last hidden layer a_H, over M (`docs/ani.md` has
the symbols). The biases of the last layers are left out: for one composition they are a constant. Forces are linear in
the same weights, F = -∂f/∂r · w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.descriptors import Structures, descriptors_with_jacobian
from alflow.potentials.ani.kernels.jacobian import densify
from alflow.potentials.ani.training.activation import ACTIVATIONS
from alflow.types import FloatArray, Frames

FRAMES_AT_ONCE = 16
"""Frames whose dense Jacobian is in memory: of hexane, 0.6 MB each."""


@dataclass(frozen=True)
class ANILastLayer:
    """The N features of the mean of an ensemble: see `alflow.potentials.uncertainty.lastlayer.LastLayer`."""

    ensemble: ANIEnsemble

    @property
    def weights(self) -> FloatArray:
        """The last layers' weights w, (N,) eV, in the order of the features."""
        networks = self.ensemble.networks
        layers = [element[-1][member, :, 0] for member in range(networks.members) for element in networks.weights]
        return np.concatenate(layers).astype(np.float64)

    def values(self, frames: Frames) -> FloatArray:
        """Return the features f, (F, N); no unit.

        Raises:
            StructureError: an element is unknown to the ensemble, or a position is not finite.
        """
        found = np.zeros((len(frames), len(self.weights)))
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            rows = slice(start, start + FRAMES_AT_ONCE)
            found[rows] = _features(self.ensemble, frames.take(rows), None)[0]
        return found

    def slopes(self, frames: Frames, directions: FloatArray | None = None) -> FloatArray:
        """Return the derivatives of the features along directions: ∂f/∂r · d, of the unit of d over Å.

        A tangent is carried forward with the values, t_h = (t_(h-1) W_h) ⊙ σ'(z_h) from t_0 = ∂G/∂r · d: no finite
        differences, in single precision.

        Args:
            frames: F structures of A atoms.
            directions: (F, D, A, 3); the 3 A positions one by one if not given, atom by atom.

        Returns:
            (F, D, N).

        Raises:
            StructureError: an element is unknown to the ensemble, or a position is not finite.
        """
        size = frames.positions.shape[1] * 3
        if directions is None:
            directions = np.broadcast_to(np.eye(size), (len(frames), size, size))
        along = directions.reshape(len(frames), -1, size)
        found = np.zeros((len(frames), along.shape[1], len(self.weights)))
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            rows = slice(start, start + FRAMES_AT_ONCE)
            found[rows] = _features(self.ensemble, frames.take(rows), along[rows].astype(np.float32))[1]
        return found


def _features(ensemble: ANIEnsemble, frames: Frames, directions: SingleArray | None) -> tuple[FloatArray, SingleArray]:
    """Return features (F, N) and, along directions (F, D, 3 A) if there are any, their derivatives (F, D, N)."""
    functions, networks = ensemble.functions, ensemble.networks
    species = functions.species(frames.numbers)
    vectors, jacobian = descriptors_with_jacobian(functions.packed, [Structures(species, frames.positions)])
    shape = len(frames), len(species), functions.length
    inputs = torch.from_numpy(vectors).view(shape)
    tangents = torch.zeros(len(frames), len(species), 0, functions.length)
    if directions is not None:
        dense = torch.from_numpy(densify(jacobian, np.arange(len(frames)), jacobian.atom_start, functions.length))
        products = torch.bmm(dense, torch.from_numpy(np.ascontiguousarray(directions.transpose(0, 2, 1))))
        tangents = products.view(*shape, -1).transpose(2, 3)
    values, slopes = [], []
    for member in range(ensemble.members):
        for element, (weights, biases) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            own = torch.from_numpy(np.flatnonzero(species == element))
            hidden, tangent = inputs[:, own], tangents[:, own]
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                matrix = torch.from_numpy(weight[member])
                hidden, slope, _ = ACTIVATIONS[networks.activation](hidden @ matrix + torch.from_numpy(bias[member]))
                tangent = (tangent @ matrix) * slope[:, :, None]
            values.append(hidden.sum(dim=1, dtype=torch.float64))
            slopes.append(tangent.sum(dim=1))
    return (torch.cat(values, dim=1) / ensemble.members).numpy(), (torch.cat(slopes, dim=2) / ensemble.members).numpy()
