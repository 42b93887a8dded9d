"""Velocities: drawn from a temperature, and the temperature of drawn ones."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_masses

from alflow.types import FloatArray, IntArray
from alflow.units import BOLTZMANN_EV_PER_K

EV_PER_AMU_ANGSTROM2_PER_FS2 = 103.642697
"""1 amu Å²/fs² in eV (CODATA 2018)."""


def masses_amu(numbers: IntArray) -> FloatArray:
    """Return (A,) standard atomic masses, amu."""
    return np.asarray(atomic_masses[numbers], dtype=np.float64)


def thermal_velocities(
    numbers: IntArray, positions: FloatArray, temperature_k: float, rng: np.random.Generator
) -> FloatArray:
    """Return (A, 3) Å/fs: each component normal with variance kT/m, less the motion of the body as a whole.

    Args:
        numbers: (A,) atomic numbers.
        positions: (A, 3) Å.
        temperature_k: K.
        rng: draws the velocities.
    """
    mass = masses_amu(numbers)[:, None]
    width = np.sqrt(BOLTZMANN_EV_PER_K * temperature_k / (mass * EV_PER_AMU_ANGSTROM2_PER_FS2))
    velocities = width * rng.standard_normal(positions.shape)
    velocities = velocities - (mass * velocities).sum(axis=0) / mass.sum()
    arms = positions - (mass * positions).sum(axis=0) / mass.sum()
    return np.ascontiguousarray(velocities - np.cross(_angular_velocity(mass, arms, velocities), arms))


def _angular_velocity(mass: FloatArray, arms: FloatArray, velocities: FloatArray) -> FloatArray:
    """Return (3,) 1/fs: ω with I ω = L; a linear molecule does not turn about its own axis."""
    momentum = (mass * np.cross(arms, velocities)).sum(axis=0)
    inertia = np.eye(3) * (mass * arms**2).sum() - (mass * arms).T @ arms
    return np.asarray(np.linalg.pinv(inertia, rcond=1e-10) @ momentum)


def temperature(numbers: IntArray, velocities: FloatArray) -> FloatArray:
    """Return (F,) K: T = Σ m v² / (k (3A - 3)); a single atom counts all three of its degrees of freedom.

    Args:
        numbers: (A,) atomic numbers.
        velocities: (F, A, 3) Å/fs.
    """
    freedom = max(3 * len(numbers) - 3, 3)
    twice_kinetic = EV_PER_AMU_ANGSTROM2_PER_FS2 * np.einsum("a,fax->f", masses_amu(numbers), velocities**2)
    return np.asarray(twice_kinetic / (freedom * BOLTZMANN_EV_PER_K))
