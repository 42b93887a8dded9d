"""Noise copies of a selected frame."""

from __future__ import annotations

import numpy as np

from alflow.types import FloatArray


def jitter(positions: FloatArray, copies: int, amplitude_angstrom: float, rng: np.random.Generator) -> FloatArray:
    """Return copies of one structure, each atom moved at random along each axis.

    Displacements are uniform in [-amplitude, amplitude), drawn for each copy, atom and axis (Jung, Choi, Lee, Digital
    Discovery 2024, 3, 514, section 2.3.4: 2 copies, 0.05 Å). Assumes that the surroundings of a selected frame are as
    worth knowing as the frame.

    Args:
        positions: (A, 3) Å.
        copies: Number of copies.
        amplitude_angstrom: Largest displacement along one axis, Å.
        rng: Where the displacements are drawn from.

    Returns:
        (copies, A, 3) Å.
    """
    return positions + rng.uniform(-amplitude_angstrom, amplitude_angstrom, size=(copies, *positions.shape))
