"""What every coordinate has to be, whoever brings it."""

import numpy as np
import pytest
from guests import welcome

from alflow.config.plugins import COORDINATES, PluginError, find_installed, names
from alflow.config.sampling import PullSettings
from alflow.sampling.md import initial_state
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import alkane
from alflow.types import Evaluation

welcome()
PULL = PullSettings(steps=60, rate_angstrom_per_ps=20.0)


def kinds():
    for name in names(COORDINATES):
        try:
            yield name, find_installed(COORDINATES, name)
        except PluginError:
            continue


KINDS = dict(kinds())


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def steering(kind):
    return kind.bind(alkane(2), kind.settings.model_validate(kind.example), PULL)


def springs(positions, start=None):
    """Hold every atom where it is in ideal ethane."""
    del start
    gap = positions - alkane(2).positions[0]
    return Evaluation(float(2.0 * (gap**2).sum()), -4.0 * gap)


def pulled(kind, cuts):
    ethane = alkane(2)
    steering = kind.bind(ethane, kind.settings.model_validate(kind.example), PULL)
    state = start_pull(initial_state(ethane, 10.0, np.random.default_rng(1)), steering)
    segments = []
    for steps in cuts:
        segments.append(pull_segment(springs, ethane.composition, state, steering, PULL, steps=steps))
        assert not segments[-1].stopped
        state = segments[-1].end
    return segments


@pytest.mark.parametrize("cuts", [(30, 30), (1, 9, 50), (20, 20, 20)])
def test_a_cut_changes_no_bit(kind, cuts):
    (whole,), parts = pulled(kind, (60,)), pulled(kind, cuts)
    for name in ("steps", "target", "coordinate", "energy", "work", "temperature"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name)), name
    assert np.array_equal(parts[-1].end.positions, whole.end.positions)
    assert np.array_equal(parts[-1].end.velocities, whole.end.velocities)
    assert parts[-1].end.steering.work == whole.end.steering.work


def test_a_pull_starts_at_rest_and_does_the_work_that_it_says(kind, steering):
    (segment,) = pulled(kind, (60,))
    ethane = alkane(2)
    assert segment.work[0] == 0.0
    assert segment.coordinate[0] == pytest.approx(float(steering.value(ethane.positions)[0]))
    np.testing.assert_array_equal(segment.coordinate, steering.value(segment.frames.positions))
    change = steering.planned_change(PULL.steps)
    assert segment.target[-1] - segment.target[0] == pytest.approx(change, rel=0.05)
    assert np.sign(segment.coordinate[-1] - segment.coordinate[0]) == np.sign(change)
    assert segment.work[-1] > 0.0


def test_it_says_which_atoms_it_is_made_of(steering):
    assert steering.unit
    assert len(set(steering.atoms)) == len(steering.atoms) > 0
    still = alkane(2).positions.repeat(2, axis=0)
    free = [atom for atom in range(8) if atom not in steering.atoms]
    still[1, free] += 0.3
    values = steering.value(still)
    assert values[0] == values[1]


def test_two_runs_are_the_same(kind):
    (one,), (other,) = pulled(kind, (60,)), pulled(kind, (60,))
    assert np.array_equal(one.frames.positions, other.frames.positions)
