"""Covariance of the last layer, on features that are linear in the positions: there the theory is exact."""

from dataclasses import dataclass

import numpy as np
import pytest

from alflow.acquisition.calibration import coverage, normal_factor
from alflow.potentials.uncertainty.lastlayer import (
    PRIORS,
    CheckedErrors,
    Covariance,
    LastLayerCovariance,
    LastLayerDistance,
    fit_covariance,
    gram_of,
)
from alflow.types import FloatArray, Frames

NUMBERS = np.array([1, 1, 1])
NOISE_EV = 0.03


@dataclass(frozen=True)
class LinearLayer:
    """Features f = B r of (A, 3) positions."""

    matrix: FloatArray
    """(N, 3 A)."""

    def values(self, frames):
        return frames.positions.reshape(len(frames), -1) @ self.matrix.T

    def slopes(self, frames, directions=None):
        size = self.matrix.shape[1]
        along = np.broadcast_to(np.eye(size), (len(frames), size, size)) if directions is None else directions
        return along.reshape(len(frames), -1, size) @ self.matrix.T


def draw(rng, count, width=1.0):
    return Frames.of(NUMBERS, width * rng.normal(size=(count, 3, 3)))


@pytest.fixture
def layer():
    return LinearLayer(np.random.default_rng(0).normal(size=(6, 9)))


def test_the_variance_is_that_of_the_formula(layer):
    rng = np.random.default_rng(1)
    trained, checked, new = draw(rng, 40), draw(rng, 30), draw(rng, 4)
    errors = CheckedErrors(checked, rng.normal(size=30), rng.normal(size=(30, 3, 3)))
    estimator = LastLayerCovariance.fit(layer, [trained], [errors])
    rows, slopes = layer.values(trained), layer.slopes(new)
    centred = rows - rows.mean(axis=0)

    def inverse(covariance):
        return covariance.scale**2 * np.linalg.inv(centred.T @ centred + covariance.prior * np.eye(6))

    away = layer.values(new) - rows.mean(axis=0)
    expected = np.einsum("fi,ij,fj->f", away, inverse(estimator.energies), away) + estimator.energies.scale**2 / 40
    assert estimator.energy(new) ** 2 == pytest.approx(expected)
    components = np.einsum("fdi,ij,fdj->fd", slopes, inverse(estimator.forces), slopes).reshape(4, 3, 3)
    assert estimator.largest_force(new) ** 2 == pytest.approx(components.sum(axis=2).max(axis=1))
    directions = rng.normal(size=(4, 3, 3))
    along = directions.reshape(4, 9) @ layer.matrix.T
    expected = np.einsum("fi,ij,fj->f", along, inverse(estimator.forces), along)
    assert estimator.force_along(new, directions) ** 2 == pytest.approx(expected)


def test_a_regression_errs_as_stated(layer):
    """Least squares on few rows, with a constant: errors are draws from N(0, σ), energies and forces alike."""
    rng = np.random.default_rng(2)
    energies, forces, stated, stated_forces = [], [], [], []
    for _ in range(400):
        trained, new = draw(rng, 20), draw(rng, 5, 3.0)
        rows = np.hstack([layer.values(trained), np.ones((20, 1))])
        error = np.linalg.lstsq(rows, NOISE_EV * rng.normal(size=20), rcond=None)[0]
        gram = gram_of(layer, [trained])
        covariance = Covariance(np.linalg.inv(np.linalg.cholesky(gram.matrix)).T, NOISE_EV, 0.0)
        estimator = LastLayerCovariance(layer, gram, covariance, covariance)
        directions = rng.normal(size=(5, 3, 3))
        energies.append(layer.values(new) @ error[:6] + error[6])
        forces.append(layer.slopes(new, directions[:, None])[:, 0] @ error[:6])
        stated.append(estimator.energy(new))
        stated_forces.append(estimator.force_along(new, directions))
    for errors, deviations in ((energies, stated), (forces, stated_forces)):
        scores = np.concatenate(errors), np.concatenate(deviations)
        for level in (0.68, 0.95):
            assert coverage(scores[0], normal_factor(level) * scores[1]) == pytest.approx(level, abs=0.03)


def test_scale_and_prior_are_found_again():
    rng = np.random.default_rng(3)
    eigenvalues = 10.0 ** -np.arange(8.0)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    gram = basis @ np.diag(eigenvalues) @ basis.T
    prior = PRIORS[np.flatnonzero(PRIORS >= 0.99e-4)[0]]
    rows = rng.normal(size=(20000, 8)) * 10.0 ** rng.uniform(-2.0, 0.0, size=(20000, 8)) @ basis.T
    true = 0.2 * np.sqrt(((rows @ basis) ** 2) @ (1.0 / (eigenvalues + prior)))
    found = fit_covariance(gram, rows, true * rng.standard_normal(20000))
    assert found.prior == pytest.approx(prior)
    assert found.scale == pytest.approx(0.2, rel=0.03)
    assert found.deviation(rows) == pytest.approx(true, rel=0.03)
    errors = true * rng.standard_normal(20000)
    for level in (0.68, 0.95):
        assert coverage(errors, normal_factor(level) * found.deviation(rows)) == pytest.approx(level, abs=0.01)


def test_forces_weigh_as_in_the_loss(layer):
    frames = draw(np.random.default_rng(4), 5)
    values = layer.values(frames) - layer.values(frames).mean(axis=0)
    plain, weighted = gram_of(layer, [frames]), gram_of(layer, [frames], force_weight=2.0)
    assert plain.matrix == pytest.approx(values.T @ values)
    assert weighted.matrix == pytest.approx(values.T @ values / 3**0.5 + 5 * (2.0 / 3) * layer.matrix @ layer.matrix.T)
    assert (plain.count, weighted.count) == pytest.approx((5.0, 5.0 / 3**0.5))
    assert plain.centre == pytest.approx(weighted.centre)


def test_distance_is_to_the_nearest_known_frame():
    layer = LinearLayer(np.eye(9)[:2])
    known = Frames.of(NUMBERS, np.zeros((2, 3, 3)))
    known.positions[:, 0, 0] = [0.0, 2.0]  # a deviation of 1; the second feature does not vary
    new = Frames.of(NUMBERS, np.zeros((3, 3, 3)))
    new.positions[:, 0, 0] = [0.0, 1.5, -3.0]
    new.positions[:, 0, 1] = 7.0
    estimator = LastLayerDistance.fit(layer, [known])
    assert estimator.energy(new) == pytest.approx([0.0, 0.5, 3.0])
    assert estimator.largest_force(new) == pytest.approx(estimator.force_along(new, new.positions))
