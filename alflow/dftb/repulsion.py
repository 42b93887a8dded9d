"""Repulsive pair potentials: exponential head, cubic spline, fifth-order tail. Atomic units."""

from __future__ import annotations

import numpy as np
from numba import njit

from alflow.dftb.tables import RepulsionTables
from alflow.types import FloatArray, IntArray


@njit(cache=True, nogil=True, error_model="numpy")
def pair_repulsion(tables: RepulsionTables, pair: int, r: float) -> tuple[float, float]:
    """Return energy (Hartree) and derivative of one pair of species at the distance r (Bohr)."""
    if r >= tables.cutoff[pair]:
        return 0.0, 0.0
    first, end = tables.first[pair], tables.first[pair + 1]
    if r < tables.starts[first]:
        a1 = tables.head[pair, 0]
        exponential = np.exp(tables.head[pair, 1] - a1 * r)
        return exponential + tables.head[pair, 2], -a1 * exponential
    piece = first
    while end - piece > 1:
        middle = (piece + end) // 2
        if tables.starts[middle] <= r:
            piece = middle
        else:
            end = middle
    x, c = r - tables.starts[piece], tables.coefficients[piece]
    energy = c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * c[5]))))
    slope = c[1] + x * (2.0 * c[2] + x * (3.0 * c[3] + x * (4.0 * c[4] + x * 5.0 * c[5])))
    return energy, slope


@njit(cache=True, nogil=True, error_model="numpy")
def add_repulsion(
    tables: RepulsionTables, species: IntArray, kinds: int, positions: FloatArray, gradient: FloatArray
) -> float:
    """Return the repulsive energy (Hartree) at positions (A, 3) in Bohr; add its derivative to `gradient` (A, 3)."""
    total = 0.0
    for a in range(species.size):
        for b in range(a):
            dx = positions[a, 0] - positions[b, 0]
            dy = positions[a, 1] - positions[b, 1]
            dz = positions[a, 2] - positions[b, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            energy, slope = pair_repulsion(tables, species[a] * kinds + species[b], r)
            total += energy
            slope /= r
            gradient[a, 0] += slope * dx
            gradient[a, 1] += slope * dy
            gradient[a, 2] += slope * dz
            gradient[b, 0] -= slope * dx
            gradient[b, 1] -= slope * dy
            gradient[b, 2] -= slope * dz
    return total
