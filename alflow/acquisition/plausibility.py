"""Frames that no label should be spent on: atoms lost, atoms on top of each other, numbers not finite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alflow.types import FloatArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PlausibilityRule:
    """Bounds on the distance from each atom to its nearest neighbour."""

    largest_nearest_angstrom: float = 3.0
    """An atom without a neighbour this near has left the molecule."""
    smallest_nearest_angstrom: float = 0.6
    """Two atoms nearer than this are on top of each other."""
    loose: tuple[int, ...] = ()
    """Atoms that the event lets go of one by one: they may be as far from all others as they like."""


def nearest_distances(positions: FloatArray) -> FloatArray:
    """Return the distance from each atom to its nearest neighbour.

    Args:
        positions: (F, A, 3) Å.

    Returns:
        (F, A) Å; infinity for a lone atom.
    """
    atoms = positions.shape[1]
    squared = np.sum((positions[:, :, None, :] - positions[:, None, :, :]) ** 2, axis=-1)
    squared[:, np.arange(atoms), np.arange(atoms)] = np.inf
    return np.asarray(np.sqrt(squared.min(axis=-1)), dtype=np.float64)


def plausible(positions: FloatArray, rule: PlausibilityRule) -> BoolArray:
    """Return which frames hold finite positions and nearest-neighbour distances within the bounds.

    Assumes a bonded system: each atom has a neighbour within bonding reach, but those that the event lets go of. A
    structure of one atom only has to be finite.

    Args:
        positions: (F, A, 3) Å.
        rule: The bounds.

    Returns:
        (F,) True where the frame may be labelled.
    """
    finite = np.isfinite(positions).all(axis=(1, 2))
    kept = np.array(finite, dtype=np.bool_)
    if positions.shape[1] < 2:
        return kept
    nearest = nearest_distances(positions[finite])
    held = np.ones(positions.shape[1], dtype=np.bool_)
    held[list(rule.loose)] = False
    within = ((nearest <= rule.largest_nearest_angstrom) | ~held) & (nearest >= rule.smallest_nearest_angstrom)
    kept[finite] = within.all(axis=1)
    return kept
