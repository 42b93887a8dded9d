"""What tells frames apart in the eyes of an ensemble."""

import numpy as np
import pytest

from alflow.potentials.uncertainty import features_of, leverage, stated_uncertainties
from alflow.types import Assessment, Frames


class Plain:
    """An ensemble without a last layer to show."""

    members = 2


def test_without_a_last_layer_distances_tell_frames_apart():
    positions = np.random.default_rng(1).normal(scale=3.0, size=(4, 5, 3))
    frames = Frames.of(np.array([6, 1, 1, 1, 1]), positions)
    found = features_of(Plain(), frames)
    assert not found.linear
    assert found.values.shape == (4, 10)
    turned = positions @ np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0] + 1.0
    assert features_of(Plain(), Frames.of(frames.numbers, turned)).values == pytest.approx(found.values)


def test_leverage_is_that_of_a_ridge_regression():
    rng = np.random.default_rng(3)
    known, new = rng.normal(size=(50, 4)), 3.0 * rng.normal(size=(6, 4))
    centred = known - known.mean(axis=0)
    gram = centred.T @ centred
    prior = 1e-3 * np.linalg.eigvalsh(gram)[-1]
    rows = new - known.mean(axis=0)
    wanted = np.sqrt(np.einsum("fn,nm,fm->f", rows, np.linalg.inv(gram + prior * np.eye(4)), rows) + 1.0 / 50.0)
    assert leverage(new, known) == pytest.approx(wanted, rel=1e-6)


def test_an_energy_from_a_start_is_certain_at_the_start():
    rng = np.random.default_rng(5)
    known, new = rng.normal(size=(400, 4)), rng.normal(size=(6, 4))
    found = leverage(new, known, new[0])
    assert found[0] == pytest.approx(1.0 / 20.0)
    assert (found[1:] > found[0]).all()
    assert found == pytest.approx(leverage(new - new[0] + known.mean(axis=0), known))
    energies, forces = rng.normal(size=(3, 6)), rng.normal(size=(3, 6, 2, 3))
    start = Assessment(energies[:, :1] + 7.0, forces[:, :1], new[:1], linear=False)
    spread, force = stated_uncertainties(Assessment(energies, forces, new, linear=False), known, start)
    assert spread == pytest.approx((energies - energies[:, :1]).std(axis=0))
    assert force.shape == (6,)
    linear = Assessment(energies, forces, new, linear=True)
    assert stated_uncertainties(linear, known, linear)[0] == pytest.approx(found)


def test_what_is_known_is_held_more_firmly_than_what_is_far():
    known = np.random.default_rng(4).normal(size=(100, 3))
    assert leverage(known, known).max() < leverage(known + 20.0, known).min()
    assert np.isfinite(leverage(known, known[:1])).all()
