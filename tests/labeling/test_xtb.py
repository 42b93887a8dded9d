import numpy as np
import pytest

from alflow.errors import LabelError
from alflow.labeling.engines.xtb import XTBEngine
from alflow.labeling.kinds.xtb import XTBSettings
from alflow.structures import alkane
from alflow.types import Composition


@pytest.fixture
def engine():
    return XTBEngine(XTBSettings())


def stretched(frames, factor):
    return frames.positions[0] * np.array([factor, 1.0, 1.0])


def test_methane_energy_is_the_published_one(engine):
    """GFN2-xTB at the experimental geometry: -4.1752 Hartree."""
    methane = alkane(1)
    assert engine.compute(Composition(methane.numbers), methane.positions[0]).energy / 27.211386245988 == pytest.approx(
        -4.1752, abs=5e-4
    )


@pytest.mark.parametrize("factor", [1.0, 1.15])
def test_forces_are_minus_the_gradient(engine, factor):
    frames = alkane(3)
    x = stretched(frames, factor)
    forces = engine.compute(Composition(frames.numbers), x).forces
    for atom, axis in [(0, 0), (1, 1), (5, 2)]:
        shift = np.zeros_like(x)
        shift[atom, axis] = 1e-3
        up, down = (engine.compute(Composition(frames.numbers), x + sign * shift).energy for sign in (1, -1))
        assert forces[atom, axis] == pytest.approx(-(up - down) / 2e-3, abs=2e-4)


def test_result_depends_on_the_arguments_alone(engine):
    hexane, ethane = alkane(6), alkane(2)
    x = stretched(hexane, 1.1)
    first = engine.compute(Composition(hexane.numbers), x)
    engine.compute(Composition(hexane.numbers), stretched(hexane, 1.4))
    engine.compute(Composition(ethane.numbers), ethane.positions[0])
    again = engine.compute(Composition(hexane.numbers), x)
    fresh = XTBEngine(XTBSettings()).compute(Composition(hexane.numbers), x)
    for other in (again, fresh):
        assert other.energy == first.energy
        assert np.array_equal(other.forces, first.forces)


def test_a_pulled_apart_chain_converges(engine):
    frames = alkane(6)
    x = frames.positions[0].copy()
    x[x[:, 0] > x[2:4, 0].mean(), 0] += 3.0
    whole = engine.compute(Composition(frames.numbers), frames.positions[0]).energy
    assert 3.0 < engine.compute(Composition(frames.numbers), x).energy - whole < 7.0


def test_odd_electrons_and_ions(engine):
    methane = alkane(1)
    radical = engine.compute(Composition(methane.numbers[:-1]), methane.positions[0][:-1])
    cation = engine.compute(Composition(methane.numbers[:-1], 1), methane.positions[0][:-1])
    assert cation.energy - radical.energy > 5.0


def test_nothing_is_printed(engine, capfd):
    frames = alkane(2)
    engine.compute(Composition(frames.numbers), frames.positions[0])
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_what_cannot_be_labelled_has_a_reason(engine, capfd):
    x = np.array([[0.0, 0, 0], [0, 0, 2.0]])
    with pytest.raises(LabelError, match="found atomic number 92") as caught:
        engine.compute(Composition(np.array([92, 1])), x)
    assert caught.value.reason == "unknown-element"
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(np.array([1, 1]), 2), x)
    assert caught.value.reason == "bad-charge"
    with pytest.raises(LabelError) as caught:
        XTBEngine(XTBSettings(max_cycles=1)).compute(Composition(alkane(2).numbers), alkane(2).positions[0])
    assert caught.value.reason == "not-converged"
    assert capfd.readouterr().out == ""


def test_an_engine_recovers_from_a_failure():
    engine = XTBEngine(XTBSettings(max_cycles=14))
    ethane = alkane(2)
    before = engine.compute(Composition(ethane.numbers), ethane.positions[0])
    noise = np.random.default_rng(3).normal(0.0, 0.7, ethane.positions[0].shape)
    with pytest.raises(LabelError):
        engine.compute(Composition(ethane.numbers), ethane.positions[0] * 4.0 + noise)
    assert engine.compute(Composition(ethane.numbers), ethane.positions[0]).energy == before.energy


def test_theory_tells_settings_apart():
    theories = {
        XTBEngine(settings).theory
        for settings in (
            XTBSettings(),
            XTBSettings(method="GFN1-xTB"),
            XTBSettings(accuracy=1.0),
            XTBSettings(electronic_temperature_k=300.0),
        )
    }
    assert len(theories) == 4


def test_the_electronic_temperature_is_in_kelvin():
    """Stretched H2: a hot filling lowers the free energy, a cold one hardly changes it."""
    numbers, x = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 2.5]])

    def energy(kelvin):
        return XTBEngine(XTBSettings(electronic_temperature_k=kelvin)).compute(Composition(numbers), x).energy

    assert abs(energy(10.0) - energy(100.0)) < 1e-3
    assert energy(20000.0) < energy(100.0) - 0.5
