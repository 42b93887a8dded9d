"""Geometry of a structure: distances, bonds, fragments, and whether it can be a molecule.

How near two atoms may come depends on who asks:

==========================  ====  ==============================================================================
`CLOSEST_ANGSTROM`           0.6  a starting structure, or a frame that is selected: H2, the shortest bond, has 0.74
`labeling`                   0.5  a structure that an engine is asked for: jittered or broken molecules come nearer
`sampling`, `dftb`           0.3  a trajectory that still makes sense, a structure that DFTB3 can be worked out for
==========================  ====  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import cast

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from alflow.errors import StructureError
from alflow.types import FloatArray, Frames, IntArray

CLOSEST_ANGSTROM = 0.6
"""Two atoms closer than this are no molecule: H2, the shortest bond, has 0.74 Å."""
BOND_FACTOR = 1.3
"""Two atoms are bonded below this multiple of the sum of their covalent radii."""
LOOSE_BOND_FACTOR = 1.5
"""The same for a bond under tension, C-C up to 2.28 Å: it is broken beyond."""


def check_structure(
    frames: Frames,
    *,
    elements: Collection[int] | None = None,
    closest_angstrom: float = CLOSEST_ANGSTROM,
    place: str = "the structure",
) -> None:
    """Refuse frames that cannot be molecules.

    Args:
        frames: what to check.
        elements: atomic numbers that the engine or potential knows; None for the whole periodic table.
        closest_angstrom: least allowed distance of two atoms, Å.
        place: where the frames come from, for the message.

    Raises:
        StructureError: no atoms, wrong shape, an unknown element, a coordinate that is not finite, atoms too close.
    """
    if frames.positions.ndim != 3 or frames.positions.shape[1:] != (len(frames.numbers), 3) or not len(frames.numbers):
        shape = frames.positions.shape
        raise StructureError(
            f"Positions must have the shape (frames, {len(frames.numbers)}, 3), for one atom or more; in {place} "
            f"they have {shape}."
        )
    _check_elements(frames.numbers, elements, place)
    for row, positions in enumerate(frames.positions):
        where = f"{place}, frame {row}"
        if not np.isfinite(positions).all():
            atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            raise StructureError(f"Coordinates must be finite numbers; in {where}, those of atom {atom} are not.")
        distance, first, second = closest_pair(positions)
        if distance < closest_angstrom:
            raise StructureError(
                f"Two atoms must be at least {closest_angstrom:g} Å apart; in {where}, atoms {first} and {second} are "
                f"{distance:.3f} Å apart. Are the coordinates in Å?"
            )


def _check_elements(numbers: IntArray, elements: Collection[int] | None, place: str) -> None:
    for atom, number in enumerate(numbers):
        if not 0 < number < len(chemical_symbols):
            raise StructureError(f"An atomic number must be a known element; atom {atom} of {place} has {number}.")
        if elements is not None and int(number) not in elements:
            known = ", ".join(chemical_symbols[known] for known in sorted(elements))
            raise StructureError(
                f"Only the elements {known} are known here; atom {atom} of {place} is {chemical_symbols[number]}."
            )


def closest_pair(positions: FloatArray) -> tuple[float, int, int]:
    """Return the least distance of two atoms (Å; infinite for one atom) and the two atoms.

    Args:
        positions: (A, 3) Å.
    """
    if len(positions) < 2:
        return math.inf, 0, 0
    distances = cdist(positions, positions)
    np.fill_diagonal(distances, np.inf)
    first, second = np.unravel_index(int(np.argmin(distances)), distances.shape)
    return float(distances[first, second]), int(first), int(second)


def fragments(numbers: IntArray, positions: FloatArray, factor: float = BOND_FACTOR) -> IntArray:
    """Return (A,) the fragment that each atom belongs to, numbered from 0 in the order of their first atoms.

    Two atoms are bonded if they are closer than `factor` times the sum of their covalent radii (Cordero 2008).

    Args:
        numbers: (A,) atomic numbers.
        positions: (A, 3) Å.
        factor: see above.
    """
    radii = covalent_radii[numbers]
    bonded = cdist(positions, positions) < factor * (radii[:, None] + radii[None, :])
    labels = connected_components(bonded, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return cast("IntArray", rank[inverse].astype(np.int64))


def bonds(numbers: IntArray, positions: FloatArray, factor: float = LOOSE_BOND_FACTOR) -> IntArray:
    """Return the bonded pairs of one structure: (B, 2), from (A,) atomic numbers and (A, 3) Å; see `fragments`."""
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    radii = covalent_radii[numbers]
    near = np.triu(distances < factor * (radii[:, None] + radii[None]), k=1)
    return np.asarray(np.argwhere(near), dtype=np.int64)


def heavy_bonds(numbers: IntArray, positions: FloatArray) -> IntArray:
    """Return the pairs without hydrogen that are bonded in a structure that nothing has stretched yet: (B, 2)."""
    found = bonds(numbers, positions, BOND_FACTOR)
    return np.asarray(found[(numbers[found] > 1).all(axis=1)], dtype=np.int64)
