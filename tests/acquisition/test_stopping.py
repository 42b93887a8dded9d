"""Early ends of pulls and campaigns."""

import numpy as np
import pytest

from alflow.acquisition.stopping import (
    EarlyStop,
    EarlyStopCounter,
    change_within,
    confidence_interval,
    error_within,
    may_certify,
)
from alflow.types import Evaluation

RULE = EarlyStop(spread_ev=1.0, records=3)


def ends(spread, watch):
    """Return the first record that ends the pull, or None, and how many lay above the bound at the last one asked."""
    for record, value in enumerate(spread):
        if watch(record, Evaluation(0.0, np.zeros((1, 3)), spread=value)):
            return record, watch.above
    return None, watch.above


def test_a_row_above_the_bound_ends_the_pull_and_a_collision_does_not():
    assert ends([2.0, 2.0, 0.5, 2.0, 2.0, 2.0, 2.0], EarlyStopCounter(RULE)) == (5, 3)
    assert ends([2.0, 2.0, 1.0, 2.0], EarlyStopCounter(RULE)) == (None, 1)
    assert ends([np.nan] * 3, EarlyStopCounter(RULE)) == (2, 3)


def test_the_row_goes_on_across_segments():
    _, above = ends([0.0, 2.0, 2.0], EarlyStopCounter(RULE))
    assert ends([2.0, 0.0], EarlyStopCounter(RULE, above)) == (0, 3)


def test_confidence_interval_is_student_s():
    interval = confidence_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    # t(0.975, 3) = 3.182446, s = 1.290994
    assert interval.mean == pytest.approx(2.5)
    assert interval.half_width == pytest.approx(3.182446 * 1.290994 / 2.0, rel=1e-6)
    assert (interval.low, interval.high) == pytest.approx((2.5 - interval.half_width, 2.5 + interval.half_width))


def test_one_value_or_a_failed_pull_gives_no_interval():
    assert confidence_interval(np.array([0.01])).half_width == float("inf")
    assert not error_within(np.array([0.01]), 0.043)
    assert error_within(np.array([0.01]), 0.043, judged="mean")
    assert not error_within(np.array([0.0, 0.0, np.nan]), 0.043)


def test_the_whole_interval_has_to_lie_within_the_tolerance():
    assert error_within(np.array([0.010, 0.012, 0.008, 0.010]), 0.043)
    assert not error_within(np.array([0.10, -0.10, 0.09, -0.09]), 0.043)
    assert error_within(np.array([0.10, -0.10, 0.09, -0.09]), 0.043, judged="mean")


def test_change_looks_at_the_last_iterations_only():
    resting = np.array([6.50, 6.60, 6.45, 6.52])
    barriers = np.array([resting - 2.0, resting, resting + 0.01, resting + 0.005])
    assert change_within(barriers, 2, 0.043)
    assert not change_within(barriers, 3, 0.043)
    assert not change_within(barriers[1:], 3, 0.043)


def test_few_replicas_rule_a_certificate_out_by_their_mean_or_by_their_scatter():
    eight = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * np.sqrt(7.0 / 8.0)  # mean 0, deviation 1
    # t(0.975, 7) = 2.364624, chi2(0.975, 7) = 16.01276, t(0.975, 79) = 1.990450
    widest = 0.043 + 2.364624 * 0.15 / np.sqrt(8.0)
    assert may_certify(0.15 * eight + widest - 1e-6, 80, 0.043)
    assert not may_certify(0.15 * eight - widest - 1e-6, 80, 0.043)
    largest = 0.043 / (1.990450 * np.sqrt(7.0 / 16.01276) / np.sqrt(80.0))
    assert may_certify((largest - 1e-4) * eight, 80, 0.043)
    assert not may_certify((largest + 1e-4) * eight, 80, 0.043)
    assert not may_certify(np.array([0.0, np.nan, 0.0]), 80, 0.043)
    assert may_certify(np.array([0.5]), 1, 0.043)
