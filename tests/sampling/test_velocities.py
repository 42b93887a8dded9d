import numpy as np
import pytest

from alflow.sampling.md import initial_state
from alflow.sampling.velocities import masses_amu, temperature, thermal_velocities
from alflow.structures import alkane


def test_neither_momentum_nor_rotation():
    frames = alkane(6)
    state = initial_state(frames, 300.0, np.random.default_rng(0))
    mass = masses_amu(frames.numbers)[:, None]
    arms = state.positions - (mass * state.positions).sum(axis=0) / mass.sum()
    np.testing.assert_allclose((mass * state.velocities).sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose((mass * np.cross(arms, state.velocities)).sum(axis=0), 0.0, atol=1e-10)
    assert state.step == 0


def test_mean_energy_is_that_of_the_temperature():
    """Each of the 3A - 6 degrees of freedom that are left has kT/2."""
    frames = alkane(3)
    rng = np.random.default_rng(1)
    drawn = np.array([thermal_velocities(frames.numbers, frames.positions[0], 500.0, rng) for _ in range(2000)])
    measured = temperature(frames.numbers, drawn).mean() * (33 - 3) / (33 - 6)
    assert measured == pytest.approx(500.0, rel=0.02)


def test_a_linear_molecule_has_no_rotation_and_stays_finite():
    numbers, x = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.74]])
    v = thermal_velocities(numbers, x, 300.0, np.random.default_rng(2))
    np.testing.assert_allclose(v[:, :2], 0.0, atol=1e-12)
    assert abs(v[0, 2]) > 1e-4


def test_a_single_atom_comes_to_rest():
    v = thermal_velocities(np.array([6]), np.zeros((1, 3)), 300.0, np.random.default_rng(2))
    np.testing.assert_allclose(v, 0.0, atol=1e-15)


def test_temperature_of_a_known_speed():
    """1 amu at 1 Å/fs has 51.82 eV: T = 2 E / (3 k)."""
    v = np.array([[[1.0, 0, 0]]])
    assert temperature(np.array([1]), v)[0] == pytest.approx(1.008 * 103.642697 / (3 * 8.617333262e-5))
