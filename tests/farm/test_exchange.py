"""Labels that two campaigns of one theory ask for are computed once, whatever becomes of the one that computes them."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.config.campaign import LabelSettings
from alflow.errors import FailureReason
from alflow.farm.exchange import LabelExchange
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger, Origin
from alflow.types import Frames, LabelBatch, LabelFailure, Labels
from alflow.workers.models import EngineModel
from alflow.workers.reply import LabelReply
from alflow.workers.result import Outcome, Report

NUMBERS = np.array([6, 1])


class Campaign:
    """A farm whose tasks come back when they are told to, and what is posted to its thread."""

    def __init__(self, exchange: LabelExchange, name: str, folder, theory: str = "theory") -> None:
        self.seat = exchange.join(name)
        self.posted: deque = deque()
        self.tasks: deque = deque()
        self.computed: list[float] = []
        graph = SimpleNamespace(capacity=lambda _: 2, submit=self._submit, exchange=self.seat, post=self.posted.append)
        self.ledger = Ledger.open(folder / f"{name}.sqlite")
        labels = LabelSettings(engine="sleep", frames_per_task=2)
        self.farm = LabelFarm(graph, self.ledger, EngineModel("sleep", {}), labels, theory)
        self.steps = 0

    def _submit(self, call, handler, **_: object) -> None:
        self.tasks.append((call.arguments[3], handler))

    def ask(self, *places: float) -> None:
        positions = np.array([[[0.0, 0.0, 0.0], [place, 0.0, 0.0]] for place in places]).reshape(-1, 2, 3)
        self.steps += 1
        origins = [Origin("selected", 0, 0, self.steps, row) for row in range(len(places))]
        self.farm.request(Frames.of(NUMBERS, positions), origins)

    def work(self, theory: str = "theory", bad: tuple[float, ...] = ()) -> None:
        """Let the first task come back."""
        positions, handler = self.tasks.popleft()
        places = positions[:, 1, 0]
        self.computed += places.tolist()
        good = np.array([row for row, place in enumerate(places) if place not in bad], dtype=np.int64)
        failures = tuple(
            LabelFailure(row, reason(), "as told", "host") for row, place in enumerate(places) if place in bad
        )
        batch = LabelBatch(
            good,
            Labels(-places[good], positions[good] * 2.0),
            failures,
            np.full(len(places), 0.1),
            np.full(len(places), 3),
        )
        handler(Outcome(LabelReply(batch, theory).pack(), Report("host", 1, 0.0, 0.1)))

    def listen(self) -> None:
        while self.posted:
            self.posted.popleft()()

    def digest(self) -> str:
        self.ledger.commit()
        return self.ledger.digest()


def reason() -> FailureReason:
    return "timeout"


@pytest.fixture
def two(tmp_path):
    exchange = LabelExchange()
    return Campaign(exchange, "a", tmp_path), Campaign(exchange, "b", tmp_path)


def test_what_another_has_in_flight_is_waited_for_and_stored_in_both(two) -> None:
    a, b = two
    a.ask(1.0, 2.0)
    b.ask(1.0, 2.0)
    assert not b.tasks
    assert not b.farm.idle()
    a.work()
    assert not b.farm.idle()
    b.listen()
    assert b.farm.idle()
    assert a.digest() == b.digest()
    assert (b.seat.shared, b.computed, sorted(a.computed)) == (2, [], [1.0, 2.0])
    assert (b.farm.done, b.farm.wanted) == (2, 2)


def test_what_anothers_ledger_holds_is_taken_from_there(two) -> None:
    a, b = two
    a.ask(1.0, 2.0)
    a.work()
    a.ledger.commit()
    a.seat.exchange._recent.clear()
    b.ask(1.0, 2.0)
    assert b.farm.idle()
    assert a.digest() == b.digest()


def test_what_has_just_come_and_is_in_no_ledger_yet_is_known(two) -> None:
    a, b = two
    a.ask(1.0)
    a.work()
    b.ask(1.0)
    assert b.farm.idle()
    assert not b.tasks


def test_a_failure_is_found_by_each_itself(two) -> None:
    a, b = two
    a.ask(1.0, 2.0)
    b.ask(1.0, 2.0)
    a.work(bad=(2.0,))
    b.listen()
    assert not b.farm.idle()
    b.work()
    assert b.farm.idle()
    assert b.computed == [2.0]
    assert (a.farm.failed, b.farm.failed) == (1, 0)


def test_who_leaves_hands_its_work_to_those_that_wait(two) -> None:
    a, b = two
    a.ask(1.0, 2.0)
    b.ask(1.0, 2.0)
    a.seat.leave()
    b.listen()
    while b.tasks:
        b.work()
    assert b.farm.idle()
    assert sorted(b.computed) == [1.0, 2.0]


def test_another_theory_shares_nothing(tmp_path) -> None:
    exchange = LabelExchange()
    a, b = Campaign(exchange, "a", tmp_path), Campaign(exchange, "b", tmp_path, "other")
    a.ask(1.0)
    b.ask(1.0)
    assert len(b.tasks) == 1


def test_a_ledger_that_cannot_be_read_is_no_reason_to_fail(two, tmp_path) -> None:
    a, b = two
    a.ask(1.0)
    a.work()
    a.ledger.close()
    (tmp_path / "a.sqlite").write_bytes(b"no ledger" * 1000)
    a.seat.exchange._recent.clear()
    b.ask(1.0)
    b.work()
    assert b.farm.idle()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 2), st.lists(st.integers(1, 5), min_size=1, max_size=4)),
        st.tuples(st.just("work"), st.integers(0, 2), st.just([])),
        st.tuples(st.just("listen"), st.integers(0, 2), st.just([])),
        st.tuples(st.just("leave"), st.integers(1, 2), st.just([])),
    ),
    max_size=25,
)


@given(steps=STEPS, bad=st.sets(st.integers(1, 5), max_size=2))
@settings(max_examples=40, deadline=None)
def test_in_whatever_order_things_happen_all_get_their_labels_and_none_is_computed_twice(
    tmp_path_factory, steps, bad
) -> None:
    folder, exchange = tmp_path_factory.mktemp("exchange"), LabelExchange()
    campaigns = [Campaign(exchange, name, folder) for name in "abc"]
    wanted: list[set[float]] = [set(), set(), set()]
    left: set[int] = set()
    failing = tuple(float(place) for place in bad)
    for action, which, places in steps:
        if which not in left:
            act(campaigns[which], action, places, failing)
            wanted[which] |= set(map(float, places))
            left |= {which} if action == "leave" else set()
    staying = [which for which in range(3) if which not in left]
    while any(campaigns[which].tasks or campaigns[which].posted for which in staying):
        for which in staying:
            act(campaigns[which], "listen", [], failing)
            act(campaigns[which], "work", [], failing)
    for which in staying:
        one = campaigns[which]
        assert one.farm.idle()
        one.ledger.commit()
        assert one.ledger.counts().labelled == len(wanted[which] - set(failing))
        assert one.ledger.counts().failed == len(wanted[which] & set(failing))
    computed = [place for one in campaigns for place in set(one.computed) if place not in failing]
    assert left or len(computed) == len(set(computed))
    for one in campaigns:
        one.ledger.close()


def act(one: Campaign, action: str, places: list[int], failing: tuple[float, ...]) -> None:
    if action == "ask":
        one.ask(*map(float, places))
    elif action == "work" and one.tasks:
        one.work(bad=failing)
    elif action == "listen":
        one.listen()
    elif action == "leave":
        one.seat.leave()
