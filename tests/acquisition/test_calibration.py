"""Statistics of stated uncertainties, on arrays of a few elements and on draws whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.calibration import (
    conformal_factor,
    coverage,
    error_ratio,
    fit_error_model,
    normal_factor,
    rank_correlation,
)


def test_rank_correlation_goes_by_the_order_of_absolute_errors():
    assert rank_correlation(np.array([-1.0, 2.0, -30.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert rank_correlation(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 300.0])) == pytest.approx(-1.0)


def test_there_is_no_rank_correlation_where_nothing_varies():
    assert np.isnan(rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 1.0])))
    assert np.isnan(rank_correlation(np.array([1.0, -1.0]), np.array([1.0, 2.0])))
    assert np.isnan(rank_correlation(np.array([1.0]), np.array([1.0])))


def test_error_ratio_is_that_of_root_mean_squares():
    assert error_ratio(np.array([3.0, -4.0]), np.array([0.3, 0.4])) == pytest.approx(10.0)
    assert error_ratio(np.array([2.0, -2.0]), np.array([1e-9, 2.0])) == pytest.approx(2.0**0.5)
    assert error_ratio(np.array([1.0]), np.array([0.0])) == float("inf")
    assert np.isnan(error_ratio(np.array([]), np.array([])))


def test_the_normal_interval():
    assert normal_factor(0.95) == pytest.approx(1.96, abs=1e-3)
    assert normal_factor(0.6827) == pytest.approx(1.0, abs=1e-3)


def test_coverage_counts_the_ends():
    assert coverage(np.array([1.0, -2.0, 3.0, 4.0]), np.array([1.0, 2.0, 2.0, 5.0])) == 0.75
    assert np.isnan(coverage(np.array([]), np.array([])))


def test_conformal_factor_is_a_quantile_of_the_scores():
    stated = np.full(9, 0.5)
    errors = np.arange(1.0, 10.0) * stated
    assert conformal_factor(-errors, stated, 0.8) == pytest.approx(8.0)  # k = ceil(10 * 0.8)
    assert conformal_factor(errors, stated, 0.9) == pytest.approx(9.0)
    assert conformal_factor(errors, stated, 0.95) == float("inf")
    assert conformal_factor(np.array([0.0, 0.0]), np.array([0.0, 0.0]), 0.5) == 0.0


def test_a_scaled_uncertainty_covers_what_it_states():
    rng = np.random.default_rng(5)
    stated = rng.lognormal(-3.0, 0.7, 20000)
    errors = 3.2 * stated * rng.standard_normal(len(stated))
    assert error_ratio(errors, stated) == pytest.approx(3.2, rel=0.05)
    scaled = stated[10000:] * error_ratio(errors[:10000], stated[:10000])
    for level in (0.68, 0.95):
        assert coverage(errors[10000:], normal_factor(level) * scaled) == pytest.approx(level, abs=0.02)


def test_conformal_intervals_cover_whatever_the_distribution():
    rng = np.random.default_rng(6)
    stated = rng.lognormal(-3.0, 0.7, 20000)
    errors = stated * rng.standard_t(2.0, len(stated))
    for level in (0.68, 0.95):
        factor = conformal_factor(errors[:10000], stated[:10000], level)
        assert coverage(errors[10000:], factor * stated[10000:]) == pytest.approx(level, abs=0.02)
    assert coverage(errors, normal_factor(0.95) * stated) < 0.9


def test_a_power_of_an_uncertainty_is_found_again_and_covers():
    rng = np.random.default_rng(8)
    stated, way = rng.lognormal(-4.0, 0.5, 20000), rng.uniform(0.0, 5.0, 20000)
    true = 70.0 * stated**1.8 * np.exp(0.4 * way)
    predictors = np.stack([np.log(stated), way], axis=1)
    model = fit_error_model(true * rng.standard_normal(len(stated)), predictors, rising=1)
    assert model.slopes == pytest.approx((1.8, 0.4), rel=0.1)
    assert model(predictors) == pytest.approx(true, rel=0.25)
    assert model.rows == 20000
    errors = true * rng.standard_normal(len(stated))
    for level, factor in ((0.68, model.factor_68), (0.95, model.factor_95)):
        assert coverage(errors, factor * model(predictors)) == pytest.approx(level, abs=0.01)
        assert factor == pytest.approx(normal_factor(level), rel=0.1)


def test_what_says_nothing_gets_one_width_for_all():
    rng = np.random.default_rng(9)
    predictors = np.log(rng.lognormal(0.0, 1.0, 20000))[:, None]
    model = fit_error_model(0.3 * rng.standard_normal(20000), predictors, rising=1)
    assert model.slopes[0] == pytest.approx(0.0, abs=0.02)
    assert model(predictors) == pytest.approx(0.3, rel=0.05)


def test_an_uncertainty_that_points_the_wrong_way_is_not_followed():
    rng = np.random.default_rng(10)
    stated = rng.lognormal(0.0, 1.0, 2000)
    errors = rng.standard_normal(2000) / stated
    predictors = np.log(stated)[:, None]
    assert fit_error_model(errors, predictors, rising=1).slopes == (0.0,)
    assert fit_error_model(errors, predictors).slopes[0] < -0.8


@given(
    scale=st.floats(1e-6, 1e6),
    rows=st.integers(8, 60),
    seed=st.integers(0, 2**32),
    degenerate=st.booleans(),
)
def test_few_errors_of_any_size_give_a_model(scale, rows, seed, degenerate):
    rng = np.random.default_rng(seed)
    predictors = np.stack(
        [np.log(rng.lognormal(-3.0, 2.0, rows)), np.zeros(rows) if degenerate else rng.random(rows)], 1
    )
    errors = rng.standard_normal(rows) * np.exp(predictors[:, 0])
    small, large = fit_error_model(errors, predictors, 1), fit_error_model(scale * errors, predictors, 1)
    assert np.isfinite(small(predictors)).all()
    assert large.slopes == pytest.approx(small.slopes, abs=1e-3)
    assert large(predictors) == pytest.approx(scale * small(predictors), rel=1e-2)
