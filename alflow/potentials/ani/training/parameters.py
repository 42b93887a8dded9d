"""All weights of the members in training, in one flat tensor with a view for each layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alflow.potentials.ani.network import Activation, Networks

Layers = tuple[tuple[torch.Tensor, ...], ...]
"""For each element, for each layer."""


@dataclass(frozen=True)
class Parameters:
    """Weights (M, inputs, outputs) and biases (M, 1, outputs) of every element and layer, views of `flat`."""

    flat: torch.Tensor
    weights: Layers
    biases: Layers
    activation: Activation

    def like(self, flat: torch.Tensor) -> Parameters:
        """Return views of the same shapes into another flat tensor."""
        place = 0

        def views(layers: Layers) -> Layers:
            nonlocal place
            found = []
            for element in layers:
                row = []
                for layer in element:
                    row.append(flat[place : place + layer.numel()].view(layer.shape))
                    place += layer.numel()
                found.append(tuple(row))
            return tuple(found)

        return Parameters(flat, views(self.weights), views(self.biases), self.activation)

    def to_networks(self) -> Networks:
        """Return a copy as arrays."""
        return Networks(
            tuple(tuple(layer.cpu().numpy().copy() for layer in element) for element in self.weights),
            tuple(tuple(layer.cpu().numpy()[:, 0].copy() for layer in element) for element in self.biases),
            self.activation,
        )


def from_networks(networks: Networks, device: torch.device) -> Parameters:
    """Copy networks into one flat tensor on a device."""
    weights = tuple(tuple(torch.from_numpy(layer) for layer in element) for element in networks.weights)
    biases = tuple(tuple(torch.from_numpy(layer)[:, None] for layer in element) for element in networks.biases)
    parts = [layer.reshape(-1) for layers in (weights, biases) for element in layers for layer in element]
    shapes = Parameters(torch.empty(0), weights, biases, networks.activation)
    return shapes.like(torch.cat(parts).to(device))
