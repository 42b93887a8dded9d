"""Sanity of a trajectory, or its end: an untrained potential will do wild things."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from alflow.types import Evaluation, FloatArray

FASTEST_ANGSTROM_PER_PS = 1000.0
"""1 Å/fs: fifty times what a hydrogen atom has at 500 K, ten times what a breaking bond gives."""
FARTHEST_ANGSTROM = 10.0
"""An atom that is farther than this from all others has left."""
NEAREST_ANGSTROM = 0.3
"""Nuclei this close have collapsed into each other."""
DISTANCES_EVERY = 50
"""Distances are looked at when the step number is a multiple of this: so cutting a pull changes nothing."""


def motion_fault(step: int, positions: FloatArray, velocities: FloatArray) -> str:
    """Return what is wrong with a geometry before its forces are asked for: a sentence, or nothing.

    Args:
        step: step number of the trajectory.
        positions: (A, 3) Å.
        velocities: (A, 3) Å/ps.
    """
    if not float(np.vdot(velocities, velocities)) < FASTEST_ANGSTROM_PER_PS**2:
        speed = float(np.linalg.norm(velocities, axis=1).max())
        if not speed < FASTEST_ANGSTROM_PER_PS:
            return f"Atoms must move slower than 1 Å/fs; at step {step} one has {speed / 1000.0:.3g} Å/fs."
    return distance_fault(step, positions) if step % DISTANCES_EVERY == 0 and len(positions) > 1 else ""


def distance_fault(step: int, positions: FloatArray) -> str:
    """Return which atom has left or collapsed into another: a sentence, or nothing. Arguments as above."""
    distances = cdist(positions, positions)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    if nearest.max() > FARTHEST_ANGSTROM:
        atom = int(nearest.argmax())
        return (
            f"Each atom must have another within {FARTHEST_ANGSTROM:g} Å; at step {step} the nearest to atom {atom} "
            f"is {nearest[atom]:.1f} Å away."
        )
    if nearest.min() < NEAREST_ANGSTROM:
        atom = int(nearest.argmin())
        return (
            f"Atoms must stay {NEAREST_ANGSTROM:g} Å apart; at step {step} atom {atom} has another at "
            f"{nearest[atom]:.3f} Å."
        )
    return ""


def evaluation_fault(step: int, evaluation: Evaluation) -> str:
    """Return what is wrong with an energy and its forces: a sentence, or nothing."""
    if not math.isfinite(evaluation.energy):
        return f"Energies must be finite; at step {step} the energy is {evaluation.energy}."
    if not math.isfinite(float(np.vdot(evaluation.forces, evaluation.forces))):
        return f"Forces must be finite; at step {step} some are not."
    return ""
