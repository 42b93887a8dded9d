"""When a pull has left what the ensemble knows, and when a campaign has reached its goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from alflow.types import FloatArray


@dataclass(frozen=True)
class StopRule:
    """Bound on the spread of a pull beyond which going on teaches nothing."""

    bound: float
    """In the unit of the spread."""
    consecutive: int
    """Recorded frames in a row that have to lie above the bound."""


def leaves_the_known(spread: FloatArray, rule: StopRule, run: int = 0) -> tuple[int | None, int]:
    """Find where the spread has been above the bound for the given number of frames in a row.

    One frame above the bound may be a collision that the pull recovers from; a row of them is a wrong path. A value
    that is not finite counts as above. Works piece by piece: hand the second result to the next call.

    Args:
        spread: (F,) of the next piece of the pull.
        rule: The bound and the length of the row.
        run: Frames above the bound at the end of the piece before.

    Returns:
        The first row of `spread` at which the pull should end, or None; and the frames above the bound at the end.
    """
    for row, value in enumerate(spread):
        run = 0 if value <= rule.bound else run + 1
        if run >= rule.consecutive:
            return row, run
    return None, run


@dataclass(frozen=True)
class Interval:
    """Mean of a sample and its 95 % confidence interval."""

    mean: float
    half_width: float
    """Infinity for fewer than two values."""

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width

    def within(self, tolerance: float) -> bool:
        """Say whether the whole interval lies in [-tolerance, tolerance]."""
        return -tolerance <= self.low and self.high <= tolerance


def confidence_interval(values: FloatArray, level: float = 0.95) -> Interval:
    """Return mean and two-sided confidence interval, half-width t · s / √n with n - 1 degrees of freedom.

    Student's t; s is the sample standard deviation (divided by n - 1). Assumes independent, near-normal values, as the
    paired errors of replicas that differ in their velocity seed are.

    Args:
        values: (n,) any unit. A value that is not finite (a pull that gave no barrier) makes the interval infinite.
        level: Confidence level.
    """
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        return Interval(float("nan"), float("inf"))
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, float("inf"))
    quantile = float(stats.t.ppf(0.5 + level / 2.0, n - 1))
    return Interval(mean, quantile * float(np.std(values, ddof=1)) / float(np.sqrt(n)))


def error_within(errors: FloatArray, tolerance: float, *, judged: Literal["interval", "mean"] = "interval") -> bool:
    """Say whether the paired barrier errors have reached the goal.

    Args:
        errors: (R,) barrier minus reference barrier of each replica, eV.
        tolerance: eV.
        judged: The whole 95 % confidence interval, or the mean alone, has to lie within ± tolerance.
    """
    interval = confidence_interval(errors)
    return interval.within(tolerance) if judged == "interval" else abs(interval.mean) <= tolerance


def change_within(barriers: FloatArray, iterations: int, tolerance: float) -> bool:
    """Say whether the barrier has stopped changing, where no reference can be afforded.

    For each of the last `iterations` iterations, the paired changes of all replicas since the iteration before form a
    sample; the 95 % confidence interval of each has to lie within ± tolerance. Assumes that a barrier that rests is
    right, which members that agree and are wrong can break.

    Args:
        barriers: (I, R) barrier by iteration and replica, eV.
        iterations: k, how many changes are looked at.
        tolerance: eV.
    """
    if len(barriers) < iterations + 1:
        return False
    changes = np.diff(barriers[-(iterations + 1) :], axis=0)
    return all(confidence_interval(change).within(tolerance) for change in changes)
