"""The task that pulls several replicas together."""

import numpy as np
import pytest

from alflow.config.sampling import PullSettings
from alflow.errors import InputError
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.md import initial_state
from alflow.structures import alkane, end_carbons
from alflow.workers.models import EnsembleModel
from alflow.workers.tasks import pull_segment, pull_segments

SETTINGS = PullSettings(rate_angstrom_per_ps=20.0, record_stride=5)
MOLECULE = alkane(2)


class Reference:
    """Steers along the distance of the carbons."""

    def __init__(self, kind=Distance):
        self.kind = kind

    def bind(self, settings):
        return self.kind(MOLECULE.numbers, end_carbons(MOLECULE.numbers), settings) if self.kind is Distance else "else"


@pytest.fixture
def model(tmp_path):
    functions = SymmetryFunctions.like_2x((1, 6))
    networks = fresh_networks(functions.length, [(12, 8)] * 2, "gelu", [np.random.default_rng(m) for m in (1, 2)])
    small = tuple((*element[:-1], element[-1] * np.float32(0.03)) for element in networks.weights)
    ANIEnsemble(functions, type(networks)(small, networks.biases), np.zeros((2, 2))).save(tmp_path / "ensemble.pt")
    return EnsembleModel(str(tmp_path / "ensemble.pt"), "mean")


def states(count):
    rng = np.random.default_rng(3)
    return [initial_state(MOLECULE, 5.0, rng) for _ in range(count)]


def test_as_single_pulls_over_two_segments(model):
    composition, starts = MOLECULE.composition, states(3)
    first = pull_segments(model, composition, Reference(), SETTINGS, 20, *starts)
    second = pull_segments(model, composition, Reference(), SETTINGS, 10, first).value
    for replica, state in enumerate(starts):
        one = pull_segment(model, composition, state, Reference(), SETTINGS, 20)
        other = pull_segment(model, composition, one, Reference(), SETTINGS, 10).value
        assert second[replica].steps.tolist() == other.steps.tolist() == [25, 30]
        assert second[replica].frames.positions == pytest.approx(other.frames.positions, abs=1e-5)
        assert second[replica].work == pytest.approx(other.work, abs=1e-4)
        assert second[replica].forces is None
    assert np.abs(second[0].frames.positions - second[1].frames.positions).max() > 1e-3


def test_a_pull_that_has_stopped_stays_so_and_the_others_go_on(model):
    composition, starts = MOLECULE.composition, states(3)
    starts[1].velocities[3] = 10.0  # Å/fs
    first = pull_segments(model, composition, Reference(), SETTINGS, 10, *starts).value
    assert "must move slower" in first[1].stopped
    second = pull_segments(model, composition, Reference(), SETTINGS, 10, *first).value
    assert second[1].stopped == first[1].stopped
    assert len(second[1].steps) == 0
    assert [second[replica].end.step for replica in (0, 2)] == [20, 20]
    ended = pull_segments(model, composition, Reference(), SETTINGS, 10, first[1]).value
    assert ended[0].stopped == first[1].stopped


def test_another_coordinate_is_refused(model):
    with pytest.raises(InputError, match="along the coordinate 'distance' alone; got str"):
        pull_segments(model, MOLECULE.composition, Reference(str), SETTINGS, 10, *states(1))
