"""Spreads and thresholds on arrays of a few elements."""

import numpy as np
import pytest

from alflow.acquisition.uncertainty import (
    energy_spread,
    force_spread,
    lower,
    threshold_conformal,
    threshold_first_steps,
    threshold_validation,
)


def test_energy_spread_is_the_population_standard_deviation_over_members():
    assert energy_spread(np.array([[1.0, 5.0], [3.0, 5.0]])) == pytest.approx([1.0, 0.0])
    assert energy_spread(np.array([[1.0, 5.0]])) == pytest.approx([0.0, 0.0])


def test_force_spread_is_that_of_the_least_certain_atom():
    forces = np.zeros((2, 1, 2, 3))
    forces[:, 0, 0] = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    forces[:, 0, 1] = [[3.0, 4.0, 0.0], [-3.0, -4.0, 0.0]]
    assert force_spread(forces) == pytest.approx([5.0])


def test_first_steps_threshold_ignores_what_comes_later():
    spread = np.array([1.0, 3.0, 50.0, 60.0])
    steps = np.array([0, 100, 200, 300])
    assert threshold_first_steps(spread, steps, 100, sigmas=3.0) == pytest.approx(2.0 + 3.0 * 1.0)
    assert threshold_first_steps(spread, steps, 199) == threshold_first_steps(spread, steps, 100)


def test_thresholds_pass_over_what_is_not_finite():
    assert threshold_validation(np.array([1.0, np.nan, 3.0, np.inf]), sigmas=1.0) == pytest.approx(3.0)
    assert threshold_validation(np.array([np.nan])) == float("inf")
    assert lower(threshold_validation(np.array([np.nan])), 0.25) == 0.25


def test_conformal_threshold_is_tolerance_over_the_quantile_of_the_scores():
    scores = np.arange(1.0, 10.0)
    spread = np.full(9, 0.5)
    # n = 9, m = 0.2: k = ceil(10 * 0.8) = 8, the eighth score is 8
    assert threshold_conformal(-scores * spread, spread, tolerance=4.0, miss_rate=0.2) == pytest.approx(0.5)


def test_conformal_threshold_trusts_nothing_when_calibration_frames_are_too_few():
    assert threshold_conformal(np.ones(8), np.ones(8), 1.0, miss_rate=0.1) == 0.0
    assert threshold_conformal(np.ones(9), np.ones(9), 1.0, miss_rate=0.1) == 1.0


def test_conformal_threshold_counts_an_error_without_spread_as_the_worst_score():
    errors, spread = np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0])
    assert threshold_conformal(errors, spread, 1.0, miss_rate=0.25) == 0.0
    assert threshold_conformal(errors, spread, 1.0, miss_rate=0.5) == 1.0
    assert threshold_conformal(np.zeros(3), spread, 1.0, miss_rate=0.5) == float("inf")


def test_conformal_miss_rate_holds_on_new_frames():
    rng = np.random.default_rng(7)
    tolerance, miss_rate, missed, total = 1.0, 0.1, 0, 0
    for _ in range(200):
        spread = rng.lognormal(-1.0, 1.0, size=200)
        errors = 2.5 * spread * rng.standard_normal(200)
        threshold = threshold_conformal(errors[:100], spread[:100], tolerance, miss_rate)
        missed += int(((spread[100:] <= threshold) & (np.abs(errors[100:]) > tolerance)).sum())
        total += 100
    assert 0.0 < missed / total <= miss_rate
