import re

import numpy as np
import pytest

from alflow.config.sampling import PullSettings, RelaxSettings
from alflow.errors import InputError, LabelError, StructureError
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.md import relax
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import end_carbons, fragments
from alflow.types import Composition, Evaluation, MDState

SETTINGS = PullSettings(rate_angstrom_per_ps=20.0)
RECORDED = ("steps", "time", "target", "coordinate", "energy", "work", "spread", "temperature")


def spring(numbers, pair, settings):
    return Distance(numbers, pair, settings)


def relaxed(network, butane):
    settings = RelaxSettings(langevin_steps=50, berendsen_steps=50)
    pair = end_carbons(butane.numbers)
    return relax(network, butane.composition, butane.positions[0], settings, np.random.default_rng(5), steered=pair)


def pull(network, butane, cuts, settings=SETTINGS):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, settings))
    segments = []
    for steps in cuts:
        segments.append(
            pull_segment(
                network, butane.composition, state, spring(butane.numbers, pair, settings), settings, steps=steps
            )
        )
        state = segments[-1].end
    return segments


def joined(segments, name):
    return np.concatenate([getattr(segment, name) for segment in segments])


@pytest.mark.parametrize("stride", [1, 7])
@pytest.mark.parametrize("cuts", [(100, 100, 300), (1, 2, 50, 97, 149, 200, 1)])
def test_a_cut_changes_no_bit(network, butane, cuts, stride):
    settings = SETTINGS.model_copy(update={"record_stride": stride})
    whole, parts = pull(network, butane, [500], settings), pull(network, butane, cuts, settings)
    for name in RECORDED:
        assert np.array_equal(joined(parts, name), joined(whole, name)), name
    positions = np.concatenate([part.frames.positions for part in parts])
    assert np.array_equal(positions, whole[0].frames.positions)
    assert whole[0].steps.tolist() == list(range(0, 501, stride))
    one, other = whole[-1].end, parts[-1].end
    assert one.step == other.step == 500
    for name in ("positions", "velocities", "start"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.steering.target == other.steering.target
    assert one.steering.work == other.steering.work != 0.0


def test_a_cut_asks_for_no_force_twice(network, butane):
    relaxed(network, butane)
    before = network.calls
    pull(network, butane, [30, 20])
    assert network.calls - 2 * before == 51


def test_the_work_is_the_integral_of_the_spring_force(network, butane):
    """W = Σ K (R - r) v dt; `fix smd` leaves out deviations below 0.001 Å."""
    segment = pull(network, butane, [400])[0]
    growth = SETTINGS.rate_angstrom_per_ps * SETTINGS.timestep_fs * 1e-3
    np.testing.assert_allclose(np.diff(segment.target), growth, rtol=1e-9)
    assert segment.target[0] == pytest.approx(segment.coordinate[0] + growth)
    deviation = segment.target - growth - segment.coordinate
    increments = np.where(np.abs(deviation) > 1e-3, SETTINGS.spring_ev_per_angstrom2 * deviation * growth, 0.0)
    np.testing.assert_allclose(segment.work, np.cumsum(increments), atol=1e-9)


def test_a_pull_breaks_bonds_and_the_work_pays_for_it(network, butane):
    slower = SETTINGS.model_copy(update={"rate_angstrom_per_ps": 5.0})
    segment = pull(network, butane, [700, 700], slower)[-1]
    assert fragments(butane.numbers, segment.frames.positions[-1], 1.6).max() >= 1
    assert segment.work[-1] > network.depth
    first = network(butane.positions[0]).energy
    assert segment.work[-1] > network(segment.frames.positions[-1]).energy - first


def test_recorded_energies_are_those_of_the_recorded_frames(network, butane):
    segment = pull(network, butane, [20])[0]
    for row in (0, 7, 20):
        assert segment.energy[row] == pytest.approx(network(segment.frames.positions[row]).energy, abs=1e-7)
    assert np.all(segment.spread > 0)


def test_energy_is_conserved_but_for_work_and_thermostat(network, butane):
    """Potential + kinetic + spring energy grows by the work: checks the temperatures as well."""
    settings = SETTINGS.model_copy(update={"damping_fs": 1e9, "temperature_k": 300.0, "timestep_fs": 0.1})
    segment = pull(network, butane, [2000], settings)[0]
    degrees = 3 * len(butane.numbers) - 3
    kinetic = 0.5 * degrees * 8.617333262e-5 * segment.temperature
    growth = settings.rate_angstrom_per_ps * settings.timestep_fs * 1e-3
    spring = 0.5 * settings.spring_ev_per_angstrom2 * (segment.target - growth - segment.coordinate) ** 2
    total = segment.energy + kinetic + spring - segment.work
    assert segment.work.max() > 1.0
    assert np.ptp(total) < 0.01


def test_stop_ends_after_the_step_and_can_go_on(network, butane):
    pair = end_carbons(butane.numbers)
    whole = pull(network, butane, [60])[0]
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))

    def stop(step, evaluation):
        assert isinstance(evaluation, Evaluation)
        return "Enough." if step == 17 else ""

    first = pull_segment(
        network, butane.composition, state, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=60, stop=stop
    )
    assert first.stopped == "Enough."
    assert first.steps.tolist() == list(range(18))
    second = pull_segment(
        network, butane.composition, first.end, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=43
    )
    assert second.stopped == ""
    for name in RECORDED:
        assert np.array_equal(joined([first, second], name), getattr(whole, name)), name


def test_stop_is_asked_at_records_alone(network, butane):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    asked = []
    settings = SETTINGS.model_copy(update={"record_stride": 7})
    stop = lambda step, _: asked.append(step) or ""  # noqa: E731
    pull_segment(
        network, butane.composition, state, spring(butane.numbers, pair, settings), settings, steps=20, stop=stop
    )
    assert asked == [0, 7, 14]


def test_stop_at_the_first_frame(network, butane):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    segment = pull_segment(
        network,
        butane.composition,
        state,
        spring(butane.numbers, pair, SETTINGS),
        SETTINGS,
        steps=60,
        stop=lambda *_: "At once.",
    )
    assert segment.steps.tolist() == [0]
    assert segment.end.step == 0


class Breaks:
    """Good for some calls, then something else."""

    def __init__(self, network, calls, then):
        self.network, self.left, self.then = network, calls, then

    def __call__(self, positions, start=None):
        self.left -= 1
        return self.network(positions, start) if self.left >= 0 else self.then(positions)


def explode(positions):
    return Evaluation(0.0, 1e6 * (positions - positions.mean(axis=0)))


def raising(error):
    def then(_):
        raise error

    return then


@pytest.mark.parametrize(
    ("then", "sentence"),
    [
        (lambda x: Evaluation(float("nan"), np.zeros_like(x)), "the energy is nan"),
        (lambda x: Evaluation(0.0, np.full_like(x, np.inf)), "Forces must be finite; at step 30"),
        (lambda x: Evaluation(0.0, np.full_like(x, 1e300)), "Forces must be finite; at step 30"),
        (explode, "slower than 1 Å/fs; at step 31"),
        (raising(LabelError("not-converged", "250 cycles")), "at step 30 .*not-converged: 250 cycles"),
    ],
)
def test_nonsense_ends_a_trajectory_with_a_sentence(network, butane, then, sentence):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    segment = pull_segment(
        Breaks(network, 30, then),
        butane.composition,
        state,
        spring(butane.numbers, pair, SETTINGS),
        SETTINGS,
        steps=200,
    )
    assert segment.steps[-1] in (29, 30)
    assert np.isfinite(segment.energy).all()
    assert np.isfinite(segment.frames.positions).all()
    assert np.array_equal(segment.end.positions, segment.frames.positions[-1])
    assert segment.end.step == segment.steps[-1]
    assert re.search(sentence, segment.stopped), segment.stopped


def test_nonsense_at_the_first_step_records_nothing(network, butane):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    model = Breaks(network, 0, lambda x: Evaluation(float("inf"), np.zeros_like(x)))
    segment = pull_segment(model, butane.composition, state, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=20)
    assert len(segment.frames) == 0
    assert "at step 0 the energy is inf" in segment.stopped
    assert np.array_equal(segment.end.positions, state.positions)


def test_an_atom_that_leaves_ends_the_trajectory(network, butane):
    state = relaxed(network, butane)
    velocities = state.velocities.copy()
    velocities[-1] = [0.0, 0.0, 0.9]
    pair = end_carbons(butane.numbers)
    state = start_pull(MDState(0, state.positions, velocities), spring(butane.numbers, pair, SETTINGS))
    segment = pull_segment(
        network, butane.composition, state, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=400
    )
    assert f"the nearest to atom {len(butane.numbers) - 1}" in segment.stopped
    assert segment.steps[-1] % 50 == 49


@pytest.mark.parametrize("calls", [0, 1, 25])
@pytest.mark.parametrize("error", [ZeroDivisionError("here"), KeyboardInterrupt()])
def test_an_exception_of_the_force_model_comes_out(network, butane, calls, error):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    with pytest.raises(type(error)) as caught:
        pull_segment(
            Breaks(network, calls, raising(error)),
            butane.composition,
            state,
            spring(butane.numbers, pair, SETTINGS),
            SETTINGS,
            steps=60,
        )
    assert caught.value is error


@pytest.mark.parametrize("pair", [(0, 0), (0, 14), (-1, 3)])
def test_pulled_atoms_must_exist(network, butane, pair):
    state = MDState(0, butane.positions[0], np.zeros_like(butane.positions[0]))
    with pytest.raises(StructureError, match=f"from 0 to 13; found {pair[0]}, {pair[1]}"):
        pull_segment(network, butane.composition, state, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=10)


def test_a_segment_has_steps(network, butane):
    pair = end_carbons(butane.numbers)
    state = start_pull(relaxed(network, butane), spring(butane.numbers, pair, SETTINGS))
    with pytest.raises(InputError, match="at least one step; 0"):
        pull_segment(network, butane.composition, state, spring(butane.numbers, pair, SETTINGS), SETTINGS, steps=0)


def test_a_pull_leaves_no_file_and_prints_nothing(network, butane, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    pull(network, butane, [5, 5])
    assert list(tmp_path.iterdir()) == []
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_diatomic_is_pulled_without_a_thermostat():
    numbers = np.array([6, 8])
    x = np.array([[0.0, 0, 0], [1.2, 0.3, 0]])

    def free(positions, start=None):
        return Evaluation(0.0, np.zeros_like(positions))

    state = start_pull(MDState(0, x, np.zeros_like(x)), spring(numbers, (0, 1), SETTINGS))
    first = pull_segment(free, Composition(numbers), state, spring(numbers, (0, 1), SETTINGS), SETTINGS, steps=100)
    second = pull_segment(free, Composition(numbers), first.end, spring(numbers, (0, 1), SETTINGS), SETTINGS, steps=100)
    whole = pull_segment(free, Composition(numbers), state, spring(numbers, (0, 1), SETTINGS), SETTINGS, steps=200)
    assert np.array_equal(joined([first, second], "work"), whole.work)
    mass = np.array([12.011, 15.999])[:, None]
    centre = (mass * whole.frames.positions).sum(axis=1) / mass.sum()
    np.testing.assert_allclose(centre, centre[:1].repeat(201, axis=0), atol=1e-9)
    assert whole.coordinate[-1] > whole.coordinate[0] + 1.0
