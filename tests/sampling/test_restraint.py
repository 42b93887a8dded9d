"""Restraints that move any coordinate: the same physics as LAMMPS's spring, and no seam where a run is cut."""

from dataclasses import dataclass

import numpy as np
import pytest

from alflow.config.sampling import PullSettings, RelaxSettings
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.coordinates.restraint import MovingRestraint
from alflow.sampling.md import relax
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import end_carbons

SETTINGS = PullSettings(rate_angstrom_per_ps=20.0)


@dataclass(frozen=True)
class PairDistance:
    pair: tuple[int, int]
    unit = "Å"

    @property
    def atoms(self):
        return self.pair

    def value(self, positions):
        return np.linalg.norm(positions[:, self.pair[1]] - positions[:, self.pair[0]], axis=1)

    def gradient(self, positions):
        along = positions[self.pair[1]] - positions[self.pair[0]]
        along /= np.linalg.norm(along)
        found = np.zeros_like(positions)
        found[self.pair[1]], found[self.pair[0]] = along, -along
        return found


def restraint(pair):
    rate, constant = SETTINGS.rate_angstrom_per_ps, SETTINGS.spring_ev_per_angstrom2
    return MovingRestraint(PairDistance(pair), rate, constant, SETTINGS.timestep_fs)


@pytest.fixture
def relaxed(network, butane):
    settings = RelaxSettings(langevin_steps=50, berendsen_steps=50)
    pair = end_carbons(butane.numbers)
    return relax(network, butane.composition, butane.positions[0], settings, np.random.default_rng(5), steered=pair)


def pull(network, butane, state, steering, cuts):
    state, segments = start_pull(state, steering), []
    for steps in cuts:
        segments.append(pull_segment(network, butane.composition, state, steering, SETTINGS, steps=steps))
        state = segments[-1].end
    return segments


def joined(segments, name):
    return np.concatenate([getattr(segment, name) for segment in segments])


def test_a_distance_is_pulled_as_by_the_spring_of_lammps(network, butane, relaxed):
    pair = end_carbons(butane.numbers)
    (ours,) = pull(network, butane, relaxed, restraint(pair), [300])
    (lammps,) = pull(network, butane, relaxed, Distance(butane.numbers, pair, SETTINGS), [300])
    np.testing.assert_allclose(ours.frames.positions, lammps.frames.positions, atol=1e-8)
    np.testing.assert_allclose(ours.work, lammps.work, atol=1e-9)
    assert lammps.work[-1] > 0.01
    growth = SETTINGS.rate_angstrom_per_ps * 1e-3 * SETTINGS.timestep_fs  # LAMMPS tells the target of the next step
    np.testing.assert_allclose(ours.target + growth, lammps.target, atol=1e-9)


@pytest.mark.parametrize("cuts", [(100, 100, 100), (1, 2, 50, 97, 149, 1)])
def test_a_cut_changes_no_bit(network, butane, relaxed, cuts):
    pair = end_carbons(butane.numbers)
    whole = pull(network, butane, relaxed, restraint(pair), [300])
    parts = pull(network, butane, relaxed, restraint(pair), cuts)
    for name in ("steps", "target", "coordinate", "energy", "work", "temperature"):
        assert np.array_equal(joined(parts, name), joined(whole, name)), name
    assert np.array_equal(parts[-1].end.positions, whole[-1].end.positions)
    assert parts[-1].end.steering.work == whole[-1].end.steering.work
