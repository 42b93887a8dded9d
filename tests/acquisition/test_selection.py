"""The selector: each stage by itself, and streaming equal to batch for any cut."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.acquisition.plausibility import PlausibilityRule
from alflow.acquisition.selection import CapOrder, SelectionRule, finish, select, share_budget, start, step, window_turn
from alflow.types import Frames, MDState, Segment

PLAIN = SelectionRule(planned_steps=100, threshold=1.0, windows=4, cap=4)


def pull(spread, *, energy=None, distance=None, stride=1, first=0):
    """A trajectory of two atoms 1 Å apart; by default every frame is distinct from the one before."""
    n = len(spread)
    positions = np.zeros((n, 2, 3))
    positions[:, 1, 0] = 1.0
    steps = first + stride * np.arange(n, dtype=np.int64)
    positions[:, :, 1] = steps[:, None]
    rows = np.arange(n, dtype=np.float64)
    return Segment(
        frames=Frames.of(np.array([1, 1]), positions),
        steps=steps,
        time=0.5 * steps,
        target=rows,
        coordinate=rows if distance is None else np.asarray(distance, dtype=np.float64),
        energy=rows if energy is None else np.asarray(energy, dtype=np.float64),
        work=rows,
        spread=np.asarray(spread, dtype=np.float64),
        temperature=rows,
        end=MDState(int(steps[-1]) if n else 0, positions[-1] if n else np.zeros((2, 3)), np.zeros((2, 3))),
    )


def cut(whole, places):
    """The same trajectory in pieces."""
    bounds = [0, *sorted(places), len(whole.steps)]
    names = ("steps", "time", "target", "coordinate", "energy", "work", "spread", "temperature")
    for low, high in pairwise(bounds):
        rows = slice(low, high)
        yield replace(whole, frames=whole.frames.take(rows), **{name: getattr(whole, name)[rows] for name in names})


def chosen(rule, *segments):
    return [frame.step for frame in select(rule, segments)]


def test_only_frames_above_the_threshold_are_picked():
    assert chosen(PLAIN, pull([0.5, 1.0, 1.1, 0.2, 3.0])) == [2, 4]


def test_a_picked_frame_carries_its_numbers():
    (frame,) = select(PLAIN, [pull([0.5, 2.0])], pull=3)
    assert (frame.pull, frame.step, frame.energy, frame.coordinate, frame.spread) == (3, 1, 1.0, 1.0, 2.0)
    assert frame.positions.tolist() == [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


def test_implausible_frames_and_numbers_that_are_not_finite_are_dropped():
    segment = pull([2.0, 2.0, np.nan, 2.0], energy=[0.0, 1.0, 2.0, np.inf])
    segment.frames.positions[0, 1, 0] = 0.5
    assert chosen(PLAIN, segment) == [1]
    assert chosen(replace(PLAIN, plausibility=PlausibilityRule(smallest_nearest_angstrom=0.4)), segment) == [0, 1]


def test_similarity_compares_with_the_last_frame_kept_not_the_last_seen():
    creeping = pull([2.0] * 5, distance=[0.0, 0.008, 0.016, 0.024, 0.032], energy=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert chosen(replace(PLAIN, cap_order="first"), creeping) == [0, 2, 4]


def test_similarity_needs_both_distance_and_energy_to_differ():
    still = pull([2.0] * 4, distance=[0.0, 1.0, 0.0, 1.0], energy=[0.0, 0.04, 1.0, 1.0])
    assert chosen(replace(PLAIN, cap_order="first"), still) == [0, 3]


def test_similarity_walk_passes_over_certain_frames():
    """A frame below the threshold does not move the reference."""
    walk = pull([2.0, 0.5, 2.0], distance=[0.0, 1.0, 0.005], energy=[0.0, 5.0, 9.0])
    assert chosen(replace(PLAIN, cap_order="first"), walk) == [0]


def test_energy_alone_decides_where_nothing_is_pulled():
    free = pull([2.0] * 3, distance=[np.nan] * 3, energy=[0.0, 0.01, 1.0])
    assert chosen(replace(PLAIN, cap_order="first"), free) == [0, 2]


def test_first_steps_threshold_waits_until_it_is_known():
    rule = replace(PLAIN, threshold=None, first_steps=3, sigmas=1.0, cap_order="first")
    state, picked = step(start(rule), pull([1.0, 3.0, 2.5]))
    assert state.threshold is None
    assert picked == ()
    state, picked = step(state, pull([1.5, 9.0], first=3, energy=[30.0, 40.0], distance=[30.0, 40.0]))
    assert state.threshold == pytest.approx(np.mean([1, 3, 2.5, 1.5]) + np.std([1, 3, 2.5, 1.5]))
    assert [frame.step for frame in picked] == [1, 4]


def test_a_pull_that_ends_within_the_first_steps_is_judged_by_what_there_is():
    rule = replace(PLAIN, threshold=None, first_steps=50, sigmas=0.0)
    assert chosen(rule, pull([1.0, 1.0, 4.0])) == [2]


def test_the_lower_threshold_counts():
    spread = [1.0, 3.0, 1.0, 3.0, 2.5]
    first = replace(PLAIN, threshold=None, first_steps=3, sigmas=1.0)
    assert chosen(first, pull(spread)) == []
    assert chosen(replace(first, threshold=2.6), pull(spread)) == [1, 3]


def test_cap_first_takes_the_first_in_time():
    assert chosen(replace(PLAIN, cap_order="first"), pull([2.0] * 100)) == [0, 1, 2, 3]


def test_cap_spread_gives_each_window_its_share():
    assert chosen(PLAIN, pull([2.0] * 100)) == [12, 37, 62, 87]
    assert chosen(replace(PLAIN, cap=8), pull([2.0] * 100)) == [6, 18, 31, 43, 56, 68, 81, 93]


def test_pulls_with_fewer_places_than_windows_take_turns_at_the_windows():
    def picked(cap, replicas, iteration):
        turns = [window_turn(replica, replicas, 4, iteration) for replica in range(replicas)]
        frames = [select(replace(PLAIN, cap=cap, turn=turn), [pull([2.0] * 100)]) for turn in turns]
        return [[frame.step // 25 for frame in found] for found in frames]

    assert sorted(picked(1, 4, 0)) == sorted(picked(1, 4, 7)) == [[0], [1], [2], [3]]
    assert sorted(picked(1, 2, 0)) == [[1], [3]]
    assert sorted(picked(1, 2, 1)) == [[0], [2]]
    assert sorted(picked(3, 1, iteration)[0] for iteration in range(4)) == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]


def test_cap_spread_hands_an_unused_share_on_to_later_windows():
    late = np.where(np.arange(100) < 50, 0.5, 2.0)
    assert chosen(PLAIN, pull(late)) == [54, 62, 70, 87]


def test_cap_spread_spends_what_is_left_at_the_end_on_those_passed_over():
    early = np.where(np.arange(100) < 25, 2.0, 0.5)
    assert chosen(PLAIN, pull(early)) == [4, 12, 13, 21]
    assert len(chosen(replace(PLAIN, cap=30), pull(early))) == 25


def test_cap_spread_spends_the_whole_budget_of_a_pull_that_stops_early():
    assert len(chosen(PLAIN, pull([2.0] * 30))) == 4


def test_cap_spread_emits_a_window_as_soon_as_it_is_over():
    _, picked = step(start(PLAIN), pull([2.0] * 25))
    assert [frame.step for frame in picked] == [12]


def test_cap_most_uncertain_takes_the_largest_spreads():
    spread = [2.0, 9.0, 3.0, 8.0, 9.0, 1.5]
    assert chosen(replace(PLAIN, cap_order="most-uncertain", cap=3), pull(spread)) == [1, 3, 4]


def breaking_pull():
    """The pulled distance grows by 1 Å in 100 frames; at frame 90 the one bond grows by 1.5 Å within five frames."""
    rows = np.arange(100)
    whole = pull([2.0] * 100, distance=0.01 * rows)
    whole.frames.positions[:, 1, 0] = 1.0 + np.clip(0.3 * (rows - 89), 0.0, 1.5)
    return whole


def test_cap_progress_covers_what_passes_quickly():
    rule = replace(PLAIN, bonds=np.array([[0, 1]]), planned_progress=2.5, windows=5, cap=10, similarity_energy_ev=0.0)
    rule = replace(rule, similarity_distance_angstrom=0.0)
    by_steps = chosen(replace(rule, cap_order="spread"), breaking_pull())
    by_progress = chosen(replace(rule, cap_order="progress"), breaking_pull())
    assert len(by_steps) == len(by_progress) == 10
    assert sum(90 <= step < 95 for step in by_steps) <= 1
    assert [step for step in by_progress if 90 <= step < 95] == [90, 91, 92, 93]


def test_cap_progress_emits_a_window_once_the_pull_has_gone_beyond_it():
    rule = replace(PLAIN, cap_order="progress", planned_progress=1.0)
    _, picked = step(start(rule), pull([2.0] * 20, distance=0.02 * np.arange(20)))
    assert [frame.step for frame in picked] == [6]


def test_counts_tell_how_many_frames_reached_each_stage():
    segment = pull([0.5, 2.0, 2.0, 2.0, 2.0, 2.0], energy=[0.0, 1.0, 1.01, 2.0, np.nan, 3.0])
    state, _ = step(start(replace(PLAIN, cap=2)), segment)
    counts = finish(state)[0].counts
    assert (counts.looked_at, counts.uncertain, counts.plausible, counts.distinct, counts.picked) == (6, 5, 4, 3, 2)


def test_repeated_frames_are_looked_at_once():
    whole = pull([2.0] * 60)
    head, _ = cut(whole, [30])
    _, tail = cut(whole, [29])
    assert chosen(PLAIN, head, tail, tail) == chosen(PLAIN, whole)


def test_share_budget():
    assert share_budget(50, range(4)) == (13, 13, 12, 12)
    assert share_budget(2, range(3)) == (1, 1, 0)
    assert share_budget(3, (0, 1, 2, 0, 1, 2)) == (1, 1, 0, 1, 0, 0)


def test_an_empty_pull_gives_nothing():
    assert finish(start(PLAIN))[1] == ()
    assert finish(start(replace(PLAIN, first_steps=10)))[1] == ()


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    order=st.sampled_from(get_args(CapOrder)),
    seed=st.integers(0, 2**32 - 1),
)
def test_streaming_equals_batch_for_any_cut(data, order, seed):
    rng = np.random.default_rng(seed)
    n, stride = int(rng.integers(1, 300)), int(rng.integers(1, 4))
    spread = rng.lognormal(0.0, 1.0, n)
    spread[rng.random(n) < 0.02] = np.nan
    whole = pull(
        spread, energy=np.cumsum(rng.normal(0.0, 0.05, n)), distance=np.cumsum(rng.normal(0, 0.01, n)), stride=stride
    )
    rule = SelectionRule(
        planned_steps=int(rng.integers(1, 1000)),
        cap=int(rng.integers(0, 20)),
        cap_order=order,
        windows=int(rng.integers(1, 15)),
        threshold=data.draw(st.sampled_from([None, 0.5, 1.0])),
        first_steps=data.draw(st.sampled_from([None, 20, 2000])),
        sigmas=0.3,
        bonds=np.array([[0, 1]]),
        planned_progress=float(rng.uniform(0.05, 1.0)),
    )
    places = data.draw(st.lists(st.integers(0, n), max_size=12))
    batch, streamed = select(rule, [whole]), select(rule, cut(whole, places))
    assert len(batch) <= rule.cap
    assert [frame.step for frame in streamed] == [frame.step for frame in batch]
    for one, other in zip(streamed, batch, strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert (one.energy, one.coordinate, one.spread) == (other.energy, other.coordinate, other.spread)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_first_order_equals_a_plain_loop(seed):
    """The stages written out once more, without state."""
    rng = np.random.default_rng(seed)
    n = 200
    whole = pull(
        rng.lognormal(0, 1, n), energy=np.cumsum(rng.normal(0, 0.05, n)), distance=np.cumsum(rng.normal(0, 0.01, n))
    )
    kept = []
    for row in range(n):
        if whole.spread[row] <= 1.0:
            continue
        if kept and abs(whole.coordinate[row] - whole.coordinate[kept[-1]]) <= 0.01:
            continue
        if kept and abs(whole.energy[row] - whole.energy[kept[-1]]) <= 0.0433641042:
            continue
        kept.append(row)
    assert chosen(replace(PLAIN, cap_order="first", cap=7), whole) == kept[:7]
