import numpy as np
import pytest

from alflow.dftb.linalg import cholesky, eigh, invert_lower


@pytest.fixture
def positive():
    mix = np.random.default_rng(0).normal(size=(7, 7))
    return mix @ mix.T + np.eye(7)


def test_cholesky_and_inverse(positive):
    factor = positive.copy()
    assert cholesky(factor) == 0
    assert factor == pytest.approx(np.linalg.cholesky(positive))
    inverse = factor.copy()
    assert invert_lower(inverse) == 0
    assert inverse @ factor == pytest.approx(np.eye(7), abs=1e-12)


def test_what_is_not_positive_definite_is_said():
    assert cholesky(np.diag([1.0, -1.0])) > 0


def test_eigenvectors_are_rows(positive):
    vectors, values = positive.copy(), np.empty(7)
    assert eigh(vectors, values, np.empty(1 + 6 * 7 + 2 * 49), np.empty(3 + 5 * 7, np.int32)) == 0
    assert values == pytest.approx(np.linalg.eigvalsh(positive))
    assert vectors @ positive @ vectors.T == pytest.approx(np.diag(values), abs=1e-12)
