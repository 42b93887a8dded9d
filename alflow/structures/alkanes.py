"""Ideal n-alkanes."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from alflow.errors import StructureError
from alflow.types import FloatArray, Frames, IntArray

CC_BOND_ANGSTROM = 1.53
CH_BOND_ANGSTROM = 1.095
CCC_ANGLE_DEGREES = 113.0
HCH_ANGLE_DEGREES = 107.0
CCH_METHYL_ANGLE_DEGREES = 111.0

CARBON, HYDROGEN = 6, 1


def alkane(carbons: int) -> Frames:
    """Return one frame of the all-trans n-alkane C(n)H(2n+2) with ideal bond lengths and angles.

    Atoms are ordered carbons first, 0 to n-1 along the chain (which lies along x), then their hydrogens.

    Raises:
        StructureError: fewer than one carbon.
    """
    if carbons < 1:
        raise StructureError(f"An alkane has at least one carbon; {carbons} were asked for.")
    chain = _carbon_zigzag(carbons)
    hydrogens = _methane_hydrogens() if carbons == 1 else _chain_hydrogens(chain)
    numbers = np.array([CARBON] * carbons + [HYDROGEN] * len(hydrogens), dtype=np.int64)
    return Frames.of(numbers, np.concatenate([chain, hydrogens])[None])


def _carbon_zigzag(carbons: int) -> FloatArray:
    """Return (n, 3) Å: the carbons of an all-trans chain in the xy plane."""
    half_angle = math.radians(CCC_ANGLE_DEGREES) / 2.0
    index = np.arange(carbons)
    x = CC_BOND_ANGSTROM * math.sin(half_angle) * index
    y = CC_BOND_ANGSTROM * math.cos(half_angle) * (index % 2 - 0.5)
    return np.stack([x, y if carbons > 1 else 0.0 * x, 0.0 * x], axis=1)


def _methane_hydrogens() -> FloatArray:
    """Return (4, 3) Å around the origin."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=np.float64)
    return corners * (CH_BOND_ANGSTROM / math.sqrt(3.0))


def _chain_hydrogens(chain: FloatArray) -> FloatArray:
    """Return (2n+2, 3) Å: the hydrogens of each carbon in turn."""
    parts = [_methyl_hydrogens(chain[0], chain[1], 1.0)]
    parts += [_methylene_hydrogens(chain[i], chain[i - 1], chain[i + 1]) for i in range(1, len(chain) - 1)]
    parts.append(_methyl_hydrogens(chain[-1], chain[-2], 1.0 if len(chain) % 2 else -1.0))
    return np.concatenate(parts)


def _methylene_hydrogens(carbon: FloatArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return (2, 3) Å: above and below the plane of the chain, on the outer side of the angle."""
    outward = 2.0 * carbon - left - right
    outward /= np.linalg.norm(outward)
    half_angle = math.radians(HCH_ANGLE_DEGREES) / 2.0
    side = math.sin(half_angle) * np.array([0.0, 0.0, 1.0])
    return cast("FloatArray", carbon + CH_BOND_ANGSTROM * (math.cos(half_angle) * outward + np.array([side, -side])))


def _methyl_hydrogens(carbon: FloatArray, neighbour: FloatArray, side: float) -> FloatArray:
    """Return (3, 3) Å: staggered, the first in the plane of the chain on the given side (sign of y)."""
    axis = (neighbour - carbon) / np.linalg.norm(neighbour - carbon)
    normal = np.array([0.0, 0.0, 1.0])
    in_plane = np.array([-axis[1], axis[0], 0.0])
    in_plane *= side * math.copysign(1.0, in_plane[1])
    angle = math.radians(CCH_METHYL_ANGLE_DEGREES)
    turn = np.radians([0.0, 120.0, 240.0])[:, None]
    across = np.cos(turn) * in_plane + np.sin(turn) * normal
    return cast("FloatArray", carbon + CH_BOND_ANGSTROM * (math.cos(angle) * axis + math.sin(angle) * across))


def end_carbons(numbers: IntArray) -> tuple[int, int]:
    """Return the first and the last carbon: the pair that a pull takes by default.

    Args:
        numbers: (A,) atomic numbers, carbons in chain order.

    Raises:
        StructureError: fewer than two carbons.
    """
    carbons = np.flatnonzero(np.asarray(numbers) == CARBON)
    if len(carbons) < 2:
        raise StructureError(f"A pull needs two carbons; the molecule has {len(carbons)}. Name the pulled atoms.")
    return int(carbons[0]), int(carbons[-1])
