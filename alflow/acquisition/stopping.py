"""Stopping rules: a pull has left what the ensemble knows, a campaign has reached its goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from alflow.types import Evaluation, FloatArray


@dataclass(frozen=True)
class EarlyStop:
    """Bound on the energy spread of a pull beyond which going on teaches nothing."""

    spread_ev: float
    records: int
    """Records in a row that have to lie above the bound."""


@dataclass
class EarlyStopCounter:
    """Ends a pull once its spread was above the bound for so many records in a row, through all its segments.

    One record above the bound may be a collision that the pull recovers from; a row of them is a wrong path. A spread
    that is not finite counts as above.
    """

    rule: EarlyStop
    above: int = 0
    """Records in a row above the bound, up to the last one."""

    def __call__(self, step: int, evaluation: Evaluation) -> str:
        """Take the next record; return why the pull ends there, or an empty string."""
        self.above = 0 if evaluation.spread <= self.rule.spread_ev else self.above + 1
        if self.above < self.rule.records:
            return ""
        bound, records = self.rule.spread_ev, self.rule.records
        return f"at step {step} the spread was above {bound:.3f} eV for {records} records in a row"


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
        values: (n,) any unit. A value that is not finite (a pull that gave no barrier) has no part in it; fewer than
            two that are finite make the interval infinite.
        level: Confidence level.
    """
    found = values[np.isfinite(values)]
    if len(found) < 2:
        return Interval(float(np.mean(found)) if len(found) else float("nan"), float("inf"))
    quantile = float(stats.t.ppf(0.5 + level / 2.0, len(found) - 1))
    return Interval(float(np.mean(found)), float(quantile * np.std(found, ddof=1) / np.sqrt(len(found))))


def error_within(errors: FloatArray, tolerance: float, *, judged: Literal["interval", "mean"] = "interval") -> bool:
    """Say whether the paired barrier errors have reached the goal.

    Args:
        errors: (R,) barrier minus reference barrier of each replica, eV.
        tolerance: eV.
        judged: The whole 95 % confidence interval, or the mean alone, has to lie within ± tolerance.
    """
    interval = confidence_interval(errors)
    if not np.isfinite(errors).all():  # a pull that gave no barrier has reached no goal
        return False
    return interval.within(tolerance) if judged == "interval" else abs(interval.mean) <= tolerance


def may_certify(errors: FloatArray, replicas: int, tolerance: float) -> bool:
    """Say whether a few replicas leave it possible that many certify the barrier.

    They do unless mean or scatter rule it out: the 95 % interval of the mean lies outside ± tolerance as a whole, or
    the half-width t · σ / √N that N replicas would have is above the tolerance even at the lower end of the 95 %
    interval of the standard deviation, σ = s √((n - 1) / χ²), χ² the 97.5 % quantile with n - 1 degrees of freedom.
    Eight errors that scatter by 0.15 eV rule out a mean beyond 0.17 eV for a tolerance of 0.043 eV.

    Assumes independent, near-normal values. Where breaks come late in some pairs alone they are not, and few replicas
    that happen to agree state too narrow an interval; then certifying comes later than it could, or too early, which
    costs pulls and never a wrong certificate: that is judged over the many alone.

    Args:
        errors: (R,) error, or change, of the barrier of each replica, eV. One that is not finite certifies nothing.
        replicas: N, pulls of an iteration that certifies.
        tolerance: eV.
    """
    if not np.isfinite(errors).all():
        return False
    if len(errors) < 2:  # of no stated scatter, which rules out nothing
        return True
    interval, freedom = confidence_interval(errors), len(errors) - 1
    scatter = float(np.std(errors, ddof=1) * np.sqrt(freedom / stats.chi2.ppf(0.975, freedom)))
    half_width = float(stats.t.ppf(0.975, replicas - 1)) * scatter / np.sqrt(replicas)
    return bool(abs(interval.mean) - interval.half_width <= tolerance and half_width <= tolerance)


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
    return bool(np.isfinite(changes).all()) and all(confidence_interval(one).within(tolerance) for one in changes)
