"""The networks of an ensemble as arrays: one small dense network for each member and element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alflow.potentials.ani.kernels.activations import CELU, GELU
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.gemm import packed
from alflow.potentials.ani.kernels.networks import PackedNetworks

Activation = Literal["gelu", "celu"]


@dataclass(frozen=True)
class Networks:
    """Weights of M members. Energies in eV, descriptors as they are."""

    weights: tuple[tuple[SingleArray, ...], ...]
    """For each element, for each layer: (M, inputs, outputs)."""
    biases: tuple[tuple[SingleArray, ...], ...]
    """For each element, for each layer: (M, outputs)."""
    activation: Activation = "gelu"

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.weights[0][0])

    @property
    def hidden(self) -> tuple[tuple[int, ...], ...]:
        """Widths of the hidden layers of each element."""
        return tuple(tuple(layer.shape[2] for layer in element[:-1]) for element in self.weights)

    def select(self, members: Sequence[int]) -> Networks:
        """Return the networks of some members."""
        rows = list(members)
        return Networks(
            tuple(tuple(layer[rows] for layer in element) for element in self.weights),
            tuple(tuple(layer[rows] for layer in element) for element in self.biases),
            self.activation,
        )

    def packed(self) -> PackedNetworks:
        """Return all weights in flat arrays, as the compiled passes take them."""
        elements, layers = len(self.weights), len(self.weights[0])
        shape = np.array([[layer.shape[1:] for layer in element] for element in self.weights], np.int64)
        weight_size, bias_size = shape.prod(axis=2), shape[:, :, 1]
        starts = [(np.cumsum(size) - size.ravel()).reshape(elements, layers) for size in (weight_size, bias_size)]
        step = [np.arange(self.members)[:, None, None] * size.sum() for size in (weight_size, bias_size)]
        weights, panels = [], []
        panel_start, place = np.empty((self.members, elements, layers - 1, 2), np.int64), 0
        for m in range(self.members):
            for e, h in np.ndindex(elements, layers):
                flat = self.weights[e][h][m].astype(np.float32).ravel()
                weights.append(flat)
                for side in range(2 if h < layers - 1 else 0):
                    panels.append(packed(flat, *self.weights[e][h].shape[1:], transposed=side == 1))
                    panel_start[m, e, h, side] = place
                    place += len(panels[-1])
        order = [(m, e, h) for m in range(self.members) for e in range(elements) for h in range(layers)]
        return PackedNetworks(
            activation=GELU if self.activation == "gelu" else CELU,
            layers=layers,
            shape=shape,
            weight_start=starts[0][None] + step[0],
            bias_start=starts[1][None] + step[1],
            weights=np.concatenate(weights),
            panel_start=panel_start,
            panels=np.concatenate(panels),
            biases=np.concatenate([self.biases[e][h][m].ravel() for m, e, h in order]).astype(np.float32),
        )


def fresh_networks(
    length: int, hidden: Sequence[Sequence[int]], activation: Activation, generators: Sequence[np.random.Generator]
) -> Networks:
    """Return networks with Kaiming-normal weights, N(0, 2 / inputs), and biases of zero; one generator a member.

    Args:
        length: of a descriptor.
        hidden: widths of the hidden layers of each element.
        activation: of the hidden layers.
        generators: one for each member.
    """
    shapes = [list(zip([length, *widths], [*widths, 1], strict=True)) for widths in hidden]
    members = [
        [[rng.normal(0.0, np.sqrt(2.0 / wide), (wide, narrow)) for wide, narrow in element] for element in shapes]
        for rng in generators
    ]
    weights = tuple(
        tuple(np.stack([member[e][h] for member in members]).astype(np.float32) for h in range(len(element)))
        for e, element in enumerate(shapes)
    )
    biases = tuple(
        tuple(np.zeros((len(generators), narrow), np.float32) for _, narrow in element) for element in shapes
    )
    return Networks(weights, biases, activation)
