"""Progress of a pull: growth of the distance and of the bond that grows most, never falling."""

import numpy as np
import pytest

from alflow.acquisition.progress import REACH_ANGSTROM, advance, planned_progress, start_progress

BONDS = np.array([[0, 1], [1, 2]])


def chain(first, second):
    """Three atoms in a row, with the lengths of both bonds in each frame."""
    positions = np.zeros((len(first), 3, 3))
    positions[:, 1, 0] = first
    positions[:, 2, 0] = np.add(first, second)
    return positions


def test_distance_and_longest_bond_add_up_and_never_fall():
    positions = chain([1.0, 1.2, 1.1, 1.0], [1.5, 1.5, 1.9, 1.6])
    distance = np.array([2.5, 2.7, 3.0, 2.6])
    begin = start_progress(BONDS, 2.5, positions[0])
    _, way = advance(begin, distance, positions)
    assert way == pytest.approx([0.0, 0.2 + 0.2, 0.5 + 0.4, 0.5 + 0.4])


def test_a_broken_bond_counts_no_further():
    positions = chain([1.0, 9.0], [1.0, 1.0])
    _, way = advance(start_progress(BONDS, 2.0, positions[0]), np.array([2.0, 2.5]), positions)
    assert way[-1] == pytest.approx(planned_progress(0.5)) == 0.5 + REACH_ANGSTROM


def test_pieces_give_what_the_whole_gives():
    rng = np.random.default_rng(0)
    positions, distance = chain(rng.uniform(1, 2, 20), rng.uniform(1, 2, 20)), rng.uniform(2, 4, 20)
    begin = start_progress(BONDS, float(distance[0]), positions[0])
    _, whole = advance(begin, distance, positions)
    middle, head = advance(begin, distance[:7], positions[:7])
    none, nothing = advance(middle, distance[:0], positions[:0])
    _, tail = advance(none, distance[7:], positions[7:])
    assert len(nothing) == 0
    assert np.concatenate([head, tail]).tolist() == whole.tolist()


def test_without_bonds_and_with_lost_atoms_the_distance_counts():
    positions = np.full((2, 3, 3), np.nan)
    begin = start_progress(np.empty((0, 2), dtype=np.int64), 1.0, positions[0])
    assert advance(begin, np.array([1.0, np.nan]), positions)[1].tolist() == [0.0, 0.0]
