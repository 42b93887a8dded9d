import numpy as np
import pytest
from scipy.linalg import eigh

from alflow.dftb.filling import fermi_filling
from alflow.dftb.response import apply_response, newton_step, prepare_response

FIRST = np.array([0, 4, 5, 9, 10])


def charges(hamiltonian, overlap, electrons, kt, potential):
    orbital = np.repeat(potential, np.diff(FIRST))
    shifted = hamiltonian + 0.5 * overlap * (orbital[:, None] + orbital[None, :])
    levels, vectors = eigh(shifted, overlap)
    occupations = np.empty(10)
    fermi_filling(levels, electrons, kt, occupations)
    rows = np.ascontiguousarray(vectors.T)
    dual = rows @ overlap
    per_level = np.add.reduceat(rows * dual, FIRST[:-1], axis=1)
    return occupations @ per_level, (rows, dual, levels, occupations, per_level, kt)


@pytest.fixture
def case():
    rng = np.random.default_rng(2)
    hamiltonian = rng.normal(size=(10, 10))
    mix = rng.normal(size=(10, 10)) * 0.15
    return hamiltonian + hamiltonian.T, np.eye(10) + mix @ mix.T


@pytest.mark.parametrize("kt", [1e-4, 0.3])
@pytest.mark.parametrize("electrons", [8.0, 9.0])
def test_response_against_differences(case, kt, electrons):
    base = np.array([0.1, -0.2, 0.05, 0.0])
    _, state = charges(*case, electrons, kt, base)
    response = prepare_response(*state)
    for direction in np.eye(4):
        change = np.empty(4)
        apply_response(response, FIRST, direction, change)
        up, down = (charges(*case, electrons, kt, base + s * 1e-5 * direction)[0] for s in (1, -1))
        assert change == pytest.approx((up - down) / 2e-5, abs=1e-6)
        assert change.sum() == pytest.approx(0.0, abs=1e-10)


def test_newton_step_solves_the_linear_equations(case):
    rng = np.random.default_rng(4)
    _, state = charges(*case, 9.0, 0.2, np.zeros(4))
    response = prepare_response(*state)
    kernel, residual = np.eye(4) + 0.1 * rng.normal(size=(4, 4)), rng.normal(size=4)
    step, change = newton_step(response, FIRST, kernel, residual, 1e-10), np.empty(4)
    apply_response(response, FIRST, kernel @ step, change)
    assert step - change == pytest.approx(residual, abs=1e-8)
