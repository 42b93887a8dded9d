"""Energy, forces and what else one structure gives: the parts of DFTB3 put together. Atomic units.

    E = Tr P H⁰ + ½ Σ q_a γ_ab q_b + ⅓ Σ q_a² q_b Γ_ab + Σ_{a<b} V_rep - T S

    ∂E/∂R = Tr P ∂H⁰ + Tr [½ P (v_a + v_b) - W] ∂S + ½ Σ q_a q_b ∂γ + ⅓ Σ q_a² q_b ∂Γ + Σ ∂V_rep

with the density matrix P = Σ f_i c_i c_iᵀ, its energy-weighted twin W = Σ f_i ε_i c_i c_iᵀ, and q the excess electrons.
The free energy of Mermin is what is stationary at fractional occupations, so what the forces derive from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from alflow.dftb.coulomb import add_charge_gradient, charge_energies, charge_interactions, charge_potential
from alflow.dftb.filling import entropy_energy
from alflow.dftb.hamiltonian import add_matrix_gradient, build_matrices
from alflow.dftb.repulsion import add_repulsion
from alflow.dftb.scc import CONVERGED, SelfConsistency, self_consistency
from alflow.dftb.tables import Tables
from alflow.types import FloatArray


class Energies(NamedTuple):
    """Parts of the energy, Hartree."""

    h0: float
    second_order: float
    third_order: float
    repulsion: float
    entropy: float
    """-T S."""


class Solution(NamedTuple):
    """One structure at one electronic temperature."""

    scc: SelfConsistency
    energies: Energies
    gradient: FloatArray
    """(A, 3) Hartree/Bohr."""


@njit(cache=True, nogil=True, error_model="numpy")
def _density(vectors: FloatArray, weights: FloatArray, filled: int) -> FloatArray:
    """Return Σ_i w_i c_i c_iᵀ over the first `filled` rows."""
    scaled = np.empty((filled, vectors.shape[1]))
    for i in range(filled):
        for mu in range(vectors.shape[1]):
            scaled[i, mu] = weights[i] * vectors[i, mu]
    density: FloatArray = np.dot(scaled.T, vectors[:filled])
    return density


@njit(cache=True, nogil=True, error_model="numpy")
def solve(
    tables: Tables,
    positions: FloatArray,
    electrons: float,
    kt: float,
    start: FloatArray,
    tolerance: float,
    max_cycles: int,
    mixing: float,
    warmth: float,
) -> Solution:
    """Compute one structure; energies and gradient are zero where the charges did not converge.

    Args:
        tables: Composition.
        positions: (A, 3) Bohr.
        electrons: Number of electrons.
        kt: Electronic temperature, Hartree.
        start: (A,) excess electrons to start from.
        tolerance: Largest residual of a charge, electrons.
        max_cycles: Most self-consistency cycles.
        mixing: Share of a Newton step that is taken.
        warmth: Electronic temperature of the first steps while the residual is large, Hartree; 0 for none.
    """
    atoms, size = positions.shape[0], tables.onsite.size
    hamiltonian, overlap = np.empty((size, size)), np.empty((size, size))
    build_matrices(tables, positions, hamiltonian, overlap)
    gamma, third, gamma_slope, third_slope = (
        np.empty((atoms, atoms)),
        np.empty((atoms, atoms)),
        np.empty((atoms, atoms)),
        np.empty((atoms, atoms)),
    )
    charge_interactions(
        tables.species,
        tables.hubbard,
        tables.hubbard_derivative,
        tables.short_range,
        positions,
        gamma,
        third,
        gamma_slope,
        third_slope,
    )
    scc = self_consistency(
        hamiltonian,
        overlap,
        gamma,
        third,
        tables.first_orbital,
        tables.valence,
        electrons,
        kt,
        start,
        tolerance,
        max_cycles,
        mixing,
        warmth,
    )
    gradient = np.zeros((atoms, 3))
    if scc.status != CONVERGED:
        return Solution(scc, Energies(0.0, 0.0, 0.0, 0.0, 0.0), gradient)
    filled = size
    while filled > 1 and scc.occupations[filled - 1] < 1e-14:
        filled -= 1
    density = _density(scc.vectors, scc.occupations, filled)
    overlap_weight = _density(scc.vectors, -scc.occupations * scc.levels, filled)
    potential = np.empty(atoms)
    charge_potential(gamma, third, scc.excess, potential)
    band = 0.0
    for a in range(atoms):
        for b in range(atoms):
            mean = 0.5 * (potential[a] + potential[b])
            for mu in range(tables.first_orbital[a], tables.first_orbital[a + 1]):
                for nu in range(tables.first_orbital[b], tables.first_orbital[b + 1]):
                    overlap_weight[mu, nu] += density[mu, nu] * mean
                    band += density[mu, nu] * hamiltonian[mu, nu]
    second, cubic = charge_energies(gamma, third, scc.excess)
    add_matrix_gradient(tables, positions, density, overlap_weight, gradient)
    add_charge_gradient(positions, gamma_slope, third_slope, scc.excess, gradient)
    repulsion = add_repulsion(tables.repulsion, tables.species, tables.shells.size, positions, gradient)
    return Solution(scc, Energies(band, second, cubic, repulsion, entropy_energy(scc.occupations, kt)), gradient)
