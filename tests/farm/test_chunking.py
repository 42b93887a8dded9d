"""Task sizes: everything is sent once, big first, small last."""

from hypothesis import given
from hypothesis import strategies as st

from alflow.farm.chunks import chunk_sizes, parts_of_lost


@given(
    count=st.integers(0, 5000),
    workers=st.integers(1, 200),
    label_seconds=st.floats(1e-4, 100.0),
    task_seconds=st.floats(0.1, 60.0),
    fixed=st.integers(0, 50),
)
def test_every_frame_is_sent_once(count, workers, label_seconds, task_seconds, fixed):
    sizes = chunk_sizes(count, workers, label_seconds, task_seconds, fixed)
    assert sum(sizes) == count
    assert all(size > 0 for size in sizes)


def test_tasks_last_as_long_as_asked_and_shrink_towards_the_end():
    sizes = chunk_sizes(10_000, 4, label_seconds=0.01, task_seconds=3.0)
    assert max(sizes) == 300
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes[-1] <= 5


def test_slow_labels_go_one_by_one():
    assert chunk_sizes(7, 2, label_seconds=60.0, task_seconds=3.0) == (1,) * 7


def test_quick_labels_are_not_sent_in_tasks_shorter_than_their_dispatch():
    assert min(chunk_sizes(1000, 8, label_seconds=0.001, task_seconds=3.0)[:-1]) >= 50


def test_a_fixed_size_is_kept():
    assert chunk_sizes(10, 2, 0.01, 3.0, frames_per_task=4) == (4, 4, 2)


def test_lost_task_is_tried_once_more_then_frame_by_frame():
    assert parts_of_lost(3, attempt=1) == (slice(0, 3),)
    assert parts_of_lost(3, attempt=2) == (slice(0, 1), slice(1, 2), slice(2, 3))
    assert parts_of_lost(1, attempt=1) == (slice(0, 1),)
    assert parts_of_lost(1, attempt=2) == ()
