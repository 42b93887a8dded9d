"""Everything about one composition that does not depend on where its atoms are, as flat arrays for the kernels.

Atomic units throughout: Hartree and Bohr. Species are numbered in the order of their atomic numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alflow.dftb.coulomb import ShortRange, short_range_coefficients
from alflow.dftb.skf import COLUMNS, SlaterKosterFile
from alflow.types import FloatArray, IntArray

TAIL = 1.0
"""Bohr beyond a table's end over which an integral goes to zero."""
WINDOW = 8
"""Grid points that one interpolation uses."""


class IntegralTables(NamedTuple):
    """Two-centre integrals of each pair of species a <= b at index a * species + b.

    The columns of a pair: for each shell l of a, for each shell l' of b, for m = 0 ... min(l, l'); first those of the
    Hamiltonian, then those of the overlap.
    """

    spacing: FloatArray
    """(pairs,) Bohr."""
    points: IntArray
    """(pairs,) grid points."""
    columns: IntArray
    """(pairs,) number of columns, both matrices together."""
    offset: IntArray
    """(pairs,) where the pair's table begins in `values`."""
    values: FloatArray
    """Tables one after the other, each (points, columns)."""
    tail_offset: IntArray
    """(pairs,) where the pair's tail begins in `tail`."""
    tail: FloatArray
    """Value, slope and curvature at the last grid point, each (3, columns)."""
    weights: FloatArray
    """(8,) barycentric weights of eight equidistant points."""


class RepulsionTables(NamedTuple):
    """Repulsive splines of each pair of species, same index."""

    cutoff: FloatArray
    """(pairs,) Bohr."""
    head: FloatArray
    """(pairs, 3)."""
    first: IntArray
    """(pairs + 1,) first piece of the pair in the two arrays below."""
    starts: FloatArray
    """(pieces,) Bohr."""
    coefficients: FloatArray
    """(pieces, 6)."""


class Tables(NamedTuple):
    """One composition."""

    species: IntArray
    """(A,) species of each atom."""
    first_orbital: IntArray
    """(A + 1,)."""
    shells: IntArray
    """(species,) number of shells: 1 s, 2 sp, 3 spd."""
    onsite: FloatArray
    """(N,) Hartree, per orbital."""
    valence: FloatArray
    """(A,) electrons of the neutral atom."""
    hubbard: FloatArray
    """(species,) Hartree."""
    hubbard_derivative: FloatArray
    """(species,) Hartree per electron; zeros switch the third order off."""
    integrals: IntegralTables
    repulsion: RepulsionTables
    short_range: ShortRange


class ElementData(NamedTuple):
    """What a parameter set says of an element beyond its files."""

    max_angular_momentum: int
    hubbard_derivative: float
    """Hartree per electron."""


FilePair = Mapping[tuple[int, int], SlaterKosterFile]
"""Files by the atomic numbers of the first and second atom."""


def _pair_table(a: int, b: int, shells: Mapping[int, int], files: FilePair) -> FloatArray:
    """Return the (points, columns) table of a pair of elements.

    A file a-b holds the integrals whose lower angular momentum is on a. Those with the higher on a come from file b-a,
    with the sign (-1)^(l + l') of reversing the axis.
    """
    forward, backward = files[a, b], files[b, a]
    points = min(len(forward.overlap), len(backward.overlap))
    parts: list[FloatArray] = []
    for matrix in ("hamiltonian", "overlap"):
        for la in range(shells[a]):
            for lb in range(shells[b]):
                source, sign = (forward, 1.0) if la <= lb else (backward, (-1.0) ** (la + lb))
                low, high = min(la, lb), max(la, lb)
                for m in range(low + 1):
                    column = COLUMNS.index(f"{'spd'[low]}{'spd'[high]}{m}")
                    parts.append(sign * getattr(source, matrix)[:points, column])
    return np.stack(parts, axis=1)


def _tail(table: FloatArray, spacing: float) -> FloatArray:
    """Return value, slope and curvature (3, columns) at the last point, of the polynomial through the last eight."""
    nodes = np.arange(1 - WINDOW, 1, dtype=np.float64)
    powers = np.linalg.solve(np.vander(nodes, increasing=True), table[-WINDOW:])
    return np.array([table[-1], powers[1] / spacing, 2.0 * powers[2] / spacing**2])


def _barycentric_weights() -> FloatArray:
    nodes = np.arange(WINDOW, dtype=np.float64)
    gaps = nodes[:, None] - nodes[None, :] + np.eye(WINDOW)
    return np.asarray(1.0 / gaps.prod(axis=1))


def _integral_tables(elements: list[int], shells: Mapping[int, int], files: FilePair) -> IntegralTables:
    pairs = len(elements) ** 2
    spacing, points, columns, offset, tail_offset = np.zeros(pairs), *np.zeros((4, pairs), dtype=np.int64)
    tables, tails = [], []
    end = tail_end = 0
    for row, a in enumerate(elements):
        for column, b in enumerate(elements[row:], start=row):
            pair = row * len(elements) + column
            table = _pair_table(a, b, shells, files)
            tail = _tail(table, files[a, b].spacing)
            spacing[pair], (points[pair], columns[pair]) = files[a, b].spacing, table.shape
            offset[pair], tail_offset[pair] = end, tail_end
            end, tail_end = end + table.size, tail_end + tail.size
            tables.append(table.ravel())
            tails.append(tail.ravel())
    return IntegralTables(
        spacing,
        points,
        columns,
        offset,
        np.concatenate(tables),
        tail_offset,
        np.concatenate(tails),
        _barycentric_weights(),
    )


def _repulsion_tables(elements: list[int], files: FilePair) -> RepulsionTables:
    splines = [files[a, b].repulsion for a in elements for b in elements]
    first = np.cumsum([0, *(len(spline.starts) for spline in splines)], dtype=np.int64)
    return RepulsionTables(
        np.array([spline.cutoff for spline in splines]),
        np.array([spline.head for spline in splines]),
        first,
        np.concatenate([spline.starts for spline in splines]),
        np.concatenate([spline.coefficients for spline in splines]),
    )


def build_tables(
    numbers: IntArray,
    files: FilePair,
    elements: Mapping[int, ElementData],
    *,
    third_order: bool,
    hydrogen_damping_zeta: float | None,
) -> Tables:
    """Gather the flat arrays of one composition.

    Args:
        numbers: (A,) atomic numbers.
        files: Slater-Koster files of all ordered pairs of its elements.
        elements: Shells and Hubbard derivatives by atomic number.
        third_order: Whether the Hubbard derivatives act.
        hydrogen_damping_zeta: Exponent ζ of the damping of γ between pairs with hydrogen; None for no damping.
    """
    kinds = sorted({int(number) for number in numbers})
    species = np.array([kinds.index(int(number)) for number in numbers], dtype=np.int64)
    shells = {kind: elements[kind].max_angular_momentum + 1 for kind in kinds}
    atoms = {}
    for kind in kinds:
        line = files[kind, kind].atom
        assert line is not None
        atoms[kind] = line
    per_kind = {kind: np.repeat(atoms[kind].onsite[: shells[kind]], [1, 3, 5][: shells[kind]]) for kind in kinds}
    hubbard = np.array([atoms[kind].hubbard[0] for kind in kinds])
    derivative = np.array([elements[kind].hubbard_derivative for kind in kinds]) * float(third_order)
    return Tables(
        species,
        np.cumsum([0, *(per_kind[int(number)].size for number in numbers)], dtype=np.int64),
        np.array([shells[kind] for kind in kinds], dtype=np.int64),
        np.concatenate([per_kind[int(number)] for number in numbers]),
        np.array([atoms[int(number)].occupations.sum() for number in numbers]),
        hubbard,
        derivative,
        _integral_tables(kinds, shells, files),
        _repulsion_tables(kinds, files),
        short_range_coefficients(hubbard, np.array([kind == 1 for kind in kinds]), hydrogen_damping_zeta),
    )
