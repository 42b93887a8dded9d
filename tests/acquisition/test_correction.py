"""Barrier under the label engine from an audit: a chain that is pulled until it breaks, whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.acquisition.correction import (
    BEFORE,
    CROSSING,
    START,
    AuditedPull,
    audit_rows,
    corrected_barrier,
    windows,
)

SPRING, CHAIN, DEPTH, RANGE = 10.0, 5.0, 4.5, 2.0
"""eV/Å² of the pulling spring and of the rest of the chain; eV and 1/Å of the Morse bond that breaks."""


def bond(length):
    """Return energy and slope of the bond stretched by a length."""
    decay = np.exp(-RANGE * length)
    return DEPTH * (1.0 - decay) ** 2, 2.0 * DEPTH * RANGE * decay * (1.0 - decay)


def chain(error):
    """Pull a Morse bond and a spring in series, overdamped; `error` gives e and its slopes along bond and chain.

    Returns target, coordinate, e of each record, and the work.
    """
    stretch = rest = work = 0.0
    records = []
    for step in range(3000):
        target = 1e-3 * step
        for _ in range(10):
            force = SPRING * (target - stretch - rest)
            _, along_bond, along_rest = error(stretch, rest)
            stretch, rest = (
                stretch + 0.004 * (force - bond(stretch)[1] - along_bond),
                rest + 0.004 * (force - CHAIN * rest - along_rest),
            )
        records.append((target, stretch + rest, error(stretch, rest)[0]))
        work += 1e-3 * SPRING * (target - stretch - rest)
    return *np.array(records).T, work


def right(_stretch, _rest):
    return 0.0, 0.0, 0.0


def stiff_chain(_stretch, rest):
    """The potential's chain is too stiff by 4 %: its energy is wrong along the path, the bond's is right."""
    return 0.02 * CHAIN * rest**2, 0.0, 0.04 * CHAIN * rest


def deep_bond(stretch, _rest):
    """The potential's bond is too deep by 2 %: the break is late, too."""
    energy, slope = bond(stretch)
    return 0.02 * energy, 0.02 * slope


@pytest.fixture(scope="module")
def pulled():
    return chain(right)


def audited(target, coordinate, errors, seed=0, frames=(2, 5, 5)):
    rows, window = audit_rows(target, coordinate, np.random.default_rng(seed), frames)
    return AuditedPull(window, (target - coordinate)[rows], coordinate[rows], errors[rows])


def test_the_windows_lie_before_and_in_the_break(pulled):
    target, coordinate, _, work = pulled
    start, before, crossing, after = windows(target, coordinate)
    lag = target - coordinate
    assert start.start == 0
    assert target[start].max() <= 0.1 * lag.max()
    assert before.stop == crossing.start
    assert lag[before].min() > 0.9 * lag.max()
    assert 0.7 * lag.max() < lag[crossing].min()
    assert lag[crossing].max() < lag.max()
    assert np.ptp(target[before]) == pytest.approx(0.1 * lag.max(), abs=2e-3)
    assert after.stop == len(target)
    assert lag[after].max() < 0.5 * lag.max()
    assert work > DEPTH


def test_a_coordinate_that_falls_has_the_same_windows(pulled):
    target, coordinate, _, _ = pulled
    assert windows(-target, -coordinate) == windows(target, coordinate)
    rising = audited(target, coordinate, 0.1 * coordinate).terms()
    assert audited(-target, -coordinate, 0.1 * coordinate).terms() == pytest.approx(rising)


def test_a_pull_that_does_not_break_cannot_be_told(pulled):
    target, coordinate, errors, _ = pulled
    short = slice(windows(target, coordinate)[1].start)
    assert windows(target[short], coordinate[short])[2] == slice(short.stop, short.stop)
    pull = audited(target[short], coordinate[short], errors[short])
    assert np.isnan(pull.terms()).all()
    assert not corrected_barrier(np.array([4.0, 4.1]), [pull, pull]).told


def test_rows_are_drawn_once_in_each_window_and_again_alike(pulled):
    target, coordinate, _, _ = pulled
    rows, window = audit_rows(target, coordinate, np.random.default_rng(3), (1, 4, 3))
    assert window.tolist() == [START] + [BEFORE] * 4 + [CROSSING] * 3
    assert len(set(rows.tolist())) == 8
    assert rows.tolist() == audit_rows(target, coordinate, np.random.default_rng(3), (1, 4, 3))[0].tolist()
    crossing = windows(target, coordinate)[2]
    many, _ = audit_rows(target, coordinate, np.random.default_rng(3), (0, 0, 10_000))
    assert many.tolist() == list(range(crossing.start, crossing.stop))
    assert audit_rows(np.zeros(1), np.zeros(1), np.random.default_rng(3))[0].tolist() == [0, 0]


def test_an_error_along_the_path_is_what_the_barrier_is_wrong_by(pulled):
    _, _, _, right_work = pulled
    target, coordinate, errors, work = chain(stiff_chain)
    energy, shift = audited(target, coordinate, errors).terms()
    assert abs(work - right_work) > 0.04
    assert energy == pytest.approx(work - right_work, rel=0.15)
    assert abs(shift) < abs(energy)


def test_a_late_break_is_within_the_shift(pulled):
    _, _, _, right_work = pulled

    def late(stretch, rest):
        return *deep_bond(stretch, rest), 0.0

    target, coordinate, errors, work = chain(late)
    energy, shift = audited(target, coordinate, errors).terms()
    assert work > right_work
    assert abs(work - right_work - energy) < 1.96 * abs(shift)
    found = corrected_barrier(work + np.array([-0.1, 0.0, 0.1]), [audited(target, coordinate, errors)] * 3)
    assert found.told
    assert found.error.low < work - right_work < found.error.high
    assert found.barrier.low < right_work < found.barrier.high


def audit_of(energy, shift):
    """Return a pull whose terms are these."""
    lag = np.array([0.0, 0.4, 0.3])
    return AuditedPull(
        np.arange(3), lag, np.array([0.0, 2.0, 2.2]), np.array([0.0, energy, energy + shift * 0.2 / 0.4])
    )


def test_intervals_by_hand():
    barriers = np.array([6.4, 6.5, 6.6, 6.5, np.nan])
    found = corrected_barrier(barriers, [audit_of(0.01, 0.02), audit_of(0.02, -0.02), audit_of(0.03, 0.02)])
    scatter = np.sqrt(0.02 / 3)
    error = np.hypot(4.302653 * 0.01 / np.sqrt(3), 1.959964 * 0.02)
    assert (found.shift, found.scatter) == (pytest.approx(0.02), pytest.approx(scatter))
    assert (found.error.mean, found.error.half_width) == (pytest.approx(0.02), pytest.approx(error, rel=1e-6))
    for interval, centre, factor in (
        (found.barrier, 6.48, 0.25),
        (found.single, 6.48, 1.25),
        (found.pair, 0.02, 2.0),
    ):
        assert interval.mean == pytest.approx(centre)
        assert interval.half_width == pytest.approx(np.hypot(error, 3.182446 * scatter * np.sqrt(factor)), rel=1e-6)


def test_it_cannot_tell_where_the_engines_break_apart():
    barriers = np.array([6.4, 6.5, 6.6, 6.5])
    small = [audit_of(0.01, 0.02)] * 4
    assert corrected_barrier(barriers, small).told
    for wrong in ([audit_of(0.5, 0.0)] * 4, [audit_of(0.0, -0.5)] * 4, small[:1], []):
        found = corrected_barrier(barriers, wrong)
        assert not found.told
        assert not found.error.within(1e9)
        assert np.isinf([one.half_width for one in (found.error, found.barrier, found.single, found.pair)]).all()
    assert not corrected_barrier(barriers[:1], small).told
    assert corrected_barrier(barriers / 1000.0, small).told  # what is below 1 kcal/mol always is told
    same = AuditedPull(np.arange(3), np.ones(3), np.ones(3), np.zeros(3))
    assert not corrected_barrier(barriers, [same] * 4).told


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    pulls=st.integers(4, 20),
    scatter=st.floats(0.05, 0.2),
    error=st.floats(-0.02, 0.02),
    shift=st.floats(0.0, 0.02),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_stated_intervals_hold(pulls, scatter, error, shift, offset, seed):
    """Many campaigns: barriers scatter, the breaking point is off by a standard deviation of `shift`."""
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(400):
        off = error + shift * rng.normal()
        barriers = 6.5 + off + scatter * rng.normal(size=pulls)
        single = 6.5 + scatter * rng.normal(size=pulls)
        audit = [audit_of(error + 0.001 * rng.normal(), shift * rng.choice([-1.0, 1.0])) for _ in range(pulls)]
        moved = [AuditedPull(a.window, a.lag, a.coordinate, a.errors + offset) for a in audit]
        found = corrected_barrier(barriers, moved)
        if not found.told:
            continue
        held.append(
            (
                found.error.low <= off <= found.error.high,
                found.barrier.low <= 6.5 <= found.barrier.high,
                found.single.low <= single[0] <= found.single.high,
                found.pair.low <= barriers[0] - single[0] <= found.pair.high,
            )
        )
    assert len(held) > 200
    assert (np.mean(held, axis=0) > 0.91).all()
    assert np.mean(held, axis=0)[1:3].max() < 0.995
