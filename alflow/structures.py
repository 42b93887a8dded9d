"""Starting structures: ideal n-alkanes, structures from files, and what can be told from a geometry alone."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import cast

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from alflow.errors import StructureError
from alflow.types import FloatArray, Frames, IntArray

CC_BOND_ANGSTROM = 1.53
CH_BOND_ANGSTROM = 1.095
CCC_ANGLE_DEGREES = 113.0
HCH_ANGLE_DEGREES = 107.0
CCH_METHYL_ANGLE_DEGREES = 111.0
CLOSEST_ANGSTROM = 0.6
"""Two atoms closer than this are no molecule: H2, the shortest bond, has 0.74 Å."""
BOND_FACTOR = 1.3
"""Two atoms are bonded below this multiple of the sum of their covalent radii."""
LOOSE_BOND_FACTOR = 1.5
"""The same for a bond under tension, C-C up to 2.28 Å: it is broken beyond."""

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
    return Frames(numbers, np.concatenate([chain, hydrogens])[None])


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


def read_structure(path: Path | str, charge: int = 0) -> Frames:
    """Return the frames of any file that ASE reads, checked.

    Raises:
        StructureError: no such file, not readable, several compositions, periodic, or implausible.
    """
    from ase.io import read  # noqa: PLC0415 - slow to import, needed here alone

    try:
        images = read(str(path), index=":")
    except Exception as error:
        raise StructureError(f"A structure file must be readable by ASE; {path} is not: {error}") from error
    if not images:
        raise StructureError(f"A structure file must hold at least one structure; {path} holds none.")
    numbers = np.asarray(images[0].numbers, dtype=np.int64)
    for row, image in enumerate(images):
        if not np.array_equal(image.numbers, numbers):
            raise StructureError(f"All frames of a file must have the same atoms; in {path}, frame {row} differs.")
        if image.pbc.any():
            raise StructureError(f"Structures must not be periodic; in {path}, frame {row} is. Remove its cell.")
    positions = np.ascontiguousarray([image.positions for image in images], dtype=np.float64)
    frames = Frames(numbers, positions, charge)
    check_structure(frames, place=str(path))
    return frames


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


def element_number(symbol: str) -> int:
    """Return the atomic number of an element symbol.

    Raises:
        StructureError: no such element.
    """
    if symbol not in atomic_numbers or symbol == "X":
        raise StructureError(f"An element is given by its symbol, such as C; there is no element {symbol!r}.")
    return int(atomic_numbers[symbol])


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
