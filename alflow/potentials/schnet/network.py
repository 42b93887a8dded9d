r"""SchNet's pass over a batch of structures, on the parameters of torch_geometric's module.

With features :math:`h` of the atoms, embeddings of their elements at first, each interaction adds
:math:`h \leftarrow h + A_3\,\sigma(A_2\,m + b_2) + b_3`, :math:`m_i = \sum_j W(r_{ij}) \circ A_1 h_j`,
:math:`\sigma(x) = \ln(1 + e^x) - \ln 2`, and the energy is the sum over atoms of a small dense network of
:math:`h` (Schütt et al., J. Chem. Theory Comput. 2019, 15, 448). N atoms, P pairs, B frames, F features.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import linear, softplus

from alflow.potentials.schnet.filters import FilterGrid
from alflow.potentials.schnet.messages import interpolate, messages
from alflow.types import IntArray

LOG_2 = log(2.0)
Parameters = dict[str, torch.Tensor]
"""By the names that torch_geometric's SchNet gives them."""


@dataclass(frozen=True)
class Architecture:
    """What a file of weights must say beside the weights."""

    features: int
    gaussians: int
    interactions: int
    cutoff: float
    """Å."""
    smooth_cutoff: bool
    repulsion_reach: float
    """Share of the sum of covalent radii up to which atoms repel each other; 0 for no repulsion."""

    @property
    def grid(self) -> FilterGrid:
        """Grid of the filters."""
        return FilterGrid(self.cutoff, self.gaussians, self.smooth_cutoff)


class Batch(NamedTuple):
    """Structures side by side."""

    numbers: torch.Tensor
    """(N,) atomic numbers."""
    frame: torch.Tensor
    """(N,) the structure that an atom belongs to."""
    frames: int
    pairs: IntArray
    """(P, 2) atoms of each pair."""
    unit: torch.Tensor
    """(P, 3) from the first atom of the pair to the second."""
    rows: IntArray
    shares: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]
    """See `FilterGrid.weights`."""


class GridTensors(NamedTuple):
    """Of a `FilterGrid`, as tensors."""

    expansion: torch.Tensor
    to_coefficients: torch.Tensor


def grid_tensors(grid: FilterGrid, dtype: torch.dtype = torch.float32) -> GridTensors:
    """Return the expansion of the nodes and the matrix that turns their values into coefficients."""
    return GridTensors(torch.as_tensor(grid.expansion, dtype=dtype), torch.as_tensor(grid.to_coefficients, dtype=dtype))


def reference_module(architecture: Architecture) -> torch.nn.Module:
    """Return torch_geometric's SchNet of that architecture, with fresh weights from torch's generator."""
    from torch_geometric.nn.models import SchNet  # noqa: PLC0415 - slow to import, and needed here alone

    module: torch.nn.Module = SchNet(
        hidden_channels=architecture.features,
        num_filters=architecture.features,
        num_interactions=architecture.interactions,
        num_gaussians=architecture.gaussians,
        cutoff=architecture.cutoff,
        interaction_graph=_all_pairs(architecture.cutoff),
    )
    return module


_ONE_STREAM = threading.Lock()
"""torch has one stream of random numbers for all threads of a process."""


def fresh_parameters(architecture: Architecture, seed: int) -> Parameters:
    """Return the parameters that torch_geometric's SchNet starts from, drawn from a stream of their own."""
    with _ONE_STREAM, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = reference_module(architecture)
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def filter_table(parameters: Parameters, interaction: int, grid: GridTensors) -> torch.Tensor:
    """Return (G, F) coefficients of one interaction's filters."""
    name = f"interactions.{interaction}.mlp"
    hidden = linear(grid.expansion, parameters[f"{name}.0.weight"], parameters[f"{name}.0.bias"])
    values = linear(_activation(hidden), parameters[f"{name}.2.weight"], parameters[f"{name}.2.bias"])
    return grid.to_coefficients @ values


def energies_and_forces(
    parameters: Parameters, interactions: int, grid: GridTensors, batch: Batch, *, differentiable: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies (B,) eV and forces (N, 3) eV/Å of the network alone.

    Args:
        parameters: of one member.
        interactions: number of interaction blocks.
        grid: of the filters.
        batch: the structures.
        differentiable: whether a loss on the result will be differentiated with respect to the parameters.
    """
    tables = [filter_table(parameters, block, grid) for block in range(interactions)]
    filters = [interpolate(table, batch.rows, batch.shares) for table in tables]
    if not differentiable:
        filters = [part.detach().requires_grad_() for part in filters]
    energies = _energies(parameters, batch, filters)
    gradients = torch.autograd.grad(energies.sum(), filters, create_graph=differentiable)
    derivatives = [interpolate(table, batch.rows, batch.slopes) for table in tables]
    slope = torch.stack([(g * d).sum(1) for g, d in zip(gradients, derivatives, strict=True)]).sum(0)
    push = slope[:, None] * batch.unit
    pairs = torch.from_numpy(batch.pairs)
    forces = push.new_zeros((len(batch.numbers), 3))
    forces = forces.index_add(0, pairs[:, 0], push).index_add(0, pairs[:, 1], -push)
    return energies, forces


def _energies(parameters: Parameters, batch: Batch, filters: list[torch.Tensor]) -> torch.Tensor:
    p = parameters
    h = p["embedding.weight"][batch.numbers]
    for block, part in enumerate(filters):
        name = f"interactions.{block}"
        message = messages(linear(h, p[f"{name}.conv.lin1.weight"]), part, batch.pairs)
        y = linear(message, p[f"{name}.conv.lin2.weight"], p[f"{name}.conv.lin2.bias"])
        h = h + linear(_activation(y), p[f"{name}.lin.weight"], p[f"{name}.lin.bias"])
    h = _activation(linear(h, p["lin1.weight"], p["lin1.bias"]))
    each = linear(h, p["lin2.weight"], p["lin2.bias"])[:, 0]
    return each.new_zeros(batch.frames).index_add(0, batch.frame, each)


def _activation(x: torch.Tensor) -> torch.Tensor:
    return softplus(x) - LOG_2


def _all_pairs(cutoff: float) -> Any:
    """Return an interaction graph for torch_geometric's SchNet: all pairs of a structure within the cutoff."""

    def graph(positions: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            near = torch.cdist(positions, positions) < cutoff
            near &= batch[:, None] == batch[None, :]
            near.fill_diagonal_(fill_value=False)
            edges = near.nonzero().T
        return edges, (positions[edges[0]] - positions[edges[1]]).norm(dim=-1)

    return graph
