"""Linear response of Mulliken charges to atomic potentials, and the Newton step of the self-consistency.

With eigenvectors c_i of the current Hamiltonian, transition charges q^a_ij = ½ Σ_{μ∈a} (c_μi (Sc)_μj + (Sc)_μi c_μj)
and F_ij = (f_i - f_j)/(ε_i - ε_j), first-order perturbation theory gives

    ∂q_a/∂v_b = Σ_ij F_ij q^a_ij q^b_ij - (Σ_i F_ii q^a_ii) (Σ_i F_ii q^b_ii) / Σ_i F_ii

where the last term keeps the number of electrons. The residual R(q) = q_out(v(q)) - q is brought to zero by Newton's
step (1 - χ K) δq = R with K = ∂v/∂q. χ is never formed: it is applied through matrix products inside GMRES (Saad and
Schultz, SIAM J. Sci. Stat. Comput. 7, 856, 1986), which needs a handful of vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from alflow.dftb.filling import filling_slope
from alflow.types import FloatArray, IntArray

_EMPTY = 1e-10
"""Occupation below which a level counts as empty, and distance from 2 below which it counts as full."""
_MAX_VECTORS = 24


class Response(NamedTuple):
    """What applying χ needs; o levels that are not empty, v that are not full, N orbitals."""

    left: FloatArray
    """(o, 2 N) rows [c, Sc] of the levels that are not empty."""
    right: FloatArray
    """(v, 2 N) rows [Sc, c] of the levels that are not full."""
    weights: FloatArray
    """(o, v) F_ij, twice where i < j and zero where i > j; divided by 4 for the two halves in q_ij."""
    level_slopes: FloatArray
    """(N,) F_ii, 1/Hartree."""
    level_charges: FloatArray
    """(N, A) q^a_ii."""


@njit(cache=True, nogil=True, error_model="numpy")
def prepare_response(
    vectors: FloatArray,
    dual: FloatArray,
    levels: FloatArray,
    occupations: FloatArray,
    level_charges: FloatArray,
    kt: float,
) -> Response:
    """Gather what χ needs at the current eigenvectors.

    Args:
        vectors: (N, N) eigenvectors c, one a row.
        dual: (N, N) S c, one a row.
        levels: (N,) Hartree, ascending.
        occupations: (N,) 0 to 2.
        level_charges: (N, A) q^a_ii.
        kt: Electronic temperature, Hartree.
    """
    size = levels.size
    last = size
    while last > 1 and occupations[last - 1] < _EMPTY:
        last -= 1
    first = 0
    while first < size - 1 and occupations[first] > 2.0 - _EMPTY:
        first += 1
    left, right = np.empty((last, 2 * size)), np.empty((size - first, 2 * size))
    for i in range(size):
        for mu in range(size):
            if i < last:
                left[i, mu], left[i, size + mu] = vectors[i, mu], dual[i, mu]
            if i >= first:
                right[i - first, mu], right[i - first, size + mu] = dual[i, mu], vectors[i, mu]
    weights, slopes = np.zeros((last, size - first)), np.zeros(size)
    for i in range(last):
        for j in range(max(first, i), size):
            slope = filling_slope(levels[i], levels[j], occupations[i], occupations[j], kt)
            weights[i, j - first] = 0.25 * slope if i == j else 0.5 * slope
            if i == j:
                slopes[i] = slope
    return Response(left, right, weights, slopes, level_charges)


@njit(cache=True, nogil=True, error_model="numpy")
def _keep_electrons(response: Response, potential: FloatArray, charges: FloatArray) -> None:
    """Subtract what the Fermi level's shift takes back."""
    size, atoms = response.level_slopes.size, potential.size
    slope = response.level_slopes.sum()
    if slope < -1e-12:
        shift = 0.0
        for i in range(size):
            if response.level_slopes[i] < 0.0:
                shift += response.level_slopes[i] * np.dot(response.level_charges[i], potential)
        for i in range(size):
            if response.level_slopes[i] < 0.0:
                factor = response.level_slopes[i] * shift / slope
                for a in range(atoms):
                    charges[a] -= factor * response.level_charges[i, a]


@njit(cache=True, nogil=True, error_model="numpy")
def apply_response(response: Response, first_orbital: IntArray, potential: FloatArray, charges: FloatArray) -> None:
    """Fill the change of the charges (A,) for a small change of the atomic potentials (A,), Hartree."""
    size, atoms = response.level_slopes.size, potential.size
    shifted = np.empty_like(response.left)
    for a in range(atoms):
        for mu in range(first_orbital[a], first_orbital[a + 1]):
            for i in range(shifted.shape[0]):
                shifted[i, mu] = response.left[i, mu] * potential[a]
                shifted[i, size + mu] = response.left[i, size + mu] * potential[a]
    transition = np.dot(shifted, response.right.T)
    for i in range(transition.shape[0]):
        for j in range(transition.shape[1]):
            transition[i, j] *= response.weights[i, j]
    back = np.dot(transition, response.right)
    for a in range(atoms):
        total = 0.0
        for i in range(back.shape[0]):
            for mu in range(first_orbital[a], first_orbital[a + 1]):
                total += back[i, mu] * response.left[i, mu] + back[i, size + mu] * response.left[i, size + mu]
        charges[a] = total
    _keep_electrons(response, potential, charges)


@njit(cache=True, nogil=True, error_model="numpy")
def newton_step(  # noqa: C901 - GMRES in its textbook order
    response: Response, first_orbital: IntArray, kernel: FloatArray, residual: FloatArray, accuracy: float
) -> FloatArray:
    """Return δq (A,) of (1 - χ K) δq = R by GMRES.

    Args:
        response: χ at the current eigenvectors.
        first_orbital: (A + 1,).
        kernel: (A, A) K, Hartree per electron squared.
        residual: (A,) R, electrons.
        accuracy: Remaining |R - (1 - χ K) δq| / |R| that is good enough.
    """
    atoms = residual.size
    steps = min(_MAX_VECTORS, atoms)
    basis, hessenberg = np.zeros((steps + 1, atoms)), np.zeros((steps + 1, steps))
    cosine, sine, rhs = np.zeros(steps), np.zeros(steps), np.zeros(steps + 1)
    change = np.empty(atoms)
    rhs[0] = np.sqrt(np.dot(residual, residual))
    for a in range(atoms):
        basis[0, a] = residual[a] / rhs[0]
    target = accuracy * rhs[0]
    used = 0
    for step in range(steps):
        apply_response(response, first_orbital, np.dot(kernel, basis[step]), change)
        vector = basis[step + 1]
        for a in range(atoms):
            vector[a] = basis[step, a] - change[a]
        for previous in range(step + 1):
            hessenberg[previous, step] = np.dot(basis[previous], vector)
            for a in range(atoms):
                vector[a] -= hessenberg[previous, step] * basis[previous, a]
        norm = np.sqrt(np.dot(vector, vector))
        for previous in range(step):
            upper, lower = hessenberg[previous, step], hessenberg[previous + 1, step]
            hessenberg[previous, step] = cosine[previous] * upper + sine[previous] * lower
            hessenberg[previous + 1, step] = cosine[previous] * lower - sine[previous] * upper
        length = np.hypot(hessenberg[step, step], norm)
        used = step + 1
        if length == 0.0:
            used = step
            break
        cosine[step], sine[step] = hessenberg[step, step] / length, norm / length
        hessenberg[step, step] = length
        rhs[step + 1] = -sine[step] * rhs[step]
        rhs[step] *= cosine[step]
        if abs(rhs[step + 1]) <= target or norm < 1e-14:
            break
        for a in range(atoms):
            vector[a] /= norm
    result = np.zeros(atoms)
    for row in range(used - 1, -1, -1):
        for column in range(row + 1, used):
            rhs[row] -= hessenberg[row, column] * rhs[column]
        rhs[row] /= hessenberg[row, row]
        for a in range(atoms):
            result[a] += rhs[row] * basis[row, a]
    return result
