"""What a run directory gives back is what was put in, and a lock has one holder."""

import numpy as np
import pytest

from alflow.runs.directory import (
    load_dataset,
    load_members,
    load_segment,
    load_state,
    save_dataset,
    save_members,
    save_segment,
    save_state,
)
from alflow.runs.records import Estimate
from alflow.types import (
    Dataset,
    Frames,
    Group,
    Labels,
    MDState,
    Member,
    MemberErrors,
    Segment,
    Split,
    SteeringState,
)

RNG = np.random.default_rng(0)


def state(spring=None, start=None):
    return MDState(7, RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3)), spring, start)


def same(left, right):
    assert left.step == right.step
    assert np.array_equal(left.positions, right.positions)
    assert np.array_equal(left.velocities, right.velocities)
    assert left.steering == right.steering
    assert (left.start is None) == (right.start is None)
    assert left.start is None or np.array_equal(left.start, right.start)


@pytest.mark.parametrize("spring", [None, SteeringState(6.4, -0.1, b"\x00\x01restart")])
@pytest.mark.parametrize("start", [None, RNG.normal(size=3)])
def test_states_survive_to_the_last_bit(tmp_path, spring, start):
    kept = state(spring, start)
    save_state(tmp_path / "state.npz", kept)
    same(load_state(tmp_path / "state.npz"), kept)


@pytest.mark.parametrize("with_forces", [False, True])
def test_segments_survive_to_the_last_bit(tmp_path, with_forces):
    numbers = np.array([6, 1, 1])
    columns = {
        name: RNG.normal(size=4) for name in ("time", "target", "coordinate", "energy", "work", "spread", "temperature")
    }
    segment = Segment(
        frames=Frames.of(numbers, RNG.normal(size=(4, 3, 3)), charge=-1),
        steps=np.arange(4),
        end=state(SteeringState(6.4, 0.2, b"x")),
        stopped="the spread was above 1 eV",
        forces=RNG.normal(size=(4, 3, 3)) if with_forces else None,
        **columns,
    )
    save_segment(tmp_path / "segment.npz", segment)
    back = load_segment(tmp_path / "segment.npz")
    same(back.end, segment.end)
    assert back.stopped == segment.stopped
    assert back.frames.charge == -1
    assert np.array_equal(back.frames.positions, segment.frames.positions)
    assert all(np.array_equal(getattr(back, name), columns[name]) for name in columns)
    assert (back.forces is not None) == with_forces


def test_datasets_survive(tmp_path):
    groups = tuple(
        Group(
            Frames.of(np.arange(1, atoms + 1), RNG.normal(size=(5, atoms, 3))),
            Labels(RNG.normal(size=5), RNG.normal(size=(5, atoms, 3))),
        )
        for atoms in (3, 5)
    )
    save_dataset(tmp_path / "dataset.npz", Dataset(groups))
    back = load_dataset(tmp_path / "dataset.npz")
    assert len(back) == 10
    assert np.array_equal(back.groups[1].labels.forces, groups[1].labels.forces)


def test_members_survive(tmp_path):
    errors = MemberErrors(0.1, 0.2, 0.3, 0.4)
    member = Member(2, Split(np.array([0, 2]), np.array([1])), errors, errors, errors, best_epoch=3, epochs=5)
    save_members(tmp_path / "members.json", (member,))
    (back,) = load_members(tmp_path / "members.json")
    assert back.valid_errors == errors
    assert back.split.train.tolist() == [0, 2]
    assert (back.index, back.best_epoch, back.epochs) == (2, 3, 5)


def test_an_estimate_has_an_interval_from_two_values_on():
    assert Estimate.of([1.0]).ci95 is None
    estimate = Estimate.of([1.0, 3.0])
    assert estimate.mean == 2.0
    assert estimate.ci95 == pytest.approx(12.706, rel=1e-3)
