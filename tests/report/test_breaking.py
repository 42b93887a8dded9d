import numpy as np
import pytest

from alflow.report.breaking import Break, bond_lengths, first_break, fragments, telling_rows
from alflow.structures import alkane, bonds, heavy_bonds


@pytest.fixture
def hexane():
    frames = alkane(6)
    return frames.numbers, frames.positions[0]


def torn(numbers, positions, gap):
    """Pull the two halves of hexane apart along its chain."""
    carbons = np.flatnonzero(numbers == 6)
    ends = positions[carbons]
    axis = ends[np.argmax(np.linalg.norm(ends - ends[0], axis=1))] - ends[0]
    axis /= np.linalg.norm(axis)
    along = (positions - positions[carbons].mean(axis=0)) @ axis
    return positions + np.where(along > 0, gap, 0.0)[:, None] * axis


def test_hexane_has_nineteen_bonds_of_which_five_are_between_carbons(hexane):
    numbers, positions = hexane
    assert len(bonds(numbers, positions)) == 19
    pairs = heavy_bonds(numbers, positions)
    assert len(pairs) == 5
    np.testing.assert_allclose(bond_lengths(positions[None], pairs), 1.53, atol=0.03)


def test_a_torn_molecule_is_two_radicals(hexane):
    numbers, positions = hexane
    assert fragments(numbers, positions) == ("C6H14",)
    assert fragments(numbers, torn(numbers, positions, 3.0)) == ("C3H7", "C3H7")


def test_the_first_break_is_found_where_it_happens(hexane):
    numbers, positions = hexane
    path = np.stack([torn(numbers, positions, gap) for gap in (0.0, 0.3, 0.6, 1.2, 2.0)])
    broken = first_break(numbers, path)
    assert broken is not None
    assert broken.row == 3
    assert np.linalg.norm(path[4, broken.bond[0]] - path[4, broken.bond[1]]) > 3.0
    assert first_break(numbers, path[:3]) is None


def test_telling_rows_stand_around_the_break():
    rows = telling_rows(6501, Break(5000, (0, 1)))
    assert rows == (0, 2500, 4935, 5000, 5065, 6500)
    assert telling_rows(10, None) == (0, 3, 6, 9)
    assert telling_rows(1, None) == (0,)
    assert telling_rows(100, Break(99, (0, 1)))[-1] == 99


def test_atoms_with_one_between_them_are_not_bonded_however_large_they_are():
    carbon, bromine = 1.53, 1.95
    angle = np.radians(111.0)
    positions = np.array(
        [[0.0, 0.0, 0.0], [carbon, 0.0, 0.0], [carbon - bromine * np.cos(angle), bromine * np.sin(angle), 0.0]]
    )
    assert heavy_bonds(np.array([6, 6, 35]), positions).tolist() == [[0, 1], [1, 2]]
