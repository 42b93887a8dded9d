"""Progress of a pull on its way: the coordinate along which frames are picked by the cap order `progress`.

A rare event is rare in time. Of a 3.25 ps pull of hexane, the C-C bond spends some 30 fs between 2.0 and 2.6 Å, one
frame in a hundred, and it is there that the barrier is decided. So progress is measured by what has changed, not by the
clock:

    s(t) = max_{t' ≤ t} d(t') - d(0)  +  min(max_{t' ≤ t, b} l_b(t') - l_b(0), REACH)

with d the distance of the pulled atoms and l_b the length of bond b. It never falls, and it is known frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alflow.types import FloatArray, IntArray

REACH_ANGSTROM = 1.5
"""A bond that is longer by this is broken; what happens to it further on is no progress."""


@dataclass(frozen=True)
class Progress:
    """How far a pull had come at its last frame."""

    bonds: IntArray
    """(B, 2) atoms of the bonds that may break."""
    first_distance: float
    """Å."""
    first_lengths: FloatArray
    """(B,) Å."""
    extension: float = 0.0
    """Largest growth of the distance so far, Å."""
    stretch: float = 0.0
    """Largest growth of a bond so far, Å."""


def planned_progress(extension: float) -> float:
    """Return the progress of a pull that breaks a bond and grows by `extension`, Å."""
    return extension + REACH_ANGSTROM


def start_progress(bonds: IntArray, distance: float, positions: FloatArray) -> Progress:
    """Return the progress at the first frame of a pull: bonds (B, 2), distance in Å, positions (A, 3) Å."""
    return Progress(bonds, distance, _lengths(positions[None], bonds)[0])


def advance(progress: Progress, distance: FloatArray, positions: FloatArray) -> tuple[Progress, FloatArray]:
    """Take the next frames in; return the new state and s of each frame.

    Args:
        progress: State after the frames before.
        distance: (F,) of the pulled atoms, Å.
        positions: (F, A, 3) Å.
    """
    growth = np.zeros((len(distance), 1))
    if len(progress.bonds):
        growth = _lengths(positions, progress.bonds) - progress.first_lengths
    extension = _running_maximum(distance - progress.first_distance, progress.extension)
    stretch = _running_maximum(growth.max(axis=1), progress.stretch)
    after = Progress(
        progress.bonds,
        progress.first_distance,
        progress.first_lengths,
        float(extension[-1]) if len(extension) else progress.extension,
        float(stretch[-1]) if len(stretch) else progress.stretch,
    )
    return after, extension + np.minimum(stretch, REACH_ANGSTROM)


def _running_maximum(values: FloatArray, before: float) -> FloatArray:
    known = np.where(np.isfinite(values), values, -np.inf)
    return np.asarray(np.maximum.accumulate(np.maximum(known, before)), dtype=np.float64)


def _lengths(positions: FloatArray, bonds: IntArray) -> FloatArray:
    return np.asarray(np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=-1))
