"""Compiled passes through the networks against those of torch, which are their specification."""

import numpy as np
import pytest
import torch

from alflow.potentials.ani.kernels.evaluator import sort_atoms
from alflow.potentials.ani.kernels.networks import evaluate_networks, make_network_workspace
from alflow.potentials.ani.network import Networks, fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training.activation import ACTIVATIONS
from alflow.potentials.ani.training.compiled_passes import CompiledPasses
from alflow.potentials.ani.training.data import lay_out, prepare
from alflow.potentials.ani.training.parameters import from_networks
from alflow.potentials.ani.training.passes import DevicePasses, backward, forward
from alflow.potentials.ani.training.targets import gather_targets
from alflow.potentials.sharing import Share
from alflow.types import Dataset, Frames, Group, Labels

CPU = torch.device("cpu")


def networks_of(length, activation):
    """Return two members of two elements, with biases that are not zero."""
    rngs = [np.random.default_rng(member) for member in (1, 2)]
    fresh = fresh_networks(length, [(40, 16), (33, 8)], activation, rngs)
    biases = tuple(tuple(layer + np.float32(0.1) for layer in element) for element in fresh.biases)
    return Networks(fresh.weights, biases, activation)


@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_energies_and_gradient_of_one_structure_equal_torch(activation):
    length, species = 48, np.array([1, 0, 0, 1, 0, 0, 0])
    networks = networks_of(length, activation)
    packed, parameters = networks.packed(), from_networks(networks, CPU)
    vectors = np.random.default_rng(3).normal(size=(len(species), length))
    atoms, weights = sort_atoms(species, 2), np.array([0.25, 0.75])
    energies, gradient = np.empty(2), np.empty(vectors.shape)
    work = make_network_workspace(packed, *vectors.shape)
    evaluate_networks(packed, atoms.bounds, atoms.order, vectors, weights, work, energies, gradient)
    expected, slopes = torch.zeros(2), np.empty(vectors.shape)
    for e in range(2):
        inputs = torch.from_numpy(vectors[species == e]).float().expand(2, -1, -1)
        atomic, tape = forward(parameters, ACTIVATIONS[activation], e, inputs)
        expected += atomic.sum(dim=1)
        slopes[species == e] = np.tensordot(weights, backward(parameters, e, tape)[0].numpy(), 1)
    assert energies == pytest.approx(expected.numpy(), abs=1e-5)
    assert gradient == pytest.approx(slopes, abs=1e-6)


def dataset():
    """Return two compositions with random labels."""
    rng = np.random.default_rng(5)
    groups = []
    for numbers in (np.array([6, 1, 1, 1, 1]), np.array([6, 6, 1, 1, 1, 1, 1, 1])):
        grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), -1).reshape(-1, 3)[: len(numbers)] * 1.2
        positions = grid + rng.uniform(-0.2, 0.2, (4, len(numbers), 3))
        groups.append(
            Group(Frames.of(numbers, positions), Labels(rng.normal(size=4), rng.normal(size=positions.shape)))
        )
    return Dataset(tuple(groups))


@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_a_training_step_equals_torch(activation, forces):
    functions, rng = SymmetryFunctions.like_2x((1, 6)), np.random.default_rng(6)
    data = prepare(dataset(), functions, 1.0)
    networks = networks_of(functions.length, activation)
    batch = lay_out(data, [np.array([0, 5, 2]), np.array([7, 1])], Share())
    targets = gather_targets(data, np.tile(data.energies, (2, 1)), 0.7, batch)
    shift, scale = (torch.from_numpy(rng.uniform(0.5, 1.5, (2, functions.length)).astype(np.float32)) for _ in range(2))
    parameters = from_networks(networks, CPU)
    found = []
    for passes in (CompiledPasses(parameters, shift, scale, Share()), DevicePasses(activation, shift, scale)):
        gradient = parameters.like(torch.full_like(parameters.flat, torch.nan))
        with torch.no_grad():
            errors = passes.run(parameters, batch, targets, gradient, forces=forces)
        assert (errors.forces is not None) == forces
        parts = [errors.energies, errors.loss, gradient.flat, *([errors.forces] if errors.forces is not None else [])]
        found.append([part.numpy() for part in parts])
    for compiled, torchs in zip(*found, strict=True):
        assert np.abs(compiled - torchs).max() < 2e-5 * np.abs(torchs).max()
