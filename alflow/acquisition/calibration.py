"""How far a stated uncertainty tells the truth, and what it is scaled by so that it does. F frames.

All functions take errors and stated uncertainties of the same unit, or of different units where the result is a rank
or a factor between them. Errors may be signed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

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


EXPONENTS = np.arange(0.0, 4.01, 0.1)
"""Exponents that are tried."""


@dataclass(frozen=True)
class PowerScale:
    """Makes a stated uncertainty u a standard deviation a · u^b."""

    factor: float
    """a."""
    exponent: float
    """b: 1 if the uncertainty varies as much as the errors do, more if it varies too little, 0 if it says nothing."""

    def __call__(self, stated: FloatArray) -> FloatArray:
        """Return the standard deviation, (F,), in the unit of the errors that it was fitted to."""
        return np.asarray(self.factor * stated**self.exponent, dtype=np.float64)


def fit_power_scale(errors: FloatArray, stated: FloatArray) -> PowerScale:
    """Return the scale under which errors are likeliest, as independent draws from N(0, a · u^b).

    For each b the likeliest factor is a² = mean(e² / u^(2 b)), and twice the negative logarithm of the likelihood of
    one error is then 2 b mean(log u) + log a² and a constant.

    Args:
        errors: (n,) of frames that were not learnt from; not all 0.
        stated: (n,) u of the same frames, above 0.
    """
    logarithms = np.log(stated)
    centre = float(logarithms.mean())  # powers of what is near 1 neither overflow nor vanish
    squares = [float(np.mean((errors / np.exp(b * (logarithms - centre))) ** 2)) for b in EXPONENTS]
    best = int(np.argmin(np.log(squares)))
    exponent = float(EXPONENTS[best])
    return PowerScale(float(np.sqrt(squares[best]) * np.exp(-exponent * centre)), exponent)


def coverage(errors: FloatArray, half_widths: FloatArray) -> float:
    """Return the share of errors within their interval.

    Args:
        errors: (F,).
        half_widths: (F,) of the intervals, in the unit of the errors.

    Returns:
        In [0, 1]; not-a-number if there are no frames.
    """
    return float(np.mean(np.abs(errors) <= half_widths)) if len(errors) else float("nan")
