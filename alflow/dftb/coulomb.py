"""Charge interactions: γ of exponential charge clouds, its hydrogen damping, and the third-order Γ.

    γ_ab(r) = 1/r - S_ab(r) h_ab(r),     Γ_ab = ∂γ_ab/∂U_a · ∂U_a/∂q_a,     τ = 16 U / 5

    S_ab = e^(-τ_a r) f(τ_a, τ_b, r) + e^(-τ_b r) f(τ_b, τ_a, r)
    f(a, b, r) = a b⁴ / (2 (a² - b²)²) - (b⁶ - 3 a² b⁴) / ((a² - b²)³ r)
    S_aa = e^(-τ r) (1/r + 11 τ/16 + 3 τ² r/16 + τ³ r²/48)
    h_ab = exp(-((U_a + U_b)/2)^ζ r²) for pairs with hydrogen, 1 for all others

For a pair of like atoms ∂γ_ab/∂U_a takes dS/dτ in full, not its half, while h is differentiated with respect to U_a
alone: the convention of DFTB+ with which 3OB is used.

Sources: Elstner et al., Phys. Rev. B 58, 7260 (1998) for γ; Gaus, Cui, Elstner, J. Chem. Theory Comput. 7, 931 (2011)
for h and Γ. On one atom γ_aa = U_a and Γ_aa = (∂U_a/∂q_a)/2. Atomic units; q counts electrons.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from alflow.types import FloatArray

_SAME_HUBBARD = 3.125e-6
"""Hartree. Closer Hubbard parameters are taken as equal: f divides by their difference."""


class ShortRange(NamedTuple):
    """S_ab and ∂S_ab/∂U_a of each ordered pair of species (a, b) as sums of exponentials times powers.

    Both are Σ_e e^(-exponent_e r) Σ_k c[e, k] r^(k-1), k = 0 ... 4.
    """

    exponents: FloatArray
    """(species, species, 2) 1/Bohr: τ_a, τ_b."""
    value: FloatArray
    """(species, species, 2, 5) c of S."""
    by_hubbard: FloatArray
    """(species, species, 2, 5) c of ∂S/∂U_a."""
    damping: FloatArray
    """(species, species) ((U_a + U_b)/2)^ζ, 1/Bohr²; 0 for no damping."""
    damping_by_hubbard: FloatArray
    """(species, species) its derivative with respect to U_a."""


def _unequal(a: float, b: float) -> tuple[FloatArray, FloatArray]:
    """Return c of S and of ∂S/∂τ_a for two different τ; see `ShortRange`."""
    d, value, slope = a * a - b * b, np.zeros((2, 5)), np.zeros((2, 5))
    value[0, :2] = -(b**6 - 3 * a * a * b**4) / d**3, 0.5 * a * b**4 / d**2
    value[1, :2] = (a**6 - 3 * a**4 * b * b) / d**3, 0.5 * a**4 * b / d**2
    slope[0, 0] = 6 * a * b**4 / d**3 + 6 * a * (b**6 - 3 * a * a * b**4) / d**4
    slope[0, 1] = 0.5 * b**4 / d**2 - 2 * a * a * b**4 / d**3
    slope[1, 0] = (6 * a**5 - 12 * a**3 * b * b) / d**3 - 6 * a * (a**6 - 3 * a**4 * b * b) / d**4
    slope[1, 1] = 2 * a**3 * b / d**2 - 2 * a**5 * b / d**3
    slope[0, 1:3] -= value[0, :2]
    return value, slope


def _equal(tau: float) -> tuple[FloatArray, FloatArray]:
    """Return the same for equal τ, where ∂S/∂τ_a is dS/dτ: both move together, as in the reference implementation."""
    value, slope = np.zeros((2, 5)), np.zeros((2, 5))
    value[0, :4] = 1.0, 11 * tau / 16, 3 * tau**2 / 16, tau**3 / 48
    slope[0, 1:] = -5 / 16, -5 * tau / 16, -(tau**2) / 8, -(tau**3) / 48
    return value, slope


def short_range_coefficients(hubbard: FloatArray, hydrogen: FloatArray, zeta: float | None) -> ShortRange:
    """Prepare the short-range part for all pairs of species.

    Args:
        hubbard: (species,) U, Hartree.
        hydrogen: (species,) whether the species is hydrogen.
        zeta: Exponent ζ of the damping; None for none.
    """
    kinds = hubbard.size
    exponents = 3.2 * np.stack(np.broadcast_arrays(hubbard[:, None], hubbard[None, :]), axis=-1)
    value, by_hubbard = np.zeros((2, kinds, kinds, 2, 5))
    for a, b in np.ndindex(kinds, kinds):
        same = abs(hubbard[a] - hubbard[b]) < _SAME_HUBBARD
        tau_a, tau_b = (float(tau) for tau in exponents[a, b])
        value[a, b], slope = _equal(0.5 * (tau_a + tau_b)) if same else _unequal(tau_a, tau_b)
        by_hubbard[a, b] = 3.2 * slope
    mean = 0.5 * (hubbard[:, None] + hubbard[None, :])
    damped = (
        np.logical_or(hydrogen[:, None], hydrogen[None, :])
        if zeta is not None
        else np.zeros((kinds, kinds), dtype=bool)
    )
    power = zeta or 0.0
    return ShortRange(
        exponents,
        value,
        by_hubbard,
        np.where(damped, mean**power, 0.0),
        np.where(damped, 0.5 * power * mean ** (power - 1.0), 0.0),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_of_powers(coefficients: FloatArray, exponents: FloatArray, decay: FloatArray, r: float) -> tuple[float, float]:
    """Return Σ_e e^(-x_e r) Σ_k c[e, k] r^(k-1) and its derivative with respect to r."""
    value = slope = 0.0
    for e in range(2):
        c = coefficients[e]
        inner = c[0] / r + c[1] + r * (c[2] + r * (c[3] + r * c[4]))
        outer = -c[0] / (r * r) + c[2] + r * (2.0 * c[3] + r * 3.0 * c[4])
        value += decay[e] * inner
        slope += decay[e] * (outer - exponents[e] * inner)
    return value, slope


@njit(cache=True, nogil=True, error_model="numpy")
def charge_interactions(
    species: FloatArray,
    hubbard: FloatArray,
    hubbard_derivative: FloatArray,
    short: ShortRange,
    positions: FloatArray,
    gamma: FloatArray,
    third: FloatArray,
    gamma_slope: FloatArray,
    third_slope: FloatArray,
) -> None:
    """Fill γ_ab, Γ_ab and their derivatives with respect to the distance, each (A, A).

    Args:
        species: (A,).
        hubbard: (species,) Hartree.
        hubbard_derivative: (species,) Hartree per electron.
        short: Coefficients of the short-range part.
        positions: (A, 3) Bohr.
        gamma: Overwritten by γ, Hartree.
        third: Overwritten by Γ, Hartree per electron.
        gamma_slope: Overwritten by ∂γ/∂r.
        third_slope: Overwritten by ∂Γ/∂r.
    """
    decay = np.empty(2)
    for a in range(species.size):
        sa = species[a]
        gamma[a, a], third[a, a] = hubbard[sa], 0.5 * hubbard_derivative[sa]
        gamma_slope[a, a] = third_slope[a, a] = 0.0
        for b in range(a):
            sb = species[b]
            r = np.sqrt(
                (positions[a, 0] - positions[b, 0]) ** 2
                + (positions[a, 1] - positions[b, 1]) ** 2
                + (positions[a, 2] - positions[b, 2]) ** 2
            )
            width = short.damping[sa, sb]
            h = np.exp(-width * r * r)
            x = short.exponents[sa, sb]
            decay[0], decay[1] = np.exp(-x[0] * r), np.exp(-x[1] * r)
            s, ds = _sum_of_powers(short.value[sa, sb], x, decay, r)
            gamma[a, b] = gamma[b, a] = 1.0 / r - s * h
            gamma_slope[a, b] = gamma_slope[b, a] = -1.0 / (r * r) - h * (ds - 2.0 * width * r * s)
            change = short.damping_by_hubbard[sa, sb] * r * r
            t, dt = _sum_of_powers(short.by_hubbard[sa, sb], x, decay, r)
            third[a, b] = -h * (t - change * s) * hubbard_derivative[sa]
            third_slope[a, b] = (
                -h * (dt - 2.0 * width * r * (t - change * s) - change * (ds + 2.0 * s / r)) * hubbard_derivative[sa]
            )
            decay[0], decay[1] = decay[1], decay[0]
            t, dt = _sum_of_powers(short.by_hubbard[sb, sa], short.exponents[sb, sa], decay, r)
            third[b, a] = -h * (t - change * s) * hubbard_derivative[sb]
            third_slope[b, a] = (
                -h * (dt - 2.0 * width * r * (t - change * s) - change * (ds + 2.0 * s / r)) * hubbard_derivative[sb]
            )


@njit(cache=True, nogil=True, error_model="numpy")
def charge_potential(gamma: FloatArray, third: FloatArray, excess: FloatArray, potential: FloatArray) -> None:
    """Fill v_a = ∂(E2 + E3)/∂q_a (A,), Hartree per electron.

    v_a = Σ_b γ_ab q_b + ⅓ Σ_b (2 Γ_ab q_a q_b + Γ_ba q_b²), with q the excess of electrons (A,).
    """
    atoms = excess.size
    for a in range(atoms):
        total = 0.0
        for b in range(atoms):
            total += excess[b] * (gamma[a, b] + (2.0 * third[a, b] * excess[a] + third[b, a] * excess[b]) / 3.0)
        potential[a] = total


@njit(cache=True, nogil=True, error_model="numpy")
def charge_kernel(gamma: FloatArray, third: FloatArray, excess: FloatArray, kernel: FloatArray) -> None:
    """Fill K_ab = ∂v_a/∂q_b (A, A), Hartree per electron squared."""
    atoms = excess.size
    for a in range(atoms):
        own = 0.0
        for b in range(atoms):
            kernel[a, b] = gamma[a, b] + 2.0 / 3.0 * (third[a, b] * excess[a] + third[b, a] * excess[b])
            own += third[a, b] * excess[b]
        kernel[a, a] += 2.0 / 3.0 * own


@njit(cache=True, nogil=True, error_model="numpy")
def charge_energies(gamma: FloatArray, third: FloatArray, excess: FloatArray) -> tuple[float, float]:
    """Return E2 = ½ Σ q_a γ_ab q_b and E3 = ⅓ Σ q_a² q_b Γ_ab, Hartree."""
    second = cubic = 0.0
    for a in range(excess.size):
        for b in range(excess.size):
            second += 0.5 * gamma[a, b] * excess[a] * excess[b]
            cubic += third[a, b] * excess[a] * excess[a] * excess[b] / 3.0
    return second, cubic


@njit(cache=True, nogil=True, error_model="numpy")
def add_charge_gradient(
    positions: FloatArray, gamma_slope: FloatArray, third_slope: FloatArray, excess: FloatArray, gradient: FloatArray
) -> None:
    """Add the derivative of E2 + E3 at fixed charges to `gradient` (A, 3), Hartree/Bohr."""
    for a in range(excess.size):
        for b in range(a):
            dx = positions[a, 0] - positions[b, 0]
            dy = positions[a, 1] - positions[b, 1]
            dz = positions[a, 2] - positions[b, 2]
            slope = (
                excess[a]
                * excess[b]
                * (gamma_slope[a, b] + (third_slope[a, b] * excess[a] + third_slope[b, a] * excess[b]) / 3.0)
            )
            slope /= np.sqrt(dx * dx + dy * dy + dz * dz)
            gradient[a, 0] += slope * dx
            gradient[a, 1] += slope * dy
            gradient[a, 2] += slope * dz
            gradient[b, 0] -= slope * dx
            gradient[b, 1] -= slope * dy
            gradient[b, 2] -= slope * dz
