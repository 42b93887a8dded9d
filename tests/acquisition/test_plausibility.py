"""Frames that no label is spent on."""

import numpy as np
import pytest

from alflow.acquisition.plausibility import PlausibilityRule, nearest_distances, plausible

LINE = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.5, 0.0, 0.0]])


def test_nearest_distances():
    assert nearest_distances(LINE[None])[0] == pytest.approx([1.0, 1.0, 2.5])


def test_each_reason_drops_its_frame():
    frames = np.repeat(LINE[None], 5, axis=0)
    frames[1, 2, 0] = 1.0 + 3.01
    frames[2, 1, 0] = 0.59
    frames[3, 0, 1] = np.nan
    frames[4, 2, 0] = 1.0 + 2.99
    assert plausible(frames, PlausibilityRule()).tolist() == [True, False, False, False, True]


def test_bounds_are_settable_and_a_lone_atom_is_no_offence():
    assert not plausible(LINE[None], PlausibilityRule(largest_nearest_angstrom=2.0))[0]
    assert plausible(np.zeros((1, 1, 3)), PlausibilityRule())[0]
    assert plausible(np.empty((0, 3, 3)), PlausibilityRule()).shape == (0,)
