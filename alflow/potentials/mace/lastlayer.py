"""The last layer of MACE networks, and its derivatives by positions.

Each readout ends in a linear layer, so the energy of the mean of M members is linear in their weights w: E = f · w +
constant, where f holds, for each member and readout, the sum over the atoms of what enters that layer, over M: of the
first readouts the scalars among a layer's messages, of the last one its hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alflow.errors import StructureError
from alflow.potentials.mace.graphs import Bound
from alflow.potentials.mace.library import same_bits
from alflow.types import FloatArray, Frames, IntArray

ATOMS_AT_ONCE = 640
"""Atoms of the frames that are worked out together."""


@dataclass(frozen=True)
class MACELastLayer:
    """The N features of the mean of an ensemble: see `alflow.potentials.uncertainty.lastlayer.LastLayer`."""

    bind: Callable[[IntArray], Bound]
    """Returns the networks bound to (A,) atomic numbers."""

    @property
    def weights(self) -> FloatArray:
        """The last layers' weights w, (N,) eV, in the order of the features."""
        bound = self.bind(np.zeros(0, dtype=np.int64))
        return np.concatenate([_weights(bound.network(member)) for member in range(bound.members)])

    def values(self, frames: Frames) -> FloatArray:
        """Return the features f, (F, N); no unit.

        Raises:
            StructureError: an element is unknown to the ensemble, or a position is not finite.
        """
        return np.concatenate([values.detach().cpu().numpy() for _, values, _ in self._parts(frames)])

    def slopes(self, frames: Frames, directions: FloatArray | None = None) -> FloatArray:
        """Return the derivatives of the features along directions: ∂f/∂r · d, of the unit of d over Å.

        By automatic derivatives, one pass back a feature for all frames of a part.

        Args:
            frames: F structures of A atoms.
            directions: (F, D, A, 3); the 3 A positions one by one if not given, atom by atom.

        Returns:
            (F, D, N).

        Raises:
            StructureError: an element is unknown to the ensemble, or a position is not finite.
        """
        found = []
        for rows, values, leaves in self._parts(frames):
            slopes = np.concatenate([_jacobian(part, leaf, len(values)) for part, leaf in leaves], axis=1)
            flat = np.ascontiguousarray(slopes.swapaxes(1, 2))
            if directions is not None:
                flat = directions[rows].reshape(len(values), -1, flat.shape[1]) @ flat
            found.append(flat)
        return np.concatenate(found)

    def _parts(self, frames: Frames) -> Iterator[tuple[slice, Tensor, list[tuple[Tensor, Tensor]]]]:
        """Yield rows of the frames, their features (R, N), and each network's own with the positions beneath them."""
        if not np.isfinite(frames.positions).all():
            raise StructureError("Features are those of a structure: a position is not finite. Take the frame out.")
        bound = self.bind(frames.numbers)
        share = max(1, ATOMS_AT_ONCE // max(1, len(frames.numbers)))
        for start in range(0, len(frames), share):
            rows = slice(start, start + share)
            positions = torch.from_numpy(np.ascontiguousarray(frames.positions[rows])).to(bound.device)
            with same_bits():
                leaves = [_features(bound, member, positions) for member in range(bound.members)]
            yield rows, torch.cat([values for values, _ in leaves], dim=1), leaves


def _layers(network: Any) -> list[Any]:
    """Return the last linear layer of each readout."""
    return [readout.linear if hasattr(readout, "linear") else readout.linear_2 for readout in network.readouts]


def _scalars(layer: Any) -> int:
    """Return how many of the numbers that enter a layer are scalars; they come first."""
    return int(layer.irreps_in.count("0e"))


@contextmanager
def _entering(layers: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Give a list of the scalars that enter each layer in the next pass."""
    entered: list[Tensor] = []

    def note(layer: Any, given: tuple[Tensor, ...]) -> None:
        entered.append(given[0][:, : _scalars(layer)])

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _weights(network: Any) -> FloatArray:
    """Return the weights of the scalars that enter a network's last layers, times the scale of its energies."""
    scale, found = float(network.scale_shift.scale.reshape(-1)[0]), []
    for layer in _layers(network):
        unit = torch.eye(layer.irreps_in.dim, dtype=network.r_max.dtype, device=network.r_max.device)
        rows = (layer(unit) - layer(torch.zeros_like(unit)))[: _scalars(layer), 0]
        found.append(scale * rows.detach().cpu().double().numpy())
    return np.concatenate(found)


def _features(bound: Bound, member: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return a member's features (R, n), in double precision, and the (R A, 3) positions that they depend on."""
    graph, network = bound.graph(positions), bound.network(member)
    with _entering(_layers(network)) as entered:
        network(graph, compute_force=False)
    scalars = torch.cat(entered, dim=1).reshape(*positions.shape[:2], -1)
    return scalars.sum(dim=1, dtype=torch.float64) / bound.members, graph["positions"]


def _jacobian(values: Tensor, leaf: Tensor, count: int) -> FloatArray:
    """Return the derivatives (R, n, 3 A) of features (R, n) of R structures by their positions."""
    rows = []
    for feature in values.unbind(dim=1):
        found = torch.autograd.grad(feature.sum(), leaf, retain_graph=True, allow_unused=True)[0]
        rows.append(torch.zeros_like(leaf) if found is None else found)
    return torch.stack(rows).reshape(len(rows), count, -1).transpose(0, 1).cpu().double().numpy()
