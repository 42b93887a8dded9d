import numpy as np
import pytest

from alflow.dftb.coulomb import charge_interactions, charge_potential
from alflow.dftb.hamiltonian import build_matrices
from alflow.dftb.scc import CONVERGED, NOT_CONVERGED, NOT_POSITIVE, self_consistency

POSITIONS = np.array([[0.0, 0, 0], [0, 0, 2.3], [1.7, 0, -1.1], [-1.7, 0, -1.1]])
"""Formaldehyde, roughly; Bohr."""


@pytest.fixture
def case(tables_of):
    tables = tables_of(["C", "O", "H", "H"])
    matrices, charges = np.empty((2, 10, 10)), np.empty((4, 4, 4))
    build_matrices(tables, POSITIONS, *matrices)
    short = tables.short_range
    charge_interactions(tables.species, tables.hubbard, tables.hubbard_derivative, short, POSITIONS, *charges)

    def run(start=np.zeros(4), tolerance=1e-10, max_cycles=30, mixing=1.0, overlap=matrices[1]):  # noqa: B008
        return self_consistency(
            matrices[0],
            overlap,
            *charges[:2],
            tables.first_orbital,
            tables.valence,
            12.0,
            1e-3,
            start,
            tolerance,
            max_cycles,
            mixing,
            0.02,
        )

    return run, tables, matrices, charges


def test_charges_reproduce_themselves(case):
    """Diagonalising with the potential of the converged charges gives the same charges, by SciPy."""
    from scipy.linalg import eigh

    run, tables, (hamiltonian, overlap), charges = case
    result = run()
    assert result.status == CONVERGED
    potential = np.empty(4)
    charge_potential(charges[0], charges[1], result.excess, potential)
    orbital = np.repeat(potential, np.diff(tables.first_orbital))
    levels, vectors = eigh(hamiltonian + 0.5 * overlap * (orbital[:, None] + orbital), overlap)
    density = 2.0 * vectors[:, :6] @ vectors[:, :6].T
    populations = np.add.reduceat((density * overlap).sum(axis=1), tables.first_orbital[:-1])
    assert levels == pytest.approx(result.levels, abs=1e-8)
    assert populations - tables.valence == pytest.approx(result.excess, abs=1e-8)


def test_convergence_is_quadratic(case):
    residuals = case[0]().residuals
    assert len(residuals) <= 5
    assert (residuals[2:] < 5 * residuals[1:-1] ** 1.7).all()


def test_small_steps_and_other_starts_reach_the_same_charges(case):
    run = case[0]
    known = run().excess
    assert run(mixing=0.3, max_cycles=200).excess == pytest.approx(known, abs=1e-8)
    assert run(start=np.array([0.5, -0.5, 0.4, -0.4])).excess == pytest.approx(known, abs=1e-8)


def test_status_says_what_went_wrong(case):
    run, _, (_, overlap), _ = case
    assert run(max_cycles=2).status == NOT_CONVERGED
    assert len(run(max_cycles=2).residuals) == 2
    assert run(overlap=overlap - np.eye(10)).status == NOT_POSITIVE
