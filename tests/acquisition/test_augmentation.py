"""Noise copies."""

import numpy as np

from alflow.acquisition.augmentation import jitter


def test_every_atom_and_axis_moves_by_itself_within_the_amplitude():
    positions = np.random.default_rng(0).normal(size=(20, 3))
    moved = jitter(positions, 200, 0.05, np.random.default_rng(1)) - positions
    assert moved.shape == (200, 20, 3)
    assert np.abs(moved).max() <= 0.05 + 1e-12
    assert np.abs(moved).max(axis=0).min() > 0.045
    correlation = np.corrcoef(moved.reshape(200, 60).T)
    assert np.abs(correlation - np.eye(60)).max() < 0.35


def test_copies_are_reproducible_and_the_argument_is_left_alone():
    positions = np.zeros((2, 3))
    one = jitter(positions, 2, 0.05, np.random.default_rng(3))
    assert (one == jitter(positions, 2, 0.05, np.random.default_rng(3))).all()
    assert not positions.any()
    assert jitter(positions, 0, 0.05, np.random.default_rng(3)).shape == (0, 2, 3)
