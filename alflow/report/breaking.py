"""Breaking of a pulled molecule: which bond, when, and what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.formula import Formula
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alflow.structures import BOND_FACTOR, LOOSE_BOND_FACTOR, bonds, heavy_bonds
from alflow.types import FloatArray, IntArray


@dataclass(frozen=True)
class Break:
    """The first bond that breaks."""

    row: int
    """First frame in which it is broken."""
    bond: tuple[int, int]
    """Atoms."""


def bond_lengths(positions: FloatArray, pairs: IntArray) -> FloatArray:
    """Return the lengths (F, B) in Å of B pairs in F frames (F, A, 3)."""
    return np.asarray(np.linalg.norm(positions[:, pairs[:, 0]] - positions[:, pairs[:, 1]], axis=-1))


def first_break(numbers: IntArray, positions: FloatArray) -> Break | None:
    """Return the first bond between heavy atoms that breaks along a trajectory (F, A, 3) Å; None if all hold."""
    pairs = heavy_bonds(numbers, positions[0])
    longest = LOOSE_BOND_FACTOR * covalent_radii[numbers[pairs]].sum(axis=1)
    rows, columns = np.nonzero(bond_lengths(positions, pairs) > longest)
    if not len(rows):
        return None
    left, right = pairs[columns[0]].tolist()
    return Break(int(rows[0]), (left, right))


def bonds_formed(numbers: IntArray, positions: FloatArray) -> tuple[tuple[int, int], ...]:
    """Return the pairs that are bonded in the last frame of a trajectory, (F, A, 3) Å, and were apart in the first."""
    loose = {tuple(pair) for pair in bonds(numbers, positions[0]).tolist()}
    return tuple(
        (one, other) for one, other in bonds(numbers, positions[-1], BOND_FACTOR).tolist() if (one, other) not in loose
    )


def fragments(numbers: IntArray, positions: FloatArray) -> tuple[str, ...]:
    """Return the formulas of what is bonded together in one structure, the largest first."""
    atoms = len(numbers)
    pairs = bonds(numbers, positions)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(atoms, atoms))
    count, owner = connected_components(graph, directed=False)
    parts = sorted((numbers[owner == index] for index in range(count)), key=len, reverse=True)
    return tuple(_formula(part) for part in parts)


def _formula(numbers: IntArray) -> str:
    symbols, counts = np.unique([chemical_symbols[number] for number in numbers], return_counts=True)
    return f"{Formula.from_dict(dict(zip(symbols.tolist(), counts.tolist(), strict=True))):hill}"


def telling_rows(frames: int, broken: Break | None) -> tuple[int, ...]:
    """Return the frames that show a pull: its start, half way, just before the break, at it, after it, its end."""
    last = frames - 1
    if broken is None:
        rows = [0, last // 3, 2 * last // 3, last]
    else:
        around = max(1, frames // 100)
        row = broken.row
        rows = [0, row // 2, row - around, row, row + around, last]
    return tuple(dict.fromkeys(min(max(row, 0), last) for row in rows))
