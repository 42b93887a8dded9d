"""A Langevin thermostat whose noise is a function of the step alone, so that a cut changes no bit.

Friction and noise of step n on an atom of mass m (Schneider, Stoll, Phys. Rev. B 1978, 17, 1302):

    F = -m v / τ + sqrt(2 m k T / (τ Δt)) ξₙ,   ξₙ normal, one number an axis.

Here τ is `damping_fs`, Δt `timestep_fs`, T `temperature_k`; v are the velocities half a step behind, as in LAMMPS.
The sum of all forces is taken off, by mass: the molecule as a whole does not drift, and 3A - 3 degrees of freedom are
at the temperature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alflow.sampling.velocities import EV_PER_AMU_ANGSTROM2_PER_FS2, masses_amu
from alflow.types import FloatArray, IntArray
from alflow.units import BOLTZMANN_EV_PER_K, FS_IN_PS

Thermostat = Callable[[int, FloatArray], FloatArray]
"""(step, velocities (A, 3) Å/ps half a step behind) -> forces (A, 3) eV/Å."""


def langevin_forces(
    numbers: IntArray, temperature_k: float, damping_fs: float, timestep_fs: float, seed: int
) -> Thermostat:
    """Return the thermostat of all atoms.

    Args:
        numbers: (A,) atomic numbers.
        temperature_k: K.
        damping_fs: relaxation time of the velocities, fs.
        timestep_fs: fs.
        seed: of the noise, from 0; the same seed and step give the same noise.
    """
    masses = masses_amu(numbers)[:, None] * EV_PER_AMU_ANGSTROM2_PER_FS2
    friction = -masses * FS_IN_PS / damping_fs
    share = masses / masses.sum()
    noise = np.sqrt(2.0 * masses * BOLTZMANN_EV_PER_K * temperature_k / (damping_fs * timestep_fs))

    def forces(step: int, velocities: FloatArray) -> FloatArray:
        drawn = np.random.Generator(np.random.Philox(key=[seed % 2**64, step])).standard_normal(velocities.shape)
        found = friction * velocities + noise * drawn
        return np.asarray(found - share * found.sum(axis=0))

    return forces
