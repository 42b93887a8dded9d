"""Non-self-consistent Hamiltonian H⁰ and overlap S from Slater-Koster tables, and the gradient of their contraction.

With n the unit vector from atom i to atom j, an orbital of angular momentum l >= 1 is described by a vector U, linear
in n for d and constant for p, such that its component along the axis (σ) is s_l U·n and its π components are those of U
across the axis:

    p_x: U = x;   d_xy: U = (n_y, n_x, 0);   d_z²: U = (-n_x, -n_y, 2 n_z)/√3;   s_p = 1, s_d = √3/2

Then, with a = U_μ·n, b = U_ν·n and g = U_μ·U_ν, a matrix element is

    V_σ s_l s_l' a b + V_π (g - a b) + V_δ (δ_μν - g + a b / 4)

which is Slater and Koster's table (Phys. Rev. 94, 1498, 1954) without its many cases, and has no singular direction.
Orbital order: s; py, pz, px; dxy, dyz, dz2, dxz, dx2-y2. Atomic units.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from alflow.dftb.tables import TAIL, WINDOW, IntegralTables, Tables
from alflow.types import FloatArray

_MAX_COLUMNS = 28
_R3 = 1.0 / np.sqrt(3.0)

_VECTORS = np.zeros((9, 3, 3))
"""U = _VECTORS[orbital] @ n for d; _VECTORS[orbital, 0] for p."""
_VECTORS[1, 0, 1] = _VECTORS[2, 0, 2] = _VECTORS[3, 0, 0] = 1.0
_VECTORS[4, 0, 1] = _VECTORS[4, 1, 0] = 1.0
_VECTORS[5, 1, 2] = _VECTORS[5, 2, 1] = 1.0
_VECTORS[6] = np.diag([-_R3, -_R3, 2.0 * _R3])
_VECTORS[7, 0, 2] = _VECTORS[7, 2, 0] = 1.0
_VECTORS[8] = np.diag([1.0, -1.0, 0.0])

_SIGMA = np.array([1.0, 1.0, np.sqrt(0.75)])


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(tables: IntegralTables, pair: int, distance: float, value: FloatArray, slope: FloatArray) -> None:
    """Interpolate all integrals of a pair of species at a distance.

    Inside the table, the polynomial through eight grid points, as DFTB+ takes them: four on the right where there are.
    Beyond its end, the fifth-order polynomial that takes value, slope and curvature to zero within `TAIL`.

    Args:
        tables: Integral tables.
        pair: Index of the pair of species.
        distance: Bohr.
        value: (columns,) overwritten.
        slope: (columns,) overwritten by the derivatives.
    """
    columns, points, spacing = tables.columns[pair], tables.points[pair], tables.spacing[pair]
    for column in range(columns):
        value[column] = slope[column] = 0.0
    below = int(distance / spacing)
    if below < points:
        last = max(min(points, below + WINDOW // 2), WINDOW)
        place = distance / spacing - (last - WINDOW + 1)
        start = tables.offset[pair] + (last - WINDOW) * columns
        for node in range(WINDOW):
            product, derivative = tables.weights[node], 0.0
            for other in range(WINDOW):
                if other != node:
                    derivative = derivative * (place - other) + product
                    product *= place - other
            derivative /= spacing
            row = start + node * columns
            for column in range(columns):
                value[column] += product * tables.values[row + column]
                slope[column] += derivative * tables.values[row + column]
    elif distance < points * spacing + TAIL:
        x = (points * spacing + TAIL - distance) / TAIL
        row = tables.tail_offset[pair]
        for column in range(columns):
            y0 = tables.tail[row + column]
            y1 = -tables.tail[row + columns + column] * TAIL
            y2 = tables.tail[row + 2 * columns + column] * TAIL * TAIL
            c3, c4, c5 = 10.0 * y0 - 4.0 * y1 + 0.5 * y2, -15.0 * y0 + 7.0 * y1 - y2, 6.0 * y0 - 3.0 * y1 + 0.5 * y2
            value[column] = x * x * x * (c3 + x * (c4 + x * c5))
            slope[column] = -x * x * (3.0 * c3 + x * (4.0 * c4 + x * 5.0 * c5)) / TAIL


@njit(cache=True, nogil=True, error_model="numpy")
def orbital_vectors(n: FloatArray, shells: int, u: FloatArray, along: FloatArray) -> None:
    """Fill U (9, 3) and U·n (9,) of all orbitals of `shells` shells for the unit vector n (3,)."""
    along[0] = 1.0
    if shells > 1:
        u[1, 1] = u[2, 2] = u[3, 0] = 1.0
        along[1], along[2], along[3] = n[1], n[2], n[0]
    if shells > 2:
        for orbital in range(4, 9):
            along[orbital] = 0.0
            for x in range(3):
                u[orbital, x] = (
                    _VECTORS[orbital, x, 0] * n[0] + _VECTORS[orbital, x, 1] * n[1] + _VECTORS[orbital, x, 2] * n[2]
                )
                along[orbital] += u[orbital, x] * n[x]


@njit(cache=True, nogil=True, error_model="numpy")
def pair_block(
    shells_a: int,
    shells_b: int,
    integrals: FloatArray,
    u: FloatArray,
    along: FloatArray,
    matrix: FloatArray,
    row0: int,
    column0: int,
) -> None:
    """Write the block of one matrix between two atoms, and its transpose."""
    at = 0
    for la in range(shells_a):
        for lb in range(shells_b):
            low = min(la, lb)
            sigma = integrals[at] * _SIGMA[la] * _SIGMA[lb]
            pi = integrals[at + 1] if low > 0 else 0.0
            delta = integrals[at + 2] if low > 1 else 0.0
            at += low + 1
            for i in range(la * la, (la + 1) * (la + 1)):
                for j in range(lb * lb, (lb + 1) * (lb + 1)):
                    ab = along[i] * along[j]
                    element = sigma * ab
                    if low > 0:
                        g = u[i, 0] * u[j, 0] + u[i, 1] * u[j, 1] + u[i, 2] * u[j, 2]
                        element += pi * (g - ab)
                        if low > 1:
                            element += delta * ((1.0 if i == j else 0.0) - g + 0.25 * ab)
                    matrix[row0 + i, column0 + j] = element
                    matrix[column0 + j, row0 + i] = element


@njit(cache=True, nogil=True, error_model="numpy")
def build_matrices(tables: Tables, positions: FloatArray, hamiltonian: FloatArray, overlap: FloatArray) -> None:
    """Fill H⁰ and S, both (N, N), for positions (A, 3) in Bohr."""
    atoms, kinds = positions.shape[0], tables.shells.size
    value, slope = np.empty(_MAX_COLUMNS), np.empty(_MAX_COLUMNS)
    u, along, n = np.zeros((9, 3)), np.zeros(9), np.empty(3)
    hamiltonian.fill(0.0)
    overlap.fill(0.0)
    for orbital in range(tables.onsite.size):
        hamiltonian[orbital, orbital] = tables.onsite[orbital]
        overlap[orbital, orbital] = 1.0
    for first in range(atoms):
        for second in range(first):
            i, j = (first, second) if tables.species[first] <= tables.species[second] else (second, first)
            pair = tables.species[i] * kinds + tables.species[j]
            distance = 0.0
            for x in range(3):
                n[x] = positions[j, x] - positions[i, x]
                distance += n[x] * n[x]
            distance = np.sqrt(distance)
            if distance >= tables.integrals.points[pair] * tables.integrals.spacing[pair] + TAIL:
                continue
            for x in range(3):
                n[x] /= distance
            interpolate(tables.integrals, pair, distance, value, slope)
            shells_a, shells_b = tables.shells[tables.species[i]], tables.shells[tables.species[j]]
            orbital_vectors(n, max(shells_a, shells_b), u, along)
            half = tables.integrals.columns[pair] // 2
            row, column = tables.first_orbital[i], tables.first_orbital[j]
            pair_block(shells_a, shells_b, value, u, along, hamiltonian, row, column)
            pair_block(shells_a, shells_b, value[half:], u, along, overlap, row, column)


@njit(cache=True, nogil=True, error_model="numpy")
def pair_gradient(  # noqa: C901, PLR0912 - one branch a kind of integral, inside the hottest loop
    shells_a: int,
    shells_b: int,
    half: int,
    value: FloatArray,
    slope: FloatArray,
    u: FloatArray,
    along: FloatArray,
    p: FloatArray,
    q: FloatArray,
    dn: FloatArray,
) -> float:
    """Differentiate Σ (P_μν H⁰_μν + Q_μν S_μν) of one block: return d/dr, add d/dn to `dn` (3,).

    With c_ab and c_g the coefficients of a b and g in an element,
    d/dn = c_ab (a' b + a b') + c_g g', where a' = U for p and 2 U for d.
    """
    radial = 0.0
    at = 0
    for la in range(shells_a):
        for lb in range(shells_b):
            low = min(la, lb)
            scale = _SIGMA[la] * _SIGMA[lb]
            for i in range(la * la, (la + 1) * (la + 1)):
                for j in range(lb * lb, (lb + 1) * (lb + 1)):
                    weight_h, weight_s = p[i, j], q[i, j]
                    ab = along[i] * along[j]
                    radial += scale * ab * (slope[at] * weight_h + slope[half + at] * weight_s)
                    c_ab = scale * (value[at] * weight_h + value[half + at] * weight_s)
                    if low > 0:
                        g = u[i, 0] * u[j, 0] + u[i, 1] * u[j, 1] + u[i, 2] * u[j, 2]
                        radial += (g - ab) * (slope[at + 1] * weight_h + slope[half + at + 1] * weight_s)
                        c_g = value[at + 1] * weight_h + value[half + at + 1] * weight_s
                        c_ab -= c_g
                        if low > 1:
                            same = 1.0 if i == j else 0.0
                            radial += (same - g + 0.25 * ab) * (
                                slope[at + 2] * weight_h + slope[half + at + 2] * weight_s
                            )
                            z = value[at + 2] * weight_h + value[half + at + 2] * weight_s
                            c_ab += 0.25 * z
                            c_g -= z
                        if la + lb > 2:
                            for x in range(3):
                                for y in range(3):
                                    if la > 1:
                                        dn[x] += c_g * _VECTORS[i, x, y] * u[j, y]
                                    if lb > 1:
                                        dn[x] += c_g * _VECTORS[j, x, y] * u[i, y]
                    if la > 0:
                        factor = c_ab * la * along[j]
                        for x in range(3):
                            dn[x] += factor * u[i, x]
                    if lb > 0:
                        factor = c_ab * lb * along[i]
                        for x in range(3):
                            dn[x] += factor * u[j, x]
            at += low + 1
    return radial


@njit(cache=True, nogil=True, error_model="numpy")
def add_matrix_gradient(
    tables: Tables, positions: FloatArray, p: FloatArray, q: FloatArray, gradient: FloatArray
) -> None:
    """Add the derivative of Σ_μν (P_μν H⁰_μν + Q_μν S_μν) to `gradient` (A, 3), Hartree/Bohr.

    Args:
        tables: Composition.
        positions: (A, 3) Bohr.
        p: (N, N) symmetric.
        q: (N, N) symmetric.
        gradient: (A, 3) changed in place.
    """
    atoms, kinds = positions.shape[0], tables.shells.size
    value, slope = np.empty(_MAX_COLUMNS), np.empty(_MAX_COLUMNS)
    u, along, n, dn = np.zeros((9, 3)), np.zeros(9), np.empty(3), np.empty(3)
    for first in range(atoms):
        for second in range(first):
            i, j = (first, second) if tables.species[first] <= tables.species[second] else (second, first)
            pair = tables.species[i] * kinds + tables.species[j]
            distance = 0.0
            for x in range(3):
                n[x] = positions[j, x] - positions[i, x]
                distance += n[x] * n[x]
            distance = np.sqrt(distance)
            if distance >= tables.integrals.points[pair] * tables.integrals.spacing[pair] + TAIL:
                continue
            for x in range(3):
                n[x] /= distance
            dn[0] = dn[1] = dn[2] = 0.0
            interpolate(tables.integrals, pair, distance, value, slope)
            shells_a, shells_b = tables.shells[tables.species[i]], tables.shells[tables.species[j]]
            orbital_vectors(n, max(shells_a, shells_b), u, along)
            rows = slice(tables.first_orbital[i], tables.first_orbital[i + 1])
            columns = slice(tables.first_orbital[j], tables.first_orbital[j + 1])
            half = tables.integrals.columns[pair] // 2
            radial = pair_gradient(
                shells_a, shells_b, half, value, slope, u, along, p[rows, columns], q[rows, columns], dn
            )
            across = dn[0] * n[0] + dn[1] * n[1] + dn[2] * n[2]
            for x in range(3):
                push = 2.0 * (radial * n[x] + (dn[x] - across * n[x]) / distance)
                gradient[j, x] += push
                gradient[i, x] -= push
