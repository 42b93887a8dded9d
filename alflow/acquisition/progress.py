"""Progress of a pull on its way: the coordinate along which frames are picked by the cap order `progress`.

A rare event is rare in time. Of a 3.25 ps pull of hexane, the C-C bond spends some 30 fs between 2.0 and 2.6 Å, one
frame in a hundred, and it is there that the barrier is decided. So progress is measured by what has changed, not by the
clock:

    s(t) = max_{t' ≤ t} d(t') - d(0)  +  min(max_{t' ≤ t, b} l_b(t') - l_b(0), REACH)

with d the distance of the pulled atoms and l_b the length of bond b. It never falls, and it is known frame by frame.

Any variable ξ stands for d: its change in the direction that it is taken, in Å if it is a length, else scaled such that
its whole way counts as `WAY_ANGSTROM`. Bonds that form count like those that break: for two atoms that are a bond's
length l₀ apart in the end, min(max(l₀ + REACH - l, 0), REACH) is how near they have come. Where ξ is taken nowhere (it
explores), s is not the largest so far but what it is now: |ξ - ξ(0)| and the bonds as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from alflow.types import FloatArray, IntArray

REACH_ANGSTROM = 1.5
"""A bond that is longer by this is broken; what happens to it further on is no progress."""


WAY_ANGSTROM = 3.0
"""What the whole way of a variable that is no length counts as."""
NO_PAIRS = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Way:
    """What counts as progress beside bonds that break."""

    direction: float = 1.0
    """1 if the coordinate grows, -1 if it falls, 0 if it is taken nowhere."""
    angstrom_per_unit: float = 1.0
    """What a unit of the coordinate counts as, Å."""
    forming: IntArray = field(default_factory=lambda: NO_PAIRS, repr=False)
    """(P, 2) atoms that may form a bond."""
    formed: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)
    """(P,) length of that bond, Å."""
    planned: float = 0.0
    """By how much the coordinate changes if all goes as planned, Å."""

    def nearness(self, positions: FloatArray) -> FloatArray:
        """Return how near each pair has come to a bond, (F, P) Å from 0 to `REACH_ANGSTROM`, at (F, A, 3) Å."""
        return np.clip(self.formed + REACH_ANGSTROM - _lengths(positions, self.forming), 0.0, REACH_ANGSTROM)


PULLED_APART = Way()
"""Two atoms whose distance grows until a bond breaks."""


@dataclass(frozen=True)
class Progress:
    """How far a pull had come at its last frame."""

    bonds: IntArray
    """(B, 2) atoms of the bonds that may break."""
    first_distance: float
    """The coordinate, in its unit."""
    first_lengths: FloatArray
    """(B,) Å."""
    extension: float = 0.0
    """Largest change of the coordinate so far, Å."""
    stretch: float = 0.0
    """Largest growth of a bond so far, Å."""
    way: Way = PULLED_APART
    first_nearness: FloatArray = field(default_factory=lambda: np.empty(0))
    """(P,) Å."""


def planned_progress(extension: float) -> float:
    """Return the progress of a pull that breaks a bond and grows by `extension`, Å."""
    return extension + REACH_ANGSTROM


def start_progress(bonds: IntArray, coordinate: float, positions: FloatArray, way: Way = PULLED_APART) -> Progress:
    """Return the progress at the first frame of a pull: bonds (B, 2), coordinate in its unit, positions (A, 3) Å."""
    first = _lengths(positions[None], bonds)[0]
    return Progress(bonds, coordinate, first, way=way, first_nearness=way.nearness(positions[None])[0])


def advance(progress: Progress, coordinate: FloatArray, positions: FloatArray) -> tuple[Progress, FloatArray]:
    """Take the next frames in; return the new state and s of each frame.

    Args:
        progress: State after the frames before.
        coordinate: (F,) in its unit.
        positions: (F, A, 3) Å.
    """
    way, growth = progress.way, np.zeros((len(coordinate), 1))
    if len(progress.bonds):
        growth = _lengths(positions, progress.bonds) - progress.first_lengths
    if len(way.forming):
        growth = np.concatenate([growth, way.nearness(positions) - progress.first_nearness], axis=1)
    change = (coordinate - progress.first_distance) * way.angstrom_per_unit
    if way.direction == 0.0:
        return progress, np.abs(np.nan_to_num(change)) + np.clip(growth.max(axis=1), 0.0, REACH_ANGSTROM)
    extension = _running_maximum(change * way.direction, progress.extension)
    stretch = _running_maximum(growth.max(axis=1), progress.stretch)
    after = progress
    if len(coordinate):
        after = replace(progress, extension=float(extension[-1]), stretch=float(stretch[-1]))
    return after, extension + np.minimum(stretch, REACH_ANGSTROM)


def _running_maximum(values: FloatArray, before: float) -> FloatArray:
    known = np.where(np.isfinite(values), values, -np.inf)
    return np.asarray(np.maximum.accumulate(np.maximum(known, before)), dtype=np.float64)


def _lengths(positions: FloatArray, bonds: IntArray) -> FloatArray:
    return np.asarray(np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=-1))
