"""Graphs of molecules as MACE takes them, and the networks' energies and forces. R structures of A atoms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alflow.potentials.mace.architecture import Architecture, Weights
from alflow.potentials.mace.library import same_bits
from alflow.types import IntArray

Graph = dict[str, Tensor]


class Bound:
    """Networks of one architecture bound to one composition. For one thread."""

    def __init__(
        self, architecture: Architecture, weights: Sequence[Weights], numbers: IntArray, device: torch.device
    ) -> None:
        """Bind the weights of M members to (A,) atomic numbers, all of them among the architecture's elements."""
        self.members, self.device = len(weights), device
        self._architecture, self._cutoff, self._dtype = architecture, architecture.cutoff, architecture.dtype
        self._weights = [{name: value.to(device) for name, value in member.items()} for member in weights]
        elements = list(architecture.elements)
        places = torch.tensor([elements.index(int(number)) for number in numbers], dtype=torch.long)
        self._one_hot = torch.nn.functional.one_hot(places, len(elements)).to(device, self._dtype)

    def network(self, member: int) -> torch.nn.Module:
        """Return the network with a member's weights; it holds them until the next is asked for."""
        return self._architecture.network(self._weights[member], self.device)

    def graph(self, positions: Tensor) -> Graph:
        """Return the graph of (R, A, 3) Å, structures side by side and around the origin, each pair both ways.

        Displacements from the middle of a structure are taken in double precision. One whose positions are not finite
        has no pairs.
        """
        count, atoms, _ = positions.shape
        middled = positions - positions.mean(dim=1, keepdim=True)
        apart = torch.cdist(middled, middled, compute_mode="donot_use_mm_for_euclid_dist")
        near = (apart < self._cutoff) & ~torch.eye(atoms, dtype=torch.bool, device=self.device)
        which, first, second = near.nonzero(as_tuple=True)
        edges = torch.stack([which * atoms + first, which * atoms + second])
        none = torch.zeros((edges.shape[1], 3), dtype=self._dtype, device=self.device)
        return {
            "positions": middled.reshape(-1, 3).to(self._dtype),
            "node_attrs": self._one_hot.repeat(count, 1),
            "edge_index": edges,
            "shifts": none,
            "unit_shifts": none,
            "cell": torch.zeros((3 * count, 3), dtype=self._dtype, device=self.device),
            "batch": torch.arange(count, device=self.device).repeat_interleave(atoms),
            "ptr": torch.arange(count + 1, device=self.device) * atoms,
        }

    def __call__(self, positions: Tensor, forces: Sequence[bool]) -> tuple[Tensor, Tensor]:
        """Return energies (M, R) eV, those of the atoms left out, and forces (M, R, A, 3) eV/Å, in double precision.

        A structure whose positions are not finite gets NaN, and does not touch the others.

        Args:
            positions: (R, A, 3) Å, in double precision.
            forces: for each network, whether its forces are wanted; they are 0 otherwise.
        """
        graph, shape = self.graph(positions), positions.shape
        energies = torch.zeros((self.members, shape[0]), dtype=torch.float64, device=self.device)
        found = torch.zeros((self.members, *shape), dtype=torch.float64, device=self.device)
        for member, wanted in enumerate(forces):
            leaf = graph["positions"].detach().clone()
            with same_bits():
                output = self.network(member)({**graph, "positions": leaf}, compute_force=wanted)
            energies[member] = output["interaction_energy"].detach()
            if wanted:
                found[member] = output["forces"].detach().reshape(shape)
        lost = ~torch.isfinite(positions).all(dim=2).all(dim=1)
        return energies.masked_fill(lost, torch.nan), found.masked_fill(lost[:, None, None], torch.nan)
