"""Self-consistency of the Mulliken charges: one compiled loop.

    H_μν = H⁰_μν + ½ S_μν (v_a + v_b),   H c = ε S c,   q_a = Σ_i f_i Σ_{μ∈a} c_μi (S c)_μi

S = L Lᵀ is factorised once. In the orthonormal basis L⁻ᵀ the potential adds ½ (M + Mᵀ) with M = L⁻¹ V L, so that a
cycle costs one matrix product, one symmetric eigenproblem and two products back. Charges move by Newton's step (see
`alflow.dftb.response`), which converges quadratically: three to five cycles from neutral atoms. Where a step does not
bring the residual down it is halved; `mixing` bounds it from the start for molecules that need more care.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from alflow.dftb.coulomb import charge_kernel, charge_potential
from alflow.dftb.filling import fermi_filling
from alflow.dftb.linalg import cholesky, eigh, invert_lower
from alflow.dftb.response import newton_step, prepare_response
from alflow.types import FloatArray, IntArray

CONVERGED, NOT_CONVERGED, NOT_POSITIVE, NO_EIGENVECTORS = 0, 1, 2, 3
"""Status of a self-consistency: reached, not reached, S not positive definite, eigenproblem not solved."""

_LARGEST_STEP = 1.0
"""Electrons; no charge moves further in one cycle."""
_HALVINGS = 8
_ROUGH, _COOLING = 0.1, 0.4
"""While a residual is above _ROUGH electrons, a step is taken at an electronic temperature of `warmth` that falls by
_COOLING a cycle: near-degenerate levels of a broken bond then share their electrons instead of swapping them."""


class SelfConsistency(NamedTuple):
    """Where the loop ended."""

    status: int
    excess: FloatArray
    """(A,) electrons beyond the neutral atom, of the last eigenvectors."""
    levels: FloatArray
    """(N,) Hartree."""
    occupations: FloatArray
    """(N,) 0 to 2."""
    vectors: FloatArray
    """(N, N) eigenvectors, one a row."""
    residuals: FloatArray
    """(cycles,) largest difference between charges that went in and came out, electrons."""


@njit(cache=True, nogil=True, error_model="numpy")
def _charges(
    vectors: FloatArray,
    dual: FloatArray,
    occupations: FloatArray,
    first_orbital: IntArray,
    valence: FloatArray,
    level_charges: FloatArray,
    excess: FloatArray,
) -> None:
    """Fill q^a_ii (N, A) and the excess electrons Σ_i f_i q^a_ii - valence (A,)."""
    for a in range(valence.size):
        excess[a] = -valence[a]
    for i in range(occupations.size):
        for a in range(valence.size):
            total = 0.0
            for mu in range(first_orbital[a], first_orbital[a + 1]):
                total += vectors[i, mu] * dual[i, mu]
            level_charges[i, a] = total
            excess[a] += occupations[i] * total


@njit(cache=True, nogil=True, error_model="numpy")
def _largest(vector: FloatArray) -> float:
    """Return the largest magnitude, NaN if there is one."""
    largest = 0.0
    for value in vector:
        if not abs(value) <= largest:
            largest = abs(value)
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def self_consistency(  # noqa: C901 - the loop that the module is about
    hamiltonian: FloatArray,
    overlap: FloatArray,
    gamma: FloatArray,
    third: FloatArray,
    first_orbital: IntArray,
    valence: FloatArray,
    electrons: float,
    kt: float,
    start: FloatArray,
    tolerance: float,
    max_cycles: int,
    mixing: float,
    warmth: float,
) -> SelfConsistency:
    """Find charges that reproduce themselves.

    Args:
        hamiltonian: (N, N) H⁰, Hartree.
        overlap: (N, N) S.
        gamma: (A, A) γ, Hartree.
        third: (A, A) Γ, Hartree per electron.
        first_orbital: (A + 1,).
        valence: (A,) electrons of the neutral atoms.
        electrons: Number of electrons.
        kt: Electronic temperature, Hartree.
        start: (A,) excess electrons to start from.
        tolerance: Largest residual of a charge, electrons.
        max_cycles: Most eigenproblems.
        mixing: Share of Newton's step that is taken; 1 for all of it.
        warmth: Electronic temperature of the first steps while the residual is large, Hartree; 0 for none.
    """
    size, atoms = overlap.shape[0], valence.size
    levels, occupations, residuals = np.zeros(size), np.zeros(size), np.zeros(max_cycles)
    work, integer_work = np.empty(1 + 6 * size + 2 * size * size), np.empty(3 + 5 * size, np.int32)
    factor = overlap.copy()
    vectors = np.zeros((size, size))
    excess_in, excess = start.copy(), start.copy()
    if cholesky(factor) != 0:
        return SelfConsistency(NOT_POSITIVE, excess, levels, occupations, vectors, residuals[:0])
    inverse = factor.copy()
    invert_lower(inverse)
    reduced = np.dot(np.dot(inverse, hamiltonian), inverse.T)
    potential, kernel, level_charges = np.empty(atoms), np.empty((atoms, atoms)), np.empty((size, atoms))
    shifted, current, dual = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    base, step, best, halvings = excess_in.copy(), np.zeros(atoms), np.inf, 0
    for cycle in range(max_cycles):
        charge_potential(gamma, third, excess_in, potential)
        for i in range(size):
            for a in range(atoms):
                for mu in range(first_orbital[a], first_orbital[a + 1]):
                    shifted[i, mu] = 0.5 * potential[a] * inverse[i, mu]
        np.dot(shifted, factor, current)
        for i in range(size):
            for j in range(i + 1):
                current[i, j] = current[j, i] = reduced[i, j] + current[i, j] + current[j, i]
        if eigh(current, levels, work, integer_work) != 0:
            return SelfConsistency(NO_EIGENVECTORS, excess, levels, occupations, vectors, residuals[:cycle])
        np.dot(current, inverse, vectors)
        np.dot(current, factor.T, dual)
        fermi_filling(levels, electrons, kt, occupations)
        _charges(vectors, dual, occupations, first_orbital, valence, level_charges, excess)
        residual = excess - excess_in
        norm = _largest(residual)
        residuals[cycle] = norm
        if norm < tolerance:
            return SelfConsistency(CONVERGED, excess, levels, occupations, vectors, residuals[: cycle + 1])
        smooth = norm > _ROUGH and warmth > kt
        if smooth:
            fermi_filling(levels, electrons, warmth, occupations)
            _charges(vectors, dual, occupations, first_orbital, valence, level_charges, excess)
            residual = excess - excess_in
        elif norm > best and halvings < _HALVINGS:
            halvings += 1
            step *= 0.5
            excess_in = base + step
            continue
        charge_kernel(gamma, third, excess_in, kernel)
        response = prepare_response(vectors, dual, levels, occupations, level_charges, warmth if smooth else kt)
        accuracy = min(max(0.03 * norm, 0.1 * tolerance / norm), 1e-2)
        step = newton_step(response, first_orbital, kernel, residual, accuracy)
        step *= mixing * min(1.0, _LARGEST_STEP / _largest(step))
        base, best, halvings = excess_in, np.inf if smooth else norm, 0
        warmth *= _COOLING
        excess_in = base + step
    return SelfConsistency(NOT_CONVERGED, excess, levels, occupations, vectors, residuals)
