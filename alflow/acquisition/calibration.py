"""How far a stated uncertainty tells the truth, and what it is scaled by so that it does. F frames.

All functions take errors and stated uncertainties of the same unit, or of different units where the result is a rank
or a factor between them. Errors may be signed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alflow.types import FloatArray


def rank_correlation(errors: FloatArray, stated: FloatArray) -> float:
    """Return Spearman's rank correlation of the absolute errors with what was stated.

    Errors that are independent draws from N(0, σ) with σ = `stated` do not reach 1: how near they come depends on how
    much σ varies.

    Args:
        errors: (F,).
        stated: (F,).

    Returns:
        In [-1, 1]; not-a-number for fewer than two frames, or where either does not vary.
    """
    absolute = np.abs(errors)
    if len(absolute) < 2 or np.ptp(absolute) == 0.0 or np.ptp(stated) == 0.0:
        return float("nan")
    from scipy import stats  # noqa: PLC0415 - it takes a while

    return float(stats.spearmanr(absolute, stated).statistic)


def error_ratio(errors: FloatArray, stated: FloatArray) -> float:
    """Return the ratio of root mean squares, error : stated; 1 if the uncertainty is right on average.

    As a factor on the uncertainty it is a calibration: unlike the root mean square of error / stated, it does not
    follow the few frames where the stated uncertainty happens to be next to nothing.

    Args:
        errors: (F,).
        stated: (F,).

    Returns:
        Infinity if nothing was stated, not-a-number if nothing was wrong either or there are no frames.
    """
    if not len(errors):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(errors**2)) / np.sqrt(np.mean(stated**2)))


def normal_factor(level: float) -> float:
    """Return the half-width of a normal distribution's central interval, in standard deviations: 0.95 gives 1.96."""
    from scipy import stats  # noqa: PLC0415 - it takes a while

    return float(stats.norm.ppf(0.5 + level / 2.0))


def conformal_factor(errors: FloatArray, stated: FloatArray, level: float) -> float:
    """Return q such that |error| ≤ q · stated with a probability of at least `level`.

    Split conformal prediction with the normalised score s = |error| / stated (Lei et al., J. Am. Stat. Assoc. 2018,
    113, 1094, locally weighted). With n calibration frames, q is the k-th smallest score, k = ceil((n + 1) · level). It
    holds for new frames that are exchangeable with those of the calibration, all together, whatever the distribution.

    Args:
        errors: (n,) of frames that were not learnt from.
        stated: (n,) of the same frames.
        level: share of frames within the interval.

    Returns:
        Infinity if n is too small for the level.
    """
    absolute = np.abs(errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(absolute > 0.0, absolute / stated, 0.0)
    scores = np.sort(np.where(np.isfinite(scores), scores, np.inf))
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    return float("inf") if rank > len(scores) else float(scores[max(rank, 1) - 1])


RIDGE = 0.02
"""Weight of the squared slopes, of predictors over their standard deviations, in what is minimised."""


@dataclass(frozen=True)
class ErrorModel:
    """Makes a standard deviation of K predictors that are known without a label: log σ = constant + Σ slope · x."""

    constant: float
    """Of log σ, with σ in the unit of the errors that it was fitted to."""
    slopes: tuple[float, ...]
    """(K,)."""
    factor_68: float = float("nan")
    """Conformal: 68 % of the errors lie within this times σ."""
    factor_95: float = float("nan")
    """Conformal: 95 % of the errors lie within this times σ."""
    rows: int = 0
    """Errors that it was fitted to."""

    def __call__(self, predictors: FloatArray) -> FloatArray:
        """Return σ, (F,), of (F, K) predictors."""
        return np.asarray(np.exp(self.constant + predictors @ np.array(self.slopes)), dtype=np.float64)


def fit_error_model(errors: FloatArray, predictors: FloatArray, rising: int = 0) -> ErrorModel:
    """Return the model under which errors are likeliest, as independent draws from N(0, σ).

    With a logarithm of an uncertainty u as predictor, σ = a uᵇ: b is 1 if u varies as much as the errors do, more if it
    varies too little, 0 if it says nothing. What is minimised, mean(log σ + e² / 2 σ²) and a small multiple of the
    squared slopes, is convex: there is one minimum. Slopes are held back by the latter where errors are few.

    Args:
        errors: (n,) of frames that were not learnt from; not all 0.
        predictors: (n, K) x of the same frames.
        rising: so many of the first predictors have slopes that are not negative, as an uncertainty has.
    """
    from scipy import optimize  # noqa: PLC0415 - it takes a while

    centre, width = predictors.mean(axis=0), predictors.std(axis=0)
    width = np.where(width > 0.0, width, 1.0)
    x = (predictors - centre) / width
    size = float(np.sqrt(np.mean(errors**2)))
    squares = (errors / size) ** 2

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        logarithm = parameters[0] + x @ parameters[1:]
        excess = squares * np.exp(-2.0 * logarithm)
        slope = 1.0 - excess
        gradient = np.concatenate([[slope.mean()], x.T @ slope / len(x) + 2.0 * RIDGE * parameters[1:]])
        return float(np.mean(logarithm + excess / 2.0) + RIDGE * np.sum(parameters[1:] ** 2)), gradient

    bounds = [(None, None), *[(0.0, None)] * rising, *[(None, None)] * (x.shape[1] - rising)]
    found = optimize.minimize(loss, np.zeros(1 + x.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = found[1:] / width
    constant = float(found[0] - slopes @ centre + np.log(size))
    model = ErrorModel(constant, tuple(slopes.tolist()), rows=len(errors))
    stated = model(predictors)
    factors = [conformal_factor(errors, stated, level) for level in (0.68, 0.95)]
    return replace(model, factor_68=factors[0], factor_95=factors[1])


def coverage(errors: FloatArray, half_widths: FloatArray) -> float:
    """Return the share of errors within their interval.

    Args:
        errors: (F,).
        half_widths: (F,) of the intervals, in the unit of the errors.

    Returns:
        In [0, 1]; not-a-number if there are no frames.
    """
    return float(np.mean(np.abs(errors) <= half_widths)) if len(errors) else float("nan")
