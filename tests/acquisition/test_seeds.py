"""Random streams by place."""

import itertools

import pytest

from alflow.acquisition.seeds import generator, integer_seed


def test_streams_are_the_same_everywhere():
    # Fixed numbers: a change of them would change every campaign.
    assert generator(1, 2, "jitter", 3).integers(0, 2**32, 3).tolist() == [71930158, 2824302434, 1622870122]
    assert integer_seed(1, 2, "velocities", 0) == 1976975914


def test_no_two_places_share_a_stream():
    places = [
        (seed, iteration, stage, *index)
        for seed, iteration, stage in itertools.product((0, 1, 2**32), (0, 1, 2), ("split", "jitter"))
        for index in ((), (0,), (1,), (0, 0), (0, 1), (2**32,))
    ]
    first = {generator(*place).integers(0, 2**63) for place in places}
    assert len(first) == len(places)


def test_integer_seeds_are_positive_and_negative_parts_are_refused():
    assert all(0 < integer_seed(0, iteration, "md") < 2**31 for iteration in range(100))
    with pytest.raises(ValueError, match="found -1"):
        generator(1, -1, "md")
