"""The spread of members as an estimator."""

import numpy as np
import pytest

from alflow.potentials.uncertainty import EnergySpread, ForceSpread, SpreadAndDistance
from alflow.types import Frames


class TwoMembers:
    """Members that differ by a constant energy, and by a force on the second atom."""

    members = 2

    def evaluate(self, frames, threads=1):
        energies, forces = np.zeros((2, len(frames))), np.zeros((2, len(frames), 2, 3))
        energies[0] = 0.2
        forces[1, :, 1] = [0.6, 0.8, 0.0]
        return energies, forces


def test_spreads_are_population_standard_deviations():
    frames = Frames.of(np.array([1, 1]), np.zeros((3, 2, 3)))
    directions = np.zeros((3, 2, 3))
    directions[:, 1, 0] = 2.0
    energy, force = EnergySpread(TwoMembers()), ForceSpread(TwoMembers())
    for found in (energy.energy(frames), energy.largest_force(frames), energy.force_along(frames, directions)):
        assert found == pytest.approx(np.full(3, 0.1))
    assert force.energy(frames) == pytest.approx(np.full(3, 0.5))
    assert force.largest_force(frames) == pytest.approx(np.full(3, 0.5))
    assert force.force_along(frames, directions) == pytest.approx(np.full(3, 0.6))
    both = SpreadAndDistance(force, energy)
    assert both.energy(frames) == pytest.approx(np.full(3, 0.05**0.5))
    assert both.largest_force(frames) == pytest.approx(np.full(3, 0.05**0.5))
    assert both.force_along(frames, directions) == pytest.approx(np.full(3, 0.06**0.5))
