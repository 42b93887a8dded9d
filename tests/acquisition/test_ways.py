"""Progress along any variable, bonds that form, and atoms that an event lets go of."""

import numpy as np
import pytest

from alflow.acquisition.plausibility import PlausibilityRule, plausible
from alflow.acquisition.progress import REACH_ANGSTROM, Way, advance, start_progress

NO_BONDS = np.empty((0, 2), dtype=np.int64)
LINE = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])


def moved(last):
    """Return frames in which the last of three atoms is at these places."""
    frames = np.repeat(LINE[None], len(last), axis=0)
    frames[:, 2, 0] = last
    return frames


def test_a_coordinate_that_falls_makes_progress_in_its_own_direction():
    frames = moved([2.0] * 4)
    begin = start_progress(NO_BONDS, 180.0, frames[0], Way(direction=-1.0, angstrom_per_unit=0.05))
    _, way = advance(begin, np.array([180.0, 170.0, 175.0, 120.0]), frames)
    np.testing.assert_allclose(way, [0.0, 0.5, 0.5, 3.0])


def test_bonds_that_form_count_like_those_that_break():
    frames = moved([5.0, 3.5, 2.5, 3.0, 1.8])
    way = Way(direction=1.0, forming=np.array([[1, 2]]), formed=np.array([1.0]))
    begin = start_progress(np.array([[0, 1]]), 0.0, frames[0], way)
    after, found = advance(begin, np.zeros(5), frames)
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0, 1.0, 1.5])
    assert found.max() <= REACH_ANGSTROM
    assert after.stretch == found[-1]


def test_where_nothing_is_taken_anywhere_progress_is_where_it_is():
    frames = moved([2.0] * 3)
    begin = start_progress(NO_BONDS, 1.0, frames[0], Way(direction=0.0))
    _, way = advance(begin, np.array([1.0, 2.5, 0.5]), frames)
    np.testing.assert_allclose(way, [0.0, 1.5, 0.5])


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("direction", [-1.0, 0.0, 1.0])
def test_progress_does_not_depend_on_cuts(cut, direction):
    frames, coordinate = moved([5.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.5, 3.0])
    way = Way(direction, 0.5, np.array([[1, 2]]), np.array([1.0]))
    begin = start_progress(np.array([[0, 1]]), 1.0, frames[0], way)
    _, whole = advance(begin, coordinate, frames)
    middle, first = advance(begin, coordinate[:cut], frames[:cut])
    _, rest = advance(middle, coordinate[cut:], frames[cut:])
    assert np.array_equal(np.concatenate([first, rest]), whole)


def test_an_atom_that_the_event_lets_go_of_is_not_lost():
    frames = moved([2.0, 4.5, 1.1])
    assert plausible(frames, PlausibilityRule()).tolist() == [True, False, False]
    assert plausible(frames, PlausibilityRule(loose=(2,))).tolist() == [True, True, False]
    assert plausible(frames, PlausibilityRule(loose=(0, 1))).tolist() == [True, False, False]
