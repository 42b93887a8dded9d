"""What tells frames apart in the eyes of an ensemble."""

import numpy as np
import pytest

from alflow.potentials.uncertainty import features_of, leverage
from alflow.types import Frames


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


def test_what_is_known_is_held_more_firmly_than_what_is_far():
    known = np.random.default_rng(4).normal(size=(100, 3))
    assert leverage(known, known).max() < leverage(known + 20.0, known).min()
    assert np.isfinite(leverage(known, known[:1])).all()
