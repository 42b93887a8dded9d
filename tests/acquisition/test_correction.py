"""Barrier under the label engine from an audit: a chain that is pulled until it breaks, whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.acquisition.correction import (
    AFTER,
    BEFORE,
    CROSSING,
    START,
    AuditedPull,
    audit_rows,
    corrected_barrier,
    force_apart,
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
    """The potential's chain is too stiff by 4 %: its energy is wrong along the path, and it breaks early."""
    return 0.02 * CHAIN * rest**2, 0.0, 0.04 * CHAIN * rest


def deep_bond(stretch, _rest):
    """The potential's bond is too deep by 2 %: it breaks late."""
    energy, slope = bond(stretch)
    return 0.02 * energy, 0.02 * slope, 0.0


def attraction(stretch, rest):
    """The potential draws the ends together by 0.05 eV/Å, even when the bond is broken."""
    return 0.05 * (stretch + rest), 0.05, 0.05


FORCES = {right: 0.0, stiff_chain: 0.0, deep_bond: 0.0, attraction: -0.05}
"""Force error after the break, eV/Å."""


@pytest.fixture(scope="module")
def pulled():
    return chain(right)


def audited(target, coordinate, errors, force=0.0, frames=(2, 20, 20, 3)):
    rows, window = audit_rows(target, coordinate, np.random.default_rng(0), frames)
    slack = target[-1] - target[windows(target, coordinate)[AFTER].start]
    return AuditedPull(window, (target - coordinate)[rows], errors[rows], np.full(len(rows), force), slack)


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
    rising = audited(target, coordinate, 0.1 * coordinate, force=-0.1).terms()
    falling = audited(-target, -coordinate, 0.1 * coordinate, force=0.1).terms()
    assert rising[1] > 0.05
    assert falling == pytest.approx(rising * [1.0, 1.0, 1.0, -1.0, -1.0])


def test_a_pull_that_does_not_break_cannot_be_told(pulled):
    target, coordinate, errors, _ = pulled
    short = slice(windows(target, coordinate)[BEFORE].start)
    nothing = slice(short.stop, short.stop)
    assert windows(target[short], coordinate[short])[CROSSING:] == (nothing, nothing)
    rows, window = audit_rows(target[short], coordinate[short], np.random.default_rng(0))
    assert window.tolist() == [START, BEFORE]
    pull = AuditedPull(window, np.ones(2), errors[rows], np.zeros(2), 0.0)
    assert np.isnan(pull.terms()).all()
    assert not corrected_barrier(np.array([4.0, 4.1]), [pull, pull]).told


def test_rows_are_drawn_in_equal_parts_and_again_alike(pulled):
    target, coordinate, _, _ = pulled
    frames = (1, 4, 3, 2)
    rows, window = audit_rows(target, coordinate, np.random.default_rng(3), frames)
    assert window.tolist() == [START] + [BEFORE] * 4 + [CROSSING] * 3 + [AFTER] * 2
    assert (np.diff(rows) > 0).all()
    after = windows(target, coordinate)[AFTER]
    assert rows[-2] < (after.start + after.stop) / 2 <= rows[-1]
    assert rows.tolist() == audit_rows(target, coordinate, np.random.default_rng(3), frames)[0].tolist()
    crossing = windows(target, coordinate)[CROSSING]
    many, _ = audit_rows(target, coordinate, np.random.default_rng(3), (0, 0, 10_000, 0))
    assert many.tolist() == list(range(crossing.start, crossing.stop))
    assert audit_rows(np.zeros(1), np.zeros(1), np.random.default_rng(3))[0].tolist() == [0, 0]


@pytest.mark.parametrize("wrong", [stiff_chain, deep_bond, attraction])
def test_the_three_terms_are_what_the_barrier_is_wrong_by(pulled, wrong):
    """In a pull that is slow and cold indeed, the sign of the shift is right, too."""
    right_work = pulled[-1]
    target, coordinate, errors, work = chain(wrong)
    pull = audited(target, coordinate, errors, FORCES[wrong])
    up_to_break, after_break, gained, lag, lost = pull.terms()
    assert abs(work - right_work) > 0.05
    assert up_to_break + after_break + gained * lag / lost == pytest.approx(work - right_work, abs=0.025)
    found = corrected_barrier(work + np.array([-0.2, 0.0, 0.2]), [pull, pull, pull])
    assert found.told
    assert (found.up_to_break, found.after_break) == (pytest.approx(up_to_break), pytest.approx(after_break))
    assert found.error.low < work - right_work < found.error.high
    assert found.barrier.low < right_work < found.barrier.high


def test_fragments_are_moved_whole():
    numbers = np.array([6, 1, 6, 1])
    apart = np.array([[0.0, 0.0, 0.0], [0.0, 1.1, 0.0], [4.0, 0.0, 0.0], [4.0, 1.1, 0.0]])
    forces = np.array([[-3.0, 9.0, 0.0], [1.0, 0.0, 0.0], [5.0, 0.0, 9.0], [-1.0, 0.0, 0.0]])
    assert force_apart(numbers, apart, forces, (0, 2)) == pytest.approx(0.5 * (4.0 + 2.0))
    assert force_apart(numbers, apart, forces, (2, 0)) == pytest.approx(3.0)
    together = apart * [0.4, 1.0, 1.0]
    assert force_apart(numbers, together, forces, (0, 2)) == pytest.approx(0.5 * (5.0 + 3.0))


def audit_of(energy, shift, after=0.0):
    """Return a pull whose terms are these."""
    lag = np.array([0.0, 0.4, 0.3, 0.0])
    errors = np.array([0.0, energy, energy + shift * 0.1 / 0.4, 9.0])
    return AuditedPull(np.arange(4), lag, errors, np.array([9.0, 9.0, 9.0, -after / 0.8]), 0.8)


def test_intervals_by_hand():
    barriers = np.array([6.4, 6.5, 6.6, 6.5, np.nan])
    found = corrected_barrier(barriers, [audit_of(0.01, 0.02, 0.01), audit_of(0.02, 0.03), audit_of(0.02, 0.04, 0.01)])
    scatter, shift = np.sqrt(0.02 / 3), np.hypot(0.03, 0.01 / np.sqrt(3))
    error = np.hypot(4.302653 * np.sqrt(1e-4 / 3) / np.sqrt(3), 1.959964 * shift)
    assert (found.shift, found.scatter) == (pytest.approx(shift), pytest.approx(scatter))
    assert (found.up_to_break, found.after_break) == (pytest.approx(0.05 / 3), pytest.approx(0.02 / 3))
    assert (found.error.mean, found.error.half_width) == (pytest.approx(0.07 / 3), pytest.approx(error, rel=1e-6))
    for interval, factor in ((found.barrier, 0.25), (found.single, 1.25)):
        assert interval.mean == pytest.approx(6.5 - 0.07 / 3)
        assert interval.half_width == pytest.approx(np.hypot(error, 3.182446 * scatter * np.sqrt(factor)), rel=1e-6)


def test_it_cannot_tell_where_the_engines_break_apart():
    barriers = np.array([6.4, 6.5, 6.6, 6.5])
    small = [audit_of(0.01, 0.02)] * 4
    assert corrected_barrier(barriers, small).told
    for wrong in ([audit_of(0.5, 0.0)] * 4, [audit_of(0.0, -0.5)] * 4, small[:1], []):
        found = corrected_barrier(barriers, wrong)
        assert not found.told
        assert not found.error.within(1e9)
        assert np.isinf([one.half_width for one in (found.error, found.barrier, found.single)]).all()
    assert not corrected_barrier(barriers[:1], small).told
    assert corrected_barrier(barriers / 1000.0, small).told  # what is below 1 kcal/mol always is told
    same = AuditedPull(np.arange(4), np.ones(4), np.ones(4), np.zeros(4), 0.8)
    assert not corrected_barrier(barriers, [same] * 4).told


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    pulls=st.integers(4, 20),
    scatter=st.floats(0.05, 0.2),
    error=st.floats(-0.02, 0.02),
    after=st.floats(-0.05, 0.05),
    shift=st.floats(0.0, 0.02),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_stated_intervals_hold(pulls, scatter, error, after, shift, offset, seed):
    """Many campaigns: barriers scatter, the breaking point is off by the shift, whose sign is not known."""
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(400):
        off = error + after + shift * rng.choice([-1.0, 1.0])
        barriers = 6.5 + off + scatter * rng.normal(size=pulls)
        single = 6.5 + scatter * rng.normal()
        audit = [
            audit_of(error + 0.001 * rng.normal(), shift + 0.01 * rng.normal(), after + 0.01 * rng.normal())
            for _ in range(pulls)
        ]
        moved = [replace(pull, energy_errors=pull.energy_errors + offset) for pull in audit]
        found = corrected_barrier(barriers, moved)
        inside = ((found.error, off), (found.barrier, 6.5), (found.single, single))
        if found.told:
            held.append([interval.low <= value <= interval.high for interval, value in inside])
    assert len(held) > 200
    assert (np.mean(held, axis=0) > 0.91).all()
    assert np.mean(held, axis=0)[2] < 0.99
