"""Training and validation rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.splits import (
    inherited_split,
    inherited_split_of_groups,
    random_split,
    validation_of_all,
)
from alflow.types import Split


def rng(seed=0):
    return np.random.default_rng(seed)


@given(n=st.integers(0, 200), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_random_split_covers_every_row_once(n, fraction, seed):
    split = random_split(n, fraction, rng(seed))
    assert sorted([*split.train, *split.valid]) == list(range(n))
    if n >= 2:
        assert len(split.train) == min(max(round(fraction * n), 1), n - 1)


def test_random_splits_differ_between_seeds_and_repeat_for_one():
    assert (random_split(50, 0.8, rng(1)).train == random_split(50, 0.8, rng(1)).train).all()
    assert random_split(50, 0.8, rng(1)).train.tolist() != random_split(50, 0.8, rng(2)).train.tolist()


def test_inherited_split_keeps_old_rows_where_they_were_and_draws_the_new_ones():
    best = random_split(10, 0.8, rng(1))
    split = inherited_split(best, 10, 20, 0.8, rng(2))
    assert set(best.train) <= set(split.train)
    assert set(best.valid) <= set(split.valid)
    assert sorted([*split.train, *split.valid]) == list(range(20))
    assert len(split.train) == 16
    assert inherited_split(best, 10, 20, 0.8, rng(3)).train.tolist() != split.train.tolist()


def test_inherited_split_without_new_rows_is_the_best_member_s():
    best = random_split(10, 0.8, rng(1))
    split = inherited_split(best, 10, 10, 0.8, rng(2))
    assert split.train.tolist() == best.train.tolist()
    assert split.valid.tolist() == best.valid.tolist()


def test_rows_of_later_groups_move_up_when_an_earlier_group_grows():
    best = random_split(5, 0.6, rng(1))
    split = inherited_split_of_groups(best, [3, 2], [4, 2, 1], 0.5, rng(2))
    now = np.array([0, 1, 2, 4, 5])
    assert set(now[best.train]) <= set(split.train)
    assert set(now[best.valid]) <= set(split.valid)
    assert sorted([*split.train, *split.valid]) == list(range(7))


def test_a_shrunken_dataset_and_a_foreign_split_are_refused():
    best = random_split(5, 0.6, rng(1))
    with pytest.raises(ValueError, match=r"only grows; its groups had \[5\] rows and have \[4\]"):
        inherited_split(best, 5, 4, 0.8, rng())
    with pytest.raises(ValueError, match="it has 5 rows of 6"):
        inherited_split(best, 6, 9, 0.8, rng())


def test_validation_of_all_is_what_no_member_trained_on():
    splits = [Split(np.array(train), np.array(valid)) for train, valid in (([0, 1], [4, 2, 3]), ([3, 0], [1, 2, 4]))]
    assert validation_of_all(splits).tolist() == [2, 4]
    assert validation_of_all(splits[:1]).tolist() == [2, 3, 4]
