import json
from pathlib import Path

import numpy as np
import pytest

from alflow.dftb.hamiltonian import add_matrix_gradient, build_matrices, interpolate
from alflow.dftb.tables import TAIL
from alflow.units import BOHR_IN_ANGSTROM

MATRICES = json.loads((Path(__file__).parent.parent / "data" / "dftb3_matrices.json").read_text())


def matrices(tables, positions):
    size = tables.onsite.size
    hamiltonian, overlap = np.empty((size, size)), np.empty((size, size))
    build_matrices(tables, positions, hamiltonian, overlap)
    return hamiltonian, overlap


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_of_dftb_plus(name, tables_of):
    known = MATRICES[name]
    tables = tables_of(known["symbols"])
    hamiltonian, overlap = matrices(tables, np.array(known["positions_angstrom"]) / BOHR_IN_ANGSTROM)
    assert np.abs(overlap - known["overlap"]).max() < 2e-7
    assert np.abs(hamiltonian - known["hamiltonian_zero_charge_hartree"]).max() < 2e-7


def test_spectrum_does_not_depend_on_the_orientation(tables_of):
    tables = tables_of(["S", "Zn", "O", "H"])
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.2], [3.1, 0.0, 0.0], [0.0, -2.9, 0.5]])
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    for matrix, turned in zip(matrices(tables, positions), matrices(tables, positions @ turn.T), strict=True):
        assert np.abs(np.linalg.eigvalsh(matrix) - np.linalg.eigvalsh(turned)).max() < 1e-12


def test_gradient_against_differences_with_s_p_and_d(tables_of):
    rng = np.random.default_rng(1)
    tables = tables_of(["C", "S", "H", "Zn", "O", "P"])
    size = tables.onsite.size
    positions = rng.normal(size=(6, 3)) * 2.5
    p, q = rng.normal(size=(2, size, size))
    p, q = p + p.T, q + q.T
    gradient = np.zeros((6, 3))
    add_matrix_gradient(tables, positions, p, q, gradient)

    def contraction(x):
        hamiltonian, overlap = matrices(tables, x)
        return (p * hamiltonian + q * overlap).sum()

    for place in np.ndindex(6, 3):
        step = np.zeros((6, 3))
        step[place] = 1e-4
        slope = (contraction(positions + step) - contraction(positions - step)) / 2e-4
        assert slope == pytest.approx(gradient[place], abs=2e-7 * np.abs(gradient).max())


def test_tail_goes_smoothly_to_zero(tables_of):
    tables = tables_of(["C"]).integrals
    end = tables.points[0] * tables.spacing[0]
    value, slope = np.empty(28), np.empty(28)
    columns = tables.columns[0]

    def at(r):
        interpolate(tables, 0, r, value, slope)
        return value[:columns].copy(), slope[:columns].copy()

    inside, outside = at(end - 1e-9), at(end + 1e-9)
    assert np.abs(inside[0]).max() > 1e-7
    for before, after in zip(inside, outside, strict=True):
        assert np.abs(before - after).max() < 1e-9
    for r in (end + 0.3, end + 0.7):
        numerical = (at(r + 1e-5)[0] - at(r - 1e-5)[0]) / 2e-5
        assert np.abs(numerical - at(r)[1]).max() < 1e-12
    assert not at(end + TAIL)[0].any()
    assert np.abs(at(end + TAIL - 1e-4)[0]).max() < 1e-15
