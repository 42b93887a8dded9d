"""Fair queue: shares by weight, nobody starves, and of one's own tasks the urgent and the long go first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.execution import fairqueue
from alflow.execution.fairqueue import FairQueue

WEIGHTS = st.lists(st.floats(0.2, 8.0), min_size=2, max_size=6)
SECONDS = st.floats(0.1, 5.0)


def serve(queue: FairQueue[int], lengths: dict[str, float], total: float) -> dict[str, float]:
    """Run one task after another on one worker until so many worker-seconds are used; all owners always have some."""
    used = dict.fromkeys(lengths, 0.0)
    while sum(used.values()) < total:
        taken = queue.take("cpu")
        assert taken is not None
        queue.ended(taken, lengths[taken.owner])
        used[taken.owner] += lengths[taken.owner]
        queue.put(taken.owner, "cpu", "label", 0, 0)
    return used


@given(weights=WEIGHTS, lengths=st.lists(SECONDS, min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_each_gets_worker_seconds_by_its_weight_however_long_its_tasks_are(weights, lengths) -> None:
    queue: FairQueue[int] = FairQueue()
    owners = {f"c{place}": weight for place, weight in enumerate(weights)}
    for owner, weight in owners.items():
        queue.join(owner, weight)
        for _ in range(3):
            queue.put(owner, "cpu", "label", 0, 0)
    each = dict(zip(owners, lengths, strict=False))
    total = 400.0 * max(each.values())
    used = serve(queue, each, total)
    for owner, weight in owners.items():
        due = total * weight / sum(weights)
        slack = (2.0 + 2.0 * weight) * max(each.values()) * len(weights) / min(1.0, *weights)
        assert abs(used[owner] - due) <= slack, (owner, used, due)
        assert queue.seconds(owner)["cpu"] == pytest.approx(used[owner])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), SECONDS), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_and_nothing_is_given_twice(tasks) -> None:
    queue: FairQueue[int] = FairQueue()
    for owner in range(4):
        queue.join(str(owner))
    for number, (owner, priority, _) in enumerate(tasks):
        queue.put(str(owner), "cpu", "label", priority, number)
    gone = queue.leave("3")
    found = []
    while (taken := queue.take("cpu")) is not None:
        found.append(taken.task)
        queue.ended(taken, tasks[taken.task][2])
    assert sorted([*gone, *found]) == list(range(len(tasks)))
    assert {tasks[number][0] for number in gone} <= {3}
    assert (queue.waiting(), queue.running()) == (0, 0)


def test_an_owner_of_much_cheap_work_does_not_keep_another_waiting() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.join("many")
    queue.join("few")
    for _ in range(1000):
        queue.put("many", "cpu", "label", 0, "many")
    first = [queue.take("cpu") for _ in range(10)]
    queue.put("few", "cpu", "label", 2, "few")
    assert {taken.task for taken in first if taken} == {"many"}
    assert queue.take("cpu").task == "few"


def test_of_ones_own_tasks_the_urgent_then_the_long_then_the_old_go_first() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.join("one")
    for what, seconds in (("short", 1.0), ("long", 9.0)):
        queue.put("one", "cpu", what, 0, "")
        queue.ended(queue.take("cpu"), seconds)
    for what, priority, name in (
        ("short", 1, "short"),
        ("short", 1, "later"),
        ("long", 1, "long"),
        ("short", 0, "urgent"),
    ):
        queue.put("one", "cpu", what, priority, name)
    assert [queue.take("cpu").task for _ in range(4)] == ["urgent", "long", "short", "later"]


def test_who_joins_late_or_was_idle_does_not_take_all_for_long(monkeypatch) -> None:
    monkeypatch.setattr(fairqueue, "CREDIT_SECONDS", 10.0)
    queue: FairQueue[int] = FairQueue()
    queue.set_workers("cpu", 2)
    queue.join("old")
    queue.join("idle")
    for _ in range(3):
        queue.put("old", "cpu", "label", 0, 0)
    serve(queue, {"old": 1.0}, 1000.0)
    queue.put("idle", "cpu", "label", 0, 0)
    used = serve(queue, {"old": 1.0, "idle": 1.0}, 100.0)
    assert used["idle"] - used["old"] == pytest.approx(20.0, abs=3.0)
    queue.join("new")
    for _ in range(3):
        queue.put("new", "cpu", "label", 0, 0)
    used = serve(queue, {"old": 1.0, "idle": 1.0, "new": 1.0}, 90.0)
    assert max(used.values()) - min(used.values()) <= 3.0


def test_executors_have_accounts_of_their_own() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.join("one")
    queue.join("two")
    queue.put("one", "gpu", "train", 1, "training")
    queue.ended(queue.take("gpu"), 1000.0)
    queue.put("one", "cpu", "label", 0, "one")
    queue.put("two", "cpu", "label", 0, "two")
    assert [queue.take("cpu").task for _ in range(2)] == ["one", "two"]
    assert queue.take("gpu") is None
