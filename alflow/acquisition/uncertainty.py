"""Spread of an ensemble, and the thresholds above which a frame counts as new to it.

The spread is the population standard deviation over members (divided by M, not M - 1). For a fixed number of
members the two differ by a constant factor, which every threshold below carries along. M members, F frames, A atoms.
"""

from __future__ import annotations

import numpy as np

from alflow.acquisition.calibration import conformal_factor
from alflow.types import FloatArray, IntArray


def energy_spread(energies: FloatArray) -> FloatArray:
    """Return the standard deviation of the energy over the members.

    Assumes that a region that the members do not know shows as disagreement on the total energy. Blind to errors
    that all members share, and to local errors of opposite sign that cancel in the sum over atoms.

    Args:
        energies: (M, F) eV.

    Returns:
        (F,) eV; zeros for one member.
    """
    return np.asarray(np.std(energies, axis=0), dtype=np.float64)


def force_spread(forces: FloatArray) -> FloatArray:
    """Return the largest disagreement on the force on one atom.

    For atom a of frame f: the norm, over the three axes, of the standard deviations over the members; then the
    largest over the atoms. Assumes that one badly known atom is reason enough to label the whole frame.

    Args:
        forces: (M, F, A, 3) eV/Å.

    Returns:
        (F,) eV/Å; zeros for one member.
    """
    variance = np.var(forces, axis=0)
    return np.asarray(np.sqrt(variance.sum(axis=-1)).max(axis=-1), dtype=np.float64)


def threshold_first_steps(spread: FloatArray, steps: IntArray, first_steps: int, sigmas: float = 3.0) -> float:
    """Return mean + `sigmas` standard deviations of the spread over the first steps of a pull.

    Jung, Choi, Lee, Digital Discovery 2024, 3, 514, section 2.3.2 (1000 steps, 3 standard deviations). Assumes that
    the ensemble knows how a pull begins; where it does not, the threshold comes out high and few frames are picked.

    Args:
        spread: (F,) any unit.
        steps: (F,) step numbers; those up to and including `first_steps` count.
        first_steps: Length of the beginning, steps.
        sigmas: Standard deviations above the mean.

    Returns:
        In the unit of `spread`; infinity if no finite value lies within the first steps.
    """
    return _mean_plus_sigmas(spread[steps <= first_steps], sigmas)


def threshold_validation(spread: FloatArray, sigmas: float = 3.0) -> float:
    """Return mean + `sigmas` standard deviations of the spread over validation frames.

    Assumes that the validation frames resemble what the ensemble was trained on. Known before the pull begins.

    Args:
        spread: (F,) any unit, on the best member's validation frames. Other members may have trained on some of them,
            which makes the threshold low and lets more frames pass.
        sigmas: Standard deviations above the mean.

    Returns:
        In the unit of `spread`; infinity if no value is finite.
    """
    return _mean_plus_sigmas(spread, sigmas)


def lower(*thresholds: float) -> float:
    """Return the lowest threshold: a frame is new if any of the criteria says so."""
    return min(thresholds)


def threshold_conformal(errors: FloatArray, spread: FloatArray, tolerance: float, miss_rate: float) -> float:
    """Return the spread up to which an ensemble may be trusted, calibrated on labelled frames.

    Split conformal prediction: q is `conformal_factor` at the level 1 - m.
    For a new frame that is exchangeable with the calibration frames, P(|error| > q · spread) ≤ m. A frame is trusted
    where q · spread ≤ tolerance, so P(trusted and |error| > tolerance) ≤ m. The statement is about all frames
    together, not about each region of configurations; frames further out than those of the calibration, as the end
    of a first pull is, are not exchangeable with them.

    Args:
        errors: (n,) predicted minus labelled value, of frames that no member trained on: all members share one split.
        spread: (n,) of the same frames, in the same unit.
        tolerance: Largest error that is accepted, in that unit.
        miss_rate: m, the accepted share of frames that are trusted and yet wrong by more than the tolerance.

    Returns:
        tolerance / q; 0 (trust nothing) if n is too small for m; infinity if q is 0.
    """
    quantile = conformal_factor(errors, spread, 1.0 - miss_rate)
    return tolerance / quantile if quantile > 0.0 else float("inf")


def _mean_plus_sigmas(values: FloatArray, sigmas: float) -> float:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("inf")
    return float(np.mean(finite) + sigmas * np.std(finite))
