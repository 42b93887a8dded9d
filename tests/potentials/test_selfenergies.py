"""Self-energies by which the energies of one theory fit those of another on average."""

import numpy as np
import pytest

from alflow.potentials.selfenergies import fit_self_energies, shifts_between
from alflow.types import Dataset, Frames, Group, Labels


def group(numbers, energies):
    positions = np.zeros((len(energies), len(numbers), 3))
    return Group(Frames.of(np.array(numbers), positions), Labels(np.array(energies, dtype=float), positions))


def test_a_constant_for_each_element_is_found_where_compositions_tell_them_apart():
    dataset = Dataset((group([6, 1, 1, 1, 1], [1.0, 2.0, 4.0]), group([6, 6, 1, 1, 1, 1, 1, 1], [5.0, 7.0])))
    labels = np.concatenate([one.labels.energies for one in dataset.groups])
    counts = np.array([[1, 4]] * 3 + [[2, 6]] * 2)
    truth = np.array([[-30.0, 2.0], [10.0, -1.0]])
    shifts = shifts_between(dataset, np.array([labels - counts @ one for one in truth]))
    assert set(shifts) == {1, 6}
    np.testing.assert_allclose(np.stack([shifts[6], shifts[1]], axis=1), truth, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_moved_fits_each_composition_on_average(seed):
    rng = np.random.default_rng(seed)
    dataset = Dataset((group([6, 1, 1, 1, 1], rng.normal(size=rng.integers(1, 9))),))
    size = len(dataset)
    predicted = rng.normal(scale=100.0, size=(rng.integers(1, 4), size))
    shifts = shifts_between(dataset, predicted)
    moved = predicted + (shifts[6] + 4 * shifts[1])[:, None]
    labels = dataset.groups[0].labels.energies
    np.testing.assert_allclose((moved - labels).mean(axis=1), 0.0, atol=1e-9)


def test_one_composition_shares_the_constant_out():
    np.testing.assert_allclose(fit_self_energies(np.array([[2, 6]]), np.array([40.0])), [2.0, 6.0])
