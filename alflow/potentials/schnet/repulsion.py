"""Screened nuclear repulsion at distances that no data reaches."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii

from alflow.types import FloatArray, IntArray
from alflow.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

COULOMB_EV_ANGSTROM = HARTREE_IN_EV * BOHR_IN_ANGSTROM
"""e² / 4πε₀."""
SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Weights and decays of the universal screening function."""


def repulsion(numbers: IntArray, positions: FloatArray, reach: float) -> tuple[FloatArray, FloatArray]:
    r"""Return energies (F,) eV and forces (F, A, 3) eV/Å of the switched repulsion of (F, A, 3) Å.

    :math:`E = \sum_{i<j} s(r/r_c) \frac{Z_i Z_j e^2}{4\pi\epsilon_0 r} \sum_k c_k e^{-d_k r/a}`,
    :math:`a = 0.46850 Å / (Z_i^{0.23} + Z_j^{0.23})` (Ziegler, Biersack, Littmark, The Stopping and Range of Ions in
    Matter, 1985), with :math:`s(x) = (1 - x^2)^3` up to :math:`r_c`, `reach` times the sum of the covalent radii.

    Args:
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        reach: share of the sum of the covalent radii.
    """
    first, second = np.triu_indices(len(numbers), 1)
    charge = numbers.astype(np.float64)
    ends = reach * (covalent_radii[numbers[first]] + covalent_radii[numbers[second]])
    length = 0.46850 / (charge[first] ** 0.23 + charge[second] ** 0.23)
    apart = positions[:, second] - positions[:, first]
    distance = np.linalg.norm(apart, axis=2)
    energy, slope = _pair_energy(distance, charge[first] * charge[second], length, ends)
    push = (slope / distance)[:, :, None] * apart
    forces = np.zeros_like(positions)
    for pair, (i, j) in enumerate(zip(first, second, strict=True)):
        forces[:, i] += push[:, pair]
        forces[:, j] -= push[:, pair]
    return energy.sum(axis=1), forces


def _pair_energy(
    distance: FloatArray, charges: FloatArray, length: FloatArray, ends: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (F, P) energies and their derivatives."""
    inside = np.maximum(1 - (distance / ends) ** 2, 0.0)
    switch, switch_slope = inside**3, -6 * distance / ends**2 * inside**2
    terms = [(weight * np.exp(-decay * distance / length), decay / length) for weight, decay in SCREENING]
    screening = sum(term for term, _ in terms)
    screening_slope = -sum(term * decay for term, decay in terms)
    bare = COULOMB_EV_ANGSTROM * charges / distance
    slope = bare * (switch_slope * screening + switch * (screening_slope - screening / distance))
    return bare * switch * screening, slope
