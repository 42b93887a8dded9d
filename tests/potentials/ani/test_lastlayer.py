"""The last hidden layer: energies and forces of the mean are linear in its weights."""

import numpy as np
import pytest

from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.lastlayer import ANILastLayer
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.structures import alkane
from alflow.types import Frames


@pytest.fixture(scope="module", params=["gelu", "celu"])
def ensemble(request):
    functions = SymmetryFunctions.like_2x((1, 6, 8))
    generators = [np.random.default_rng(index) for index in range(2)]
    networks = fresh_networks(functions.length, [(24, 16), (20, 12), (16, 8)], request.param, generators)
    return ANIEnsemble(functions, networks, np.tile([-1.0, -3.0, -5.0], (2, 1)))


@pytest.fixture(scope="module")
def frames():
    start = alkane(2)
    rng = np.random.default_rng(3)
    return Frames.of(start.numbers, start.positions[0] + rng.normal(0.0, 0.05, (19, len(start.numbers), 3)))


def test_energies_are_features_times_weights(ensemble, frames):
    layer = ANILastLayer(ensemble)
    features, weights = layer.values(frames), layer.weights
    assert features.shape == (19, 2 * (16 + 12 + 8))
    constant = 6 * -1.0 + 2 * -3.0  # fresh networks have no bias in their last layer
    np.testing.assert_allclose(features @ weights + constant, ensemble.evaluate(frames)[0].mean(axis=0), atol=2e-5)
    assert (features[:, 28:36] == 0.0).all()  # there is no oxygen


def test_forces_are_slopes_times_weights(ensemble, frames):
    layer = ANILastLayer(ensemble)
    forces = -(layer.slopes(frames) @ layer.weights)
    np.testing.assert_allclose(forces.reshape(19, 8, 3), ensemble.evaluate(frames)[1].mean(axis=0), atol=1e-4)


def test_slopes_along_a_direction_are_sums_of_those_along_positions(ensemble, frames):
    directions = np.random.default_rng(4).normal(size=(19, 2, 8, 3))
    layer = ANILastLayer(ensemble)
    whole = layer.slopes(frames)
    expected = np.einsum("fdk,fkn->fdn", directions.reshape(19, 2, 24), whole)
    np.testing.assert_allclose(layer.slopes(frames, directions), expected, atol=1e-4)
