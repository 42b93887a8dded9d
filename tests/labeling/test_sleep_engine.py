"""The stand-in engine: its model is consistent, its failures are decided by the structure alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.labeling.engines.sleep import SleepEngine, fate_of, pair_model, seconds_of, time_factor
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.structures import alkane


def test_forces_are_the_gradient_of_the_energy() -> None:
    ethane, step = alkane(2), 1e-5
    positions = ethane.positions[0] + np.random.default_rng(1).uniform(-0.1, 0.1, ethane.positions[0].shape)
    _, forces = pair_model(ethane.numbers, positions)
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        shift = np.zeros_like(positions)
        shift[atom, axis] = step
        up, down = (pair_model(ethane.numbers, positions + sign * shift)[0] for sign in (1, -1))
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_stretching_a_bond_costs_energy_and_ends() -> None:
    numbers = np.array([6, 6])
    energies = [pair_model(numbers, np.array([[0, 0, 0], [0, 0, r]]))[0] for r in (1.0, 1.54, 2.0, 3.5, 4.0)]
    assert energies[1] == min(energies)
    assert energies[4] == pytest.approx(0.0, abs=0.02)


def test_a_share_is_slow_beyond_an_extent_and_no_number_depends_on_it() -> None:
    settings = SleepSettings(seconds_per_label=0.1, slow_share=0.25, slow_seconds=9.0, beyond_angstrom=3.0)
    ethane = alkane(2).positions[0]
    rng = np.random.default_rng(0)
    long = [1.2 * ethane + rng.uniform(-0.05, 0.05, ethane.shape) for _ in range(1000)]
    found = Counter(seconds_of(settings, structure) for structure in long)
    assert found[9.0] == pytest.approx(250, abs=50)
    assert found[9.0] + found[0.1] == 1000
    assert {seconds_of(settings, 0.5 * structure) for structure in long} == {0.1}
    plain = SleepSettings(beyond_angstrom=3.0)
    assert SleepEngine(settings).theory == SleepEngine(plain).theory


def test_shares_of_failures_are_met_and_repeatable() -> None:
    settings = SleepSettings(hang_share=0.1, crash_share=0.05, nan_share=0.2)
    ethane = alkane(2).positions[0]
    rng = np.random.default_rng(0)
    structures = [ethane + rng.uniform(-0.05, 0.05, ethane.shape) for _ in range(2000)]
    fates = [fate_of(settings, structure) for structure in structures]
    assert fates == [fate_of(settings, structure) for structure in structures]
    counts = Counter(fates)
    for name, share in (("hang", 0.1), ("crash", 0.05), ("nan", 0.2), ("", 0.65)):
        assert counts[name] / 2000 == pytest.approx(share, abs=0.03)
    assert fates != [fate_of(settings.model_copy(update={"seed": 1}), structure) for structure in structures]


def test_only_stretched_structures_fail() -> None:
    settings, ethane = SleepSettings(error_share=1.0, beyond_angstrom=5.0), alkane(2).positions[0]
    assert fate_of(settings, ethane) == ""
    assert fate_of(settings, 3.0 * ethane) == "error"


def test_theory_does_not_depend_on_the_time() -> None:
    quick, slow = SleepEngine(SleepSettings(seconds_per_label=0)), SleepEngine(SleepSettings(seconds_per_label=9))
    assert quick.theory == slow.theory
    assert quick.theory != SleepEngine(SleepSettings(nan_share=0.1)).theory


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(ValidationError, match="add up"):
        SleepSettings(hang_share=0.6, crash_share=0.6)


def test_times_are_lognormal_and_the_same_at_every_try() -> None:
    settings, ethane = SleepSettings(log_spread=0.5), alkane(2).positions[0]
    rng = np.random.default_rng(0)
    structures = [ethane + rng.uniform(-0.05, 0.05, ethane.shape) for _ in range(2000)]
    factors = [time_factor(settings, structure) for structure in structures]
    assert factors == [time_factor(settings, structure) for structure in structures]
    assert np.mean(np.log(factors)) == pytest.approx(0.0, abs=0.05)
    assert np.std(np.log(factors)) == pytest.approx(0.5, abs=0.05)
    assert time_factor(SleepSettings(), ethane) == 1.0
    assert SleepEngine(settings).theory == SleepEngine(SleepSettings()).theory
