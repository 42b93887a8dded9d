import threading

import numpy as np
import pytest

from alflow.config.sampling import PullSettings
from alflow.sampling.coordinates.distance import Distance, _places_apart, _previous_target
from alflow.sampling.lammps import Simulation
from alflow.sampling.record import Span
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import end_carbons
from alflow.types import MDState


def test_the_target_before_is_found_to_the_last_bit():
    rng = np.random.default_rng(0)
    for before, growth in zip(rng.uniform(1.0, 20.0, 500), rng.uniform(1e-5, 1e-2, 500), strict=True):
        target = before + growth
        assert _previous_target(target, growth) + growth == target


def test_two_centres_of_mass_are_put_exactly_apart():
    rng = np.random.default_rng(1)
    for distance in rng.uniform(1.0, 20.0, 500):
        for left_mass, right_mass in [(12.011, 12.011), (1.008, 15.999)]:
            left, right = _places_apart(distance, left_mass, right_mass)
            assert right * right_mass / right_mass - left * left_mass / left_mass == distance


def test_a_temporary_folder_may_have_a_blank_in_its_name(network, butane, tmp_path, monkeypatch):
    folder = tmp_path / "with a blank"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    settings = PullSettings()
    spring = Distance(butane.numbers, end_carbons(butane.numbers), settings)
    velocities = np.random.default_rng(0).normal(0.0, 0.003, butane.positions[0].shape)
    state = start_pull(MDState(0, butane.positions[0], velocities), spring)
    for _ in range(2):
        state = pull_segment(network, butane.composition, state, spring, settings, steps=10).end
    assert state.step == 20
    assert list(folder.iterdir()) == []


def test_an_instance_is_freed_for_other_threads_after_a_failure():
    with pytest.raises(Exception, match="Unknown command"), Simulation(np.array([6, 1]), 0.5) as simulation:
        simulation.command("nonsense")
    opened = []

    def use():
        with Simulation(np.array([6, 1]), 0.5, step=7) as other:
            opened.append(other.step)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10.0)
    assert opened == [7]


def test_free_flight_and_units():
    """x = v t: 0.002 Å/fs is 2 Å/ps, and 100 steps of 0.5 fs are 50 fs."""
    x = np.array([[0.0, 0, 0], [5.0, 0, 0]])
    with Simulation(np.array([6, 1]), 0.5) as simulation:
        simulation.attach(lambda _step, positions, _v, _f: np.zeros_like(positions))
        simulation.place(x, np.full((2, 3), 2.0))
        simulation.run(100)
        assert simulation.step == 100
        np.testing.assert_allclose(simulation.arrays()[0], x + 0.1, atol=1e-12)


def test_acceleration_is_force_over_mass():
    """1 eV/Å on a carbon atom: a = 9648.5 / 12.011 Å/ps²."""
    with Simulation(np.array([6]), 0.5) as simulation:
        simulation.attach(lambda _step, positions, _v, _f: np.array([[1.0, 0, 0]]))
        simulation.place(np.zeros((1, 3)), np.zeros((1, 3)))
        simulation.run(10)
        assert simulation.arrays()[1][0, 0] == pytest.approx(9648.5332 / 12.011 * 0.005, rel=1e-5)


@pytest.mark.parametrize(("first", "steps", "stride"), [(0, 10, 1), (0, 10, 3), (7, 10, 3), (9, 12, 3), (5, 1, 4)])
def test_span_counts_what_it_keeps(first, steps, stride):
    span = Span(first, steps, stride, 0.5)
    assert span.capacity == sum(span.keeps(step) for step in range(first, first + steps + 1))
