"""Variables and biases by Colvars: cut without a seam, equal to the pull by `fix smd`, and recorded in full."""

from functools import partial

import numpy as np
import pytest

from alflow.config.campaign import SamplingSettings
from alflow.config.plugins import COORDINATES, find_installed
from alflow.config.sampling import PullSettings
from alflow.labeling import make_engine
from alflow.sampling.coordinates.colvars import next_to, ticks_per_fs
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.lammps import Simulation
from alflow.sampling.md import initial_state
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import alkane
from alflow.types import Evaluation, MDState

ETHANE = alkane(2)
START = ETHANE.positions[0]
GRID = {"lower": 1.0, "upper": 2.5, "spacing": 0.05, "wall_ev": 20.0}
BOND = [{"name": "bond", "distance": [0, 1]}]
HOT = {"temperature_k": 300.0, "thermostat": "langevin"}
TEXT = """
colvar {
  name bond
  distance {
    group1 {
      atomNumbers 1
    }
    group2 {
      atomNumbers 2
    }
  }
}
harmonic {
  colvars bond
  centers 1.53
  targetCenters 2.0
  targetNumSteps 60
  forceConstant 20.0
  outputAccumulatedWork on
}
"""
STEERED = {
    "bond": {"variables": BOND, "bias": {"kind": "steered", "to": 2.0, "force_constant": 20.0}},
    "two-variables": {
        "variables": [*BOND, {"name": "bend", "angle": [0, 1, 5]}],
        "bias": {"kind": "steered", "from": [1.53, 110.0], "to": [2.0, 100.0], "force_constant": [20.0, 0.01]},
    },
    "difference": {
        "variables": [{"name": "d", "combine": [{"distance": [0, 5]}, {"distance": [0, 1], "weight": -1.0}]}],
        "bias": {"kind": "steered", "to": 0.2, "force_constant": 20.0},
    },
    "squares": {
        "variables": [{"name": "s", "combine": [{"distance": [0, 1], "exponent": 2, "weight": 0.5}]}],
        "bias": {"kind": "steered", "to": 2.0, "force_constant": 20.0},
    },
    "dihedral": {
        "variables": [{"name": "turn", "dihedral": [2, 0, 1, 5]}],
        "bias": {"kind": "steered", "to": 0.0, "force_constant": 0.01},
        "pull": HOT,
    },
    "coordination": {
        "variables": [{"name": "c", "coordination": {"group1": [0], "group2": [5, 6], "cutoff": 1.6}}],
        "bias": {"kind": "steered", "to": 1.0, "force_constant": 1.0},
    },
    "groups": {
        "variables": [{"name": "ends", "distance": [[0, 2, 3, 4], [1, 5, 6, 7]]}],
        "bias": {"kind": "steered", "to": 2.5, "force_constant": 20.0},
    },
}
OTHERS = {
    "umbrella": {
        "variables": BOND,
        "bias": {"kind": "umbrella", "centres": [1.6, 1.7], "force_constant": 20.0, "approach_steps": 20},
        "pull": HOT,
    },
    "metadynamics": {
        "variables": BOND,
        "bias": {"kind": "metadynamics", "hill_height_ev": 0.01, "hill_width": 0.05, "hill_every": 5, **GRID},
    },
    "well-tempered": {
        "variables": BOND,
        "bias": {
            "kind": "metadynamics", "hill_height_ev": 0.01, "hill_width": 0.05, "hill_every": 5,
            "bias_temperature_k": 3000.0, **GRID,
        },
    },
    "hills-beside-the-grid": {
        "variables": BOND,
        "bias": {
            "kind": "metadynamics", "hill_height_ev": 0.05, "hill_width": 0.1, "hill_every": 10,
            "lower": 1.45, "upper": 1.55, "spacing": 0.05,
        },
        "pull": HOT,
    },
}  # fmt: skip


def springs(positions, start=None):
    """Hold every atom where it is in ideal ethane."""
    del start
    gap = positions - START
    return Evaluation(float(2.0 * (gap**2).sum()), -4.0 * gap)


def settings_of(given, steps=60):
    return SamplingSettings.model_validate({**given, "bias": {**given["bias"], "steps": steps}})


def steering_of(settings, window=0):
    kind = find_installed(COORDINATES, settings.coordinate)
    chosen = settings.coordinate_settings.model_copy(update={"window": window})
    return kind.bind(ETHANE, chosen, settings.pull)


def pulled(given, cuts, noise=5, stop=None, seed=1):
    settings, segments, state = settings_of(given), [], None
    for steps in cuts:
        steering = steering_of(settings)  # made where the task runs
        if state is None:
            state = start_pull(initial_state(ETHANE, 50.0, np.random.default_rng(seed)), steering)
        args = (springs, ETHANE.composition, state, steering, settings.pull)
        segments.append(pull_segment(*args, steps=steps, noise=noise, stop=stop))
        state = segments[-1].end
    return segments


RECORDED = ("steps", "target", "coordinate", "energy", "work", "temperature", "variables", "bias_energy")


@pytest.mark.parametrize("name", [*STEERED, *OTHERS])
@pytest.mark.parametrize("cuts", [(30, 30), (1, 9, 50)])
def test_a_cut_changes_no_bit(name, cuts):
    given = {**STEERED, **OTHERS}[name]
    (whole,), parts = pulled(given, (60,)), pulled(given, cuts)
    for field in RECORDED:
        joined = np.concatenate([getattr(part, field) for part in parts])
        assert np.array_equal(joined, getattr(whole, field), equal_nan=True), field
    assert np.array_equal(parts[-1].end.positions, whole.end.positions)
    assert np.array_equal(parts[-1].end.velocities, whole.end.velocities)


@pytest.mark.parametrize("name", ["eabf", "text"])
def test_what_colvars_keeps_with_fifteen_digits_is_cut_that_well(name):
    extended = {"kind": "eabf", "fluctuation": 0.05, "full_samples": 3, **GRID}
    given = {"eabf": {"variables": BOND, "bias": extended, "pull": HOT}, "text": {"bias": {"kind": "colvars"}}}
    given["text"]["bias"]["text"] = TEXT
    (whole,), parts = pulled(given[name], (60,)), pulled(given[name], (20, 40))
    for field in RECORDED:
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, field), rtol=1e-9, atol=1e-10, equal_nan=True)


def test_the_pull_of_a_distance_is_that_of_the_spring():
    """`fix smd` and Colvars, the same protocol: forces to 1e-12 eV/Å, work to 1e-9 eV."""
    pull = PullSettings(steps=60, rate_angstrom_per_ps=20.0, spring_ev_per_angstrom2=20.0)
    begin = initial_state(ETHANE, 50.0, np.random.default_rng(1))
    spring = Distance(ETHANE.numbers, (0, 1), pull)
    by_smd = pull_segment(springs, ETHANE.composition, start_pull(begin, spring), spring, pull, steps=60)
    to = by_smd.coordinate[0] + spring.planned_change(60)
    (by_colvars,) = pulled({"variables": BOND, "bias": {"kind": "steered", "to": to, "force_constant": 20.0}}, (60,))
    np.testing.assert_allclose(by_colvars.frames.positions, by_smd.frames.positions, atol=1e-12)
    np.testing.assert_allclose(by_colvars.end.velocities, by_smd.end.velocities, atol=1e-13)
    np.testing.assert_allclose(by_colvars.coordinate, by_smd.coordinate, atol=1e-12)
    np.testing.assert_allclose(by_colvars.work, by_smd.work, atol=1e-9)
    np.testing.assert_allclose(by_colvars.target + spring.growth * (by_colvars.steps < 0), by_colvars.target)


def test_with_dftb3_the_pull_of_a_distance_is_that_of_the_spring_too():
    """The work at the end, which is the barrier, within 1 meV: it is equal to 1e-7 eV."""
    engine = make_engine("dftb3", {})
    pull = PullSettings(steps=60, rate_angstrom_per_ps=40.0)
    begin = initial_state(ETHANE, 10.0, np.random.default_rng(1))
    spring = Distance(ETHANE.numbers, (0, 1), pull)
    ended = []
    for steering in (spring, None):
        to = float(spring.value(START[None])[0]) + spring.planned_change(60)
        settings = settings_of({"variables": BOND, "bias": {"kind": "steered", "to": to, "force_constant": 10.0}})
        acting = steering or steering_of(settings)
        model = partial(engine.compute, ETHANE.composition)
        state = start_pull(begin, acting)
        ended.append(pull_segment(model, ETHANE.composition, state, acting, settings.pull, steps=60))
    one, other = ended
    assert one.work[-1] > 0.5
    np.testing.assert_allclose(other.work, one.work, atol=1e-7)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-6)


def test_the_work_is_that_of_colvars_own_sum():
    ours, theirs = (pulled(given, (60,))[0] for given in (STEERED["bond"], {"bias": {"kind": "colvars", "text": TEXT}}))
    shift = ours.coordinate[0] - 1.53
    assert abs(shift) < 1e-9
    np.testing.assert_allclose(ours.work, theirs.work, atol=1e-9)
    np.testing.assert_allclose(ours.bias_energy, theirs.bias_energy, atol=1e-9)


@pytest.mark.parametrize("name", STEERED)
def test_variables_bias_and_work_are_what_they_say(name):
    (segment,) = pulled(STEERED[name], (60,))
    settings = settings_of(STEERED[name])
    steering = steering_of(settings)
    again = steering.values(segment.frames.positions)
    turns = (segment.variables - again) / 360.0
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    assert segment.variables.shape == (61, len(settings.variables))
    np.testing.assert_array_equal(segment.coordinate, segment.variables[:, 0])
    bias = settings.bias
    first = np.array(bias.from_) if bias.from_ else segment.variables[0]
    if name == "dihedral":
        first = np.array([next_to(first[0], 0.0)])
    centres = first + np.outer(segment.steps / 60, np.array(bias.to) - first)
    np.testing.assert_allclose(segment.target, centres[:, 0], rtol=1e-13)
    constants = np.array(bias.force_constant)
    stretched = segment.variables - centres
    np.testing.assert_allclose(segment.bias_energy, (0.5 * constants * stretched**2).sum(axis=1), atol=1e-10)
    work = np.cumsum(-(constants * stretched)[1:] * np.diff(centres, axis=0), axis=0).sum(axis=1)
    np.testing.assert_allclose(segment.work[1:], work, atol=1e-10)
    assert segment.work[0] == 0.0


def test_a_variable_is_what_geometry_says():
    x = START[None] + np.random.default_rng(3).normal(0.0, 0.1, (5, 8, 3))
    ends = [STEERED[name] for name in ("bond", "difference", "squares", "coordination")]
    found = [steering_of(settings_of(given)).value(x) for given in ends]
    d = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    np.testing.assert_allclose(found[0], d[:, 0, 1], rtol=1e-13)
    np.testing.assert_allclose(found[1], d[:, 0, 5] - d[:, 0, 1], rtol=1e-11)
    np.testing.assert_allclose(found[2], 0.5 * d[:, 0, 1] ** 2, rtol=1e-13)
    ratio = d[:, 0, 5:7] / 1.6
    np.testing.assert_allclose(found[3], ((1 - ratio**6) / (1 - ratio**12)).sum(axis=1), rtol=1e-10)


def test_extended_variables_swing_in_femtoseconds():
    """LAMMPS hands Colvars a time step in a unit of its own: a period of 20 fs must be one of 20 fs.

    Two carbon atoms fly apart and drag the extended variable behind them, which swings around them: of mass
    m = k (τ / 2π)², its period is τ / sqrt(1 + m / μ), with the reduced mass μ of the carbon atoms and k = kT / σ².
    """
    own = {"kind": "eabf", "fluctuation": 0.05, "time_constant_fs": 20.0, "full_samples": 10**6}
    bias = {**own, "lower": 1.0, "upper": 4.0, "spacing": 0.05}
    settings = settings_of({"variables": BOND, "bias": bias, "pull": {**HOT, "damping_fs": 1e12}}, 400)
    steering = steering_of(settings)
    velocities = np.zeros_like(START)
    velocities[1] = (START[1] - START[0]) * 1e-3
    state = start_pull(MDState(0, START.copy(), velocities), steering)

    def free(positions, start=None):
        del start
        return Evaluation(0.0, np.zeros_like(positions))

    segment = pull_segment(free, ETHANE.composition, state, steering, settings.pull, steps=400)
    assert steering.observed == ("bond", "r_bond")
    mass = 8.617e-5 * 300.0 / 0.05**2 * (20.0 / (2.0 * np.pi)) ** 2 / 103.64
    period = 20.0 / np.sqrt(1.0 + mass / 6.0)
    lag = np.diff(segment.variables, axis=1)[:, 0]
    signal = lag - np.mean(lag)
    turns = np.count_nonzero(np.diff(np.sign(signal))) / 2
    assert turns == pytest.approx(200.0 / period, abs=0.8)
    assert np.ptp(segment.variables[:, 0]) > 0.1
    assert ticks_per_fs() > 0.0


def test_an_early_stop_and_a_fault_end_a_segment():
    stopped = pulled(STEERED["bond"], (60,), stop=lambda step, _: "far enough" * (step == 20))[0]
    assert (stopped.stopped, stopped.steps[-1]) == ("far enough", 20)
    settings = settings_of(STEERED["bond"])
    steering = steering_of(settings)
    state = start_pull(initial_state(ETHANE, 50.0, np.random.default_rng(1)), steering)

    def broken(positions, start=None):
        found = springs(positions, start)
        return found if np.linalg.norm(positions[1] - positions[0]) < 1.6 else Evaluation(np.nan, found.forces)

    segment = pull_segment(broken, ETHANE.composition, state, steering, settings.pull, steps=60)
    assert "finite" in segment.stopped
    assert len(segment.steps) == len(segment.variables) < 60
    assert pulled(STEERED["bond"], (5,))[0].steps[-1] == 5  # the process can have Colvars again


def test_nothing_is_written_where_a_worker_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in OTHERS.values():
        pulled(given, (20, 40))
    assert list(tmp_path.iterdir()) == []


def test_the_langevin_thermostat_gives_the_temperature():
    given = {**OTHERS["umbrella"], "pull": {**HOT, "damping_fs": 20.0}}
    settings = settings_of(given, 4000)
    steering = steering_of(settings)
    state = start_pull(initial_state(ETHANE, 300.0, np.random.default_rng(1)), steering)
    segment = pull_segment(springs, ETHANE.composition, state, steering, settings.pull, steps=4000, noise=3)
    anchored = 24 / 21  # the springs hold the centre of mass too, which a temperature of a free molecule leaves out
    assert np.mean(segment.temperature[500:]) == pytest.approx(300.0 * anchored, rel=0.08)


def test_a_closed_instance_leaves_no_temporary_files():
    with Simulation(ETHANE.numbers, 0.5) as simulation:
        folder = simulation.scratch
        assert folder.is_dir()
    assert not folder.exists()
