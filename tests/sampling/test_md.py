from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from alflow.config.sampling import MDSettings, RelaxSettings
from alflow.errors import LabelError, RelaxationError, StructureError
from alflow.sampling.md import initial_state, relax, run_md
from alflow.types import Composition, Evaluation, MDState
from alflow.workers.models import compute_with_retry


def harmonic(positions, start=None):
    return Evaluation(0.5 * float((positions**2).sum()) * 2.0, -2.0 * positions)


def test_langevin_reaches_its_temperature():
    """Twelve atoms in harmonic wells: kinetic and potential energy both have kT/2 a degree of freedom."""
    numbers = np.array([6] * 12)
    x = np.random.default_rng(0).normal(0.0, 0.1, (12, 3)) + 0.0
    spread = 3.0 * np.arange(12)[:, None] * np.array([1.0, 0, 0])
    settings = MDSettings(temperature_k=400.0, damping_fs=20.0, timestep_fs=1.0, stride=3)

    def wells(positions, start=None):
        return harmonic(positions - spread)

    warm = settings.model_copy(update={"stride": 1000})
    state = run_md(wells, Composition(numbers), MDState(0, x + spread, np.zeros_like(x)), warm, steps=1000, seed=3).end
    segment = run_md(wells, Composition(numbers), replace(state, step=0), settings, steps=9000, seed=4)
    k = 8.617333262e-5
    kinetic_kelvin = segment.temperature.mean() * (3 * 12 - 3) / (3 * 12)
    assert kinetic_kelvin == pytest.approx(400.0, rel=0.06)
    assert segment.energy.mean() / (0.5 * 36 * k) == pytest.approx(400.0, rel=0.08)


def test_records_and_stride(network, butane):
    settings = MDSettings(temperature_k=300.0, stride=10)
    state = initial_state(butane, 300.0, np.random.default_rng(1))
    first = run_md(network, butane.composition, state, settings, steps=45, seed=1)
    assert first.steps.tolist() == [0, 10, 20, 30, 40]
    assert first.time.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert np.array_equal(first.frames.positions[0], butane.positions[0])
    second = run_md(network, butane.composition, first.end, settings, steps=15, seed=2)
    assert second.steps.tolist() == [50, 60]
    assert second.end.step == 60
    assert np.array_equal(second.end.positions, second.frames.positions[-1])
    for segment in (first, second):
        assert np.isnan(segment.coordinate).all()
        assert np.isnan(segment.target).all()
        assert not segment.work.any()
    assert first.temperature[0] == pytest.approx(
        2 * kinetic(butane, state.velocities) / (39 * 8.617333262e-5), rel=1e-6
    )


def test_a_stretch_that_follows_another_has_noise_of_its_own(network, butane):
    settings = MDSettings(temperature_k=300.0)
    state = initial_state(butane, 300.0, np.random.default_rng(1))
    first = run_md(network, butane.composition, state, settings, steps=20, seed=7)
    again = run_md(network, butane.composition, replace(state, step=20), settings, steps=20, seed=7)
    assert not np.array_equal(first.end.positions, again.end.positions)


def kinetic(frames, velocities):
    mass = np.where(frames.numbers == 6, 12.011, 1.008)[:, None]
    return 0.5 * 103.642697 * float((mass * velocities**2).sum())


def test_the_seed_decides(network, butane):
    settings = MDSettings(temperature_k=300.0)
    state = initial_state(butane, 300.0, np.random.default_rng(1))
    runs = [run_md(network, butane.composition, state, settings, steps=20, seed=seed) for seed in (7, 7, 8)]
    assert np.array_equal(runs[0].frames.positions, runs[1].frames.positions)
    assert not np.array_equal(runs[0].frames.positions, runs[2].frames.positions)


def test_relaxation_cools_and_takes_out_strain(network, butane):
    strained = butane.positions[0] * np.array([1.08, 1.0, 1.0])
    settings = RelaxSettings(langevin_steps=600, berendsen_steps=600)
    args = (network, butane.composition, strained, settings)
    state = relax(*args, np.random.default_rng(2), steered=(0, 3))
    assert state.step == 0
    assert network(state.positions).energy < 0.2 * network(strained).energy
    assert 2 * kinetic(butane, state.velocities) / (39 * 8.617333262e-5) < 40.0
    again = relax(*args, np.random.default_rng(2), steered=(0, 3))
    assert np.array_equal(state.positions, again.positions)
    assert not np.array_equal(state.positions, relax(*args, np.random.default_rng(3), steered=(0, 3)).positions)


def test_the_pair_feels_no_thermostat():
    """Free atoms: without forces, only a thermostat changes a velocity."""
    numbers = np.array([6, 6, 6, 6])
    x = np.arange(12.0).reshape(4, 3)

    def free(positions, start=None):
        return Evaluation(0.0, np.zeros_like(positions))

    settings = RelaxSettings(langevin_steps=20, berendsen_steps=20)
    state = relax(free, Composition(numbers), x, settings, np.random.default_rng(0), steered=(0, 3))
    begin = relax(
        free,
        Composition(numbers),
        x,
        RelaxSettings(langevin_steps=0, berendsen_steps=0),
        np.random.default_rng(0),
        steered=(0, 3),
    )
    np.testing.assert_allclose(state.velocities[[0, 3]], begin.velocities[[0, 3]], rtol=1e-9)
    assert np.abs(state.velocities[[1, 2]] - begin.velocities[[1, 2]]).min() > 1e-7


def test_a_relaxation_that_fails_gives_back_its_start(butane):
    def wild(positions, start=None):
        return Evaluation(0.0, 1e5 * positions)

    state = relax(
        wild, butane.composition, butane.positions[0], RelaxSettings(), np.random.default_rng(0), steered=(0, 3)
    )
    assert np.array_equal(state.positions, butane.positions[0])
    assert np.isfinite(state.velocities).all()


def test_a_relaxation_with_a_label_engine_must_reach_its_end(butane):
    def failing(positions, start=None):
        raise LabelError("not-converged", "as told")

    args = (failing, butane.composition, butane.positions[0], RelaxSettings(), np.random.default_rng(0))
    with pytest.raises(RelaxationError, match=r"at step 0 .* \(not-converged: as told\)"):
        relax(*args, forgiving=False)


def test_an_exception_comes_out_of_md(butane):
    def broken(positions, start=None):
        raise OSError("disk on fire")

    state = initial_state(butane, 300.0, np.random.default_rng(1))
    with pytest.raises(OSError, match="disk on fire"):
        run_md(broken, butane.composition, state, MDSettings(), steps=10, seed=1)


def test_a_start_that_is_not_finite_is_refused(network, butane):
    x = butane.positions[0].copy()
    x[0, 0] = np.nan
    with pytest.raises(StructureError, match="found nan"):
        run_md(network, butane.composition, MDState(0, x, np.zeros_like(x)), MDSettings(), steps=10, seed=1)


def test_threads_share_the_library(network, butane):
    settings = MDSettings(temperature_k=300.0)
    state = initial_state(butane, 300.0, np.random.default_rng(1))

    def run(seed):
        return run_md(network, Composition(butane.numbers, 1), state, settings, steps=30, seed=seed).frames

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, range(6)))
    for seed, frames in enumerate(together):
        assert np.array_equal(frames.positions, run(seed).positions)
        assert frames.charge == 1


def test_outsider_label_beyond_the_bounds_ends_a_trajectory_in_words():
    """What no molecule has is no step of a trajectory, and never a frame of the first data."""

    class Absurd:
        theory = ""

        def compute(self, composition, positions, start=None):
            stretch = float(positions[1, 0]) - 1.0
            return Evaluation(1e6 if stretch > 0.05 else -1.0, np.array([[-5.0, 0, 0], [5.0, 0, 0]]))

    def forces(positions, start=None):
        return compute_with_retry(Absurd(), Composition(numbers), positions, start)

    numbers, x = np.array([6, 6]), np.array([[0.0, 0, 0], [1.0, 0, 0]])
    settings = MDSettings(temperature_k=1.0, stride=1)
    segment = run_md(forces, Composition(numbers), MDState(0, x, np.zeros_like(x)), settings, steps=200, seed=1)
    assert "implausible-label" in segment.stopped
    assert 0 < len(segment.steps) < 200
    assert set(segment.energy) == {-1.0}
