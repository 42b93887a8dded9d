"""One batch of all pulls together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.batch import along_the_way, at_random_along_the_way, farthest_points


def progress_of_a_pull():
    """Return a slow rise, a jump within five frames, and a slow rise."""
    return np.concatenate([np.linspace(0.0, 2.0, 1000), np.linspace(2.0, 3.5, 5), np.linspace(3.5, 4.5, 995)])


def test_what_passes_quickly_has_candidates():
    progress = progress_of_a_pull()
    rows = along_the_way(progress, 45, 450)
    assert len(rows) <= 450
    assert set(range(1001, 1004)) <= set(rows.tolist())
    assert np.histogram(progress[rows], bins=9, range=(0.0, 4.5))[0][[0, 1, 2, 7, 8]] == pytest.approx(50, abs=6)


@given(frames=st.integers(0, 300), windows=st.integers(1, 80), most=st.integers(1, 400), seed=st.integers(0, 2**32))
def test_candidates_are_rows_none_twice_and_not_too_many(frames, windows, most, seed):
    progress = np.sort(np.random.default_rng(seed).exponential(1.0, frames))
    rows = along_the_way(progress, windows, most)
    assert len(rows) <= min(frames, most)
    assert len(rows) or not frames
    assert (np.diff(rows) > 0).all()
    assert not len(rows) or (rows.min() >= 0 and rows.max() < frames)


def test_the_audit_is_drawn_alike_from_all_windows():
    progress = np.concatenate([progress_of_a_pull()] * 8)
    counts = np.zeros(9)
    for seed in range(200):
        rows = at_random_along_the_way(progress, 9, 9, np.random.default_rng(seed))
        assert len(set(rows.tolist())) == 9
        counts += np.histogram(progress[rows], bins=9, range=(0.0, 4.5))[0]
    assert counts == pytest.approx(200, abs=4.0 * np.sqrt(200))


def test_the_audit_takes_what_there_is_and_nothing_twice():
    progress, taken = np.linspace(0.0, 1.0, 12), np.arange(5)
    rows = at_random_along_the_way(progress, 4, 50, np.random.default_rng(1), taken)
    assert rows.tolist() == list(range(5, 12))
    assert len(at_random_along_the_way(np.empty(0), 4, 5, np.random.default_rng(1))) == 0


def test_the_farthest_is_chosen_first_and_what_is_known_is_left_out():
    line = np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [10.0, 7.0], [4.9, 7.0]])  # the second feature does not vary
    assert farthest_points(line, line[:1], 2, np.zeros(5)).tolist() == [3, 4]
    assert farthest_points(line, np.array([[10.0, 7.0]]), 1, np.zeros(5)).tolist() == [0]
    assert farthest_points(line, line, 3, np.zeros(5)).tolist() == []
    assert farthest_points(line[:0], line, 3, np.zeros(0)).tolist() == []


@given(rows=st.integers(1, 40), known=st.integers(1, 20), places=st.integers(0, 50), seed=st.integers(0, 2**32))
def test_farthest_points_cover_within_twice_the_next_distance(rows, known, places, seed):
    rng = np.random.default_rng(seed)
    features, learnt = rng.normal(size=(rows, 3)), rng.normal(size=(known, 3))
    chosen = farthest_points(features, learnt, places, np.zeros(rows))
    assert len(set(chosen.tolist())) == len(chosen) == min(rows, places)
    deviations = np.concatenate([features, learnt]).std(axis=0)
    scaled, centres = features / deviations, learnt / deviations
    for row in chosen:  # each was the farthest from all before it
        distances = np.linalg.norm(scaled[:, None] - centres[None], axis=-1).min(axis=1)
        assert distances[row] == pytest.approx(distances.max(), abs=1e-6)
        centres = np.concatenate([centres, scaled[row : row + 1]])


def test_windows_take_turns():
    line = np.array([[0.0], [1.0], [50.0], [60.0], [70.0], [80.0]])
    window = np.array([0, 0, 1, 1, 1, 1])
    known = np.array([[0.5]])
    assert farthest_points(line, known, 4, np.zeros(6)).tolist() == [5, 2, 3, 4]
    assert farthest_points(line, known, 4, window).tolist() == [0, 5, 1, 2]
    assert farthest_points(line, line[:2], 4, window).tolist() == [5, 2, 3, 4]
