"""Barrier under the label engine, from labels along the pulls of a potential: no trajectory of the label engine.

A pull does the work W = ∫ k (R - ξ) dR on a molecule with the potential energy E, whose coordinate ξ follows the target
R. Slow and cold, the molecule stays in the minimum of V(x; R) = E(x) + k/2 (R - ξ(x))² until the minimum vanishes at R*
(a fold). Then it breaks and the pull slackens; what the spring still does is to hold the fragments against the force F
between them. As dV/dR = k (R - ξ) along the minima, W is the growth of V up to R*, and -∫ F dR from there on. With
small errors e(x) = E(x) - E_label(x) and f = F - F_label, the barrier of the potential minus the label engine's is

    e(x*) - e(x_0)  -  ∫ f dR  +  k (R* - ξ*) ΔR*,        ΔR* = u·∇e / (k u·∇ξ)

to first order. The first term is the energy error up to the break: the same path, other energies, as V is stationary in
x. The second one is over the targets from the break to the end. The third is the shift of the breaking point. It
follows from u·∇V = 0 along the direction u in which the minimum gives way, and k drops out: with u·∇e and u·∇ξ as
differences, at nearly the same R, between frames just before the break and while it crosses, it is

    (R - ξ)_before (e_crossing - e_before) / ((R - ξ)_before - (R - ξ)_crossing).

    e = `energy_errors`,  f = `force_errors`,  R - ξ = `lag`

The barrier is corrected by the first two terms. Not by the third: at the fold, first order does not reach far enough
for its sign to be right, though its size bounds the error (`benchmarks/RESULTS.md`). It is a standard uncertainty.

Two pulls with forces that differ ever so little part chaotically, and break at times of their own. That scatter is no
error of the potential: the error of the barrier is known far better than the barrier itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from alflow.acquisition.calibration import normal_factor
from alflow.acquisition.stopping import Interval, confidence_interval
from alflow.structures import fragments
from alflow.types import FloatArray, IntArray
from alflow.units import KCAL_PER_MOL_IN_EV

START, BEFORE, CROSSING, AFTER = range(4)
"""The windows of a pull that frames are labelled in."""
FRAMES = (1, 1, 1, 2)
"""In each window of each pull."""
TENSE, CROSSED, BROKEN = 0.95, 0.75, 0.5
"""Shares of the largest lag: down to the first the molecule is whole, down to the second it crosses, below the third it
is broken."""
NEAR = 0.1
"""Way of the target, in units of the largest lag, that counts as at the start, and as just before the break."""


def windows(target: FloatArray, coordinate: FloatArray) -> tuple[slice, slice, slice, slice]:
    """Return the rows of a pull at its start, just before the break, while it crosses, and after it.

    All is measured by the lag |R - ξ|, so it serves any coordinate, rising or falling, of any unit. The break is where
    the lag first falls below half of its maximum.

    Args:
        target: (F,) R of all records of a whole pull, at least one.
        coordinate: (F,) ξ, in the same unit.

    Returns:
        The last two are empty for a pull that did not break.
    """
    lag, way = np.abs(target - coordinate), np.abs(target - target[0])
    top = int(np.argmax(lag))
    largest = lag[top]
    broken = np.flatnonzero(lag[top:] < BROKEN * largest)
    end = top + int(broken[0]) if len(broken) else len(lag)
    last = int(np.flatnonzero(lag[:end] >= TENSE * largest)[-1])
    first = int(np.argmax(way >= way[last] - NEAR * largest))
    ahead = int(np.flatnonzero(way <= NEAR * largest)[-1])
    crossed = int(np.flatnonzero(lag[:end] >= CROSSED * largest)[-1])
    crossing = slice(last + 1, max(crossed + 1, last + 2) if len(broken) else last + 1)
    return slice(0, ahead + 1), slice(first, last + 1), crossing, slice(end, len(lag))


def audit_rows(
    target: FloatArray,
    coordinate: FloatArray,
    rng: np.random.Generator,
    frames: tuple[int, int, int, int] = FRAMES,
) -> tuple[IntArray, IntArray]:
    """Draw the frames of a pull that the label engine is to judge: in each window, one at random of each equal part.

    Args:
        target: (F,) R of all records of a whole pull.
        coordinate: (F,) ξ, in the same unit.
        rng: makes it repeatable.
        frames: wanted in each window; a window that is shorter gives all it has.

    Returns:
        Rows, and the window of each.
    """
    rows, window = [], []
    for number, (part, count) in enumerate(zip(windows(target, coordinate), frames, strict=True)):
        edges = np.linspace(part.start, part.stop, min(count, part.stop - part.start) + 1).astype(np.int64)
        rows.append(rng.integers(edges[:-1], edges[1:]))
        window.append(np.full(len(edges) - 1, number, dtype=np.int64))
    return np.concatenate(rows), np.concatenate(window)


def force_apart(numbers: IntArray, positions: FloatArray, forces: FloatArray, pair: tuple[int, int]) -> float:
    """Return the force along the distance of two atoms, each moved with all of its fragment; eV/Å, above 0 if apart.

    What is inside a fragment has no part in it: errors of its own bonds shift them, and do no work on the spring. Two
    atoms of one molecule are moved alone.

    Args:
        numbers: (A,) atomic numbers.
        positions: (A, 3) Å.
        forces: (A, 3) eV/Å.
        pair: the two atoms, counted from 0.
    """
    left, right = pair
    of = fragments(numbers, positions)
    moved = np.eye(len(numbers))[[left, right]] if of[left] == of[right] else of == of[[left, right]][:, None]
    line = positions[right] - positions[left]
    one, other = moved @ forces
    return float(0.5 * (other - one) @ line / np.linalg.norm(line))


@dataclass(frozen=True)
class AuditedPull:
    """Labelled frames of one pull, F of them; those whose label failed are left out."""

    window: IntArray
    """(F,) which window each is of."""
    lag: FloatArray
    """(F,) target minus coordinate, in the unit of the coordinate."""
    energy_errors: FloatArray
    """(F,) potential energy of what drove the pull minus that of the label engine, eV, up to a constant."""
    force_errors: FloatArray
    """(F,) the same of the force along the coordinate (`force_apart`), eV by its unit; counts after the break only."""
    slack: float
    """Way of the target from the break to the last record, in the unit of the coordinate, below 0 if it falls."""

    def terms(self) -> FloatArray:
        """Return the errors of the barrier up to the break and after it, eV, then what the shift is made of.

        These are the error gained while crossing, eV, the lag before and what it loses meanwhile. Not-a-number where a
        window has no label.
        """
        parts = [self.window == number for number in (START, BEFORE, CROSSING, AFTER)]
        if not all(part.any() for part in parts):
            return np.full(5, np.nan)
        start, before, crossing = (self.energy_errors[part].mean() for part in parts[:3])
        lag, less = (self.lag[part].mean() for part in parts[1:3])
        after = -self.slack * self.force_errors[parts[3]].mean()
        return np.array([before - start, after, crossing - before, lag, lag - less])


@dataclass(frozen=True)
class CorrectedBarrier:
    """What an audit says of the barrier under the label engine, each with its 95 % interval, eV.

    All half-widths are infinite where the audit cannot tell.
    """

    error: Interval
    """Of the potential's mean barrier: potential minus label engine. Free of the scatter of trajectories."""
    barrier: Interval
    """Mean barrier under the label engine, over all the trajectories that there could be."""
    single: Interval
    """Barrier of one more trajectory of the label engine."""
    up_to_break: float
    """Part of the error."""
    after_break: float
    """Part of the error."""
    shift: float
    """Work of the shifted breaking point, a standard uncertainty: mean over the pulls, and its standard error."""
    scatter: float
    """Standard deviation of the pulls' barriers."""

    @property
    def told(self) -> bool:
        """Whether the audit could tell."""
        return bool(np.isfinite(self.error.half_width))


def corrected_barrier(barriers: FloatArray, audited: Sequence[AuditedPull]) -> CorrectedBarrier:
    """Return the barrier under the label engine, and the error of the potential's own, with their 95 % intervals.

    The half-width of the error joins, as the root of the sum of squares, Student's interval of the errors of the
    audited pulls, and 1.96 times the shift. The barrier's joins that and Student's interval of the barriers, s t / √R;
    a single trajectory's joins it and s t √(1 + 1/R).

    Assumes a process that is slow, cold and given up all at once, pulls that differ in their velocities only (one
    molecule, one rate), and as much scatter under the label engine as under the potential. First order serves only
    where both engines break in the same region: error up to the break and shift together have to be no larger than the
    barriers' scatter, or 1 kcal/mol if they scatter less. Otherwise, and for fewer than two audited pulls that broke,
    the audit cannot tell.

    Args:
        barriers: (R,) work at the end of each pull, eV; not-a-number for one that ended early.
        audited: of those pulls, all or some at random.
    """
    terms = np.array([pull.terms() for pull in audited]).reshape(-1, 5)
    terms = terms[np.isfinite(terms).all(axis=1)]
    found = barriers[np.isfinite(barriers)]
    if len(found) < 2 or len(terms) < 2:
        return _joined(found, terms, float("nan"), float("nan"))
    _, _, gained, lag, lost = terms.T
    ratio = float(lag.mean() / lost.mean()) if lost.mean() != 0.0 else float("inf")
    shift = abs(ratio) * float(np.hypot(gained.mean(), np.std(gained, ddof=1) / np.sqrt(len(gained))))
    return _joined(found, terms, shift, float(np.std(found, ddof=1)))


def _joined(barriers: FloatArray, terms: FloatArray, shift: float, scatter: float) -> CorrectedBarrier:
    """Return all intervals, infinite unless first order serves."""
    error, up_to_break = confidence_interval(terms[:, 0] + terms[:, 1]), confidence_interval(terms[:, 0]).mean
    half_widths = np.full(3, np.inf)
    if abs(up_to_break) + shift <= max(scatter, KCAL_PER_MOL_IN_EV):  # false where one is not a number
        quantile = float(stats.t.ppf(0.975, len(barriers) - 1))
        spreads = np.array([0.0, 1.0 / len(barriers), 1.0 + 1.0 / len(barriers)])
        systematic = np.hypot(error.half_width, normal_factor(0.95) * shift)
        half_widths = np.hypot(systematic, quantile * scatter * np.sqrt(spreads))
    corrected = confidence_interval(barriers).mean - error.mean
    of_error, of_barrier, of_single = map(float, half_widths)
    return CorrectedBarrier(
        error=Interval(error.mean, of_error),
        barrier=Interval(corrected, of_barrier),
        single=Interval(corrected, of_single),
        up_to_break=up_to_break,
        after_break=error.mean - up_to_break,
        shift=shift,
        scatter=scatter,
    )
