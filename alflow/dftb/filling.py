"""Fermi filling of doubly occupied levels, its entropy, and the slope of the occupation. Hartree throughout."""

from __future__ import annotations

import numpy as np
from numba import njit

from alflow.types import FloatArray

_SHARP = 40.0
"""Gap in units of kT beyond which the filling is a step to the last bit: e^(-40/2) per side, squared in the entropy."""


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(levels: FloatArray, kt: float, level: float, occupations: FloatArray) -> tuple[float, float]:
    """Fill f_i = 2 / (e^((ε_i - μ)/kT) + 1); return Σ f and its derivative with respect to μ."""
    total = slope = 0.0
    for i in range(levels.size):
        x = min(max((levels[i] - level) / kt, -700.0), 700.0)
        f = 2.0 / (np.exp(x) + 1.0)
        occupations[i] = f
        total += f
        slope += 0.5 * f * (2.0 - f) / kt
    return total, slope


@njit(cache=True, nogil=True, error_model="numpy")
def fermi_filling(levels: FloatArray, electrons: float, kt: float, occupations: FloatArray) -> float:
    """Fill the occupations (N,), 0 to 2, of ascending levels (N,) with a number of electrons; return the Fermi level.

    The Fermi level is found by Newton's method inside a bracket that bisection keeps shrinking.
    """
    pairs = int(np.floor(0.5 * electrons + 0.5))
    if (
        abs(2.0 * pairs - electrons) < 1e-12
        and 0 < pairs < levels.size
        and levels[pairs] - levels[pairs - 1] > 2.0 * _SHARP * kt
    ):
        for i in range(levels.size):
            occupations[i] = 2.0 if i < pairs else 0.0
        return float(0.5 * (levels[pairs] + levels[pairs - 1]))
    low, high = levels[0] - 50.0 * kt, levels[-1] + 50.0 * kt
    homo = min(max(pairs, 1), levels.size) - 1
    level = levels[homo]
    for _ in range(200):
        total, slope = _fill(levels, kt, level, occupations)
        error = electrons - total
        if abs(error) < 1e-13 * max(electrons, 1.0):
            break
        if error > 0.0:
            low = level
        else:
            high = level
        step = error / slope if slope > 0.0 else 0.0
        guess = level + step
        level = guess if low < guess < high and step != 0.0 else 0.5 * (low + high)
        if high - low < 1e-17:
            break
    return float(level)


@njit(cache=True, nogil=True, error_model="numpy")
def entropy_energy(occupations: FloatArray, kt: float) -> float:
    """Return -T S = 2 kT Σ (n ln n + (1 - n) ln(1 - n)) with n = f/2, Hartree."""
    total = 0.0
    for f in occupations:
        n = 0.5 * f
        if 0.0 < n < 1.0:
            total += n * np.log(n) + (1.0 - n) * np.log(1.0 - n)
    return 2.0 * kt * total


@njit(cache=True, nogil=True, error_model="numpy")
def filling_slope(level_i: float, level_j: float, f_i: float, f_j: float, kt: float) -> float:
    """Return (f_i - f_j) / (ε_i - ε_j), or its limit -f (2 - f) / (2 kT) for levels that nearly coincide."""
    gap = level_i - level_j
    if abs(gap) < 1e-4 * kt:
        f = 0.5 * (f_i + f_j)
        return -0.5 * f * (2.0 - f) / kt
    return (f_i - f_j) / gap
