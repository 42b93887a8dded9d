"""The rate that the label farm tells: over the time that labels were asked for, and no other."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.config.campaign import LabelSettings
from alflow.execution.graph import WorkerGoneError
from alflow.farm import queue as farming
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger, Origin
from alflow.types import Frames
from alflow.workers.models import EngineModel
from alflow.workers.result import Outcome, Report


class Clock:
    """A clock that is set by hand, and a graph whose tasks come back when they are told to."""

    def __init__(self, monkeypatch, path):
        self.now, self.tasks, self.asked = 1000.0, [], 0
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now)
        monkeypatch.setattr(farming, "time", clock)
        graph = SimpleNamespace(capacity=lambda _: 2, submit=self._submit, exchange=None)
        labels = LabelSettings.model_validate({"engine": "sleep", "frames_per_task": 5})
        self.farm = LabelFarm(graph, Ledger.open(path), EngineModel("sleep", {}), labels, "theory")

    def _submit(self, call, handler, **_):
        positions = call.arguments[3]
        self.tasks.append((handler, len(positions)))

    def ask(self, count):
        """Ask for labels that nobody asked for before."""
        positions = np.zeros((count, 2, 3))
        positions[:, 1, 2] = 1.0 + 1e-3 * (self.asked + np.arange(count))
        self.asked += count
        frames = Frames.of(np.array([1, 1]), positions, 0)
        self.farm.request(frames, [Origin("selected", 0, step=step) for step in range(count)])

    def answer(self):
        """Let the task that waits longest come back."""
        handler, count = self.tasks.pop(0)
        value = {
            "theory": "theory",
            "rows": np.arange(count),
            "energies": np.zeros(count),
            "forces": np.zeros((count, 2, 3)),
            "failures": [],
            "seconds": np.full(count, 0.1),
            "cycles": np.ones(count, dtype=np.int64),
        }
        handler(Outcome(value, Report("host", 1, self.now - 1.0, self.now)))

    def lose(self):
        """Let the task that waits longest be lost with its worker."""
        self.tasks.pop(0)[0](WorkerGoneError("gone"))


@pytest.fixture
def clock(monkeypatch, tmp_path):
    return Clock(monkeypatch, tmp_path / "ledger.sqlite")


def test_outsider_time_without_labels_in_flight_does_not_count(clock):
    clock.now += 500.0  # training
    clock.ask(10)
    clock.now += 2.0
    clock.answer()
    assert clock.farm.rate() == pytest.approx(5 / 2)
    clock.answer()
    clock.now += 1000.0  # the pull goes on, and picks nothing
    assert clock.farm.rate() == pytest.approx(10 / 2)
    clock.ask(10)
    clock.now += 3.0
    clock.answer()
    clock.answer()
    assert clock.farm.rate() == pytest.approx(20 / 5)
    clock.farm.new_account()
    assert clock.farm.rate() == 0.0


def test_outsider_labels_that_were_known_do_not_make_it_quick(clock):
    clock.ask(10)
    clock.now += 5.0
    clock.answer()
    clock.answer()
    clock.asked = 0
    clock.farm.new_account()
    clock.ask(15)  # ten of which are in the ledger
    clock.now += 1.0
    clock.answer()
    assert (clock.farm.done, clock.farm.wanted, clock.farm.known) == (15, 15, 10)
    assert clock.farm.rate() == pytest.approx(5.0)


def test_what_is_in_flight_is_not_asked_for_again_and_counts_for_all_that_asked(clock):
    clock.ask(5)
    clock.asked = 0
    clock.ask(10)  # five of which are in flight
    assert [count for _, count in clock.tasks] == [5, 5]
    clock.answer()
    assert (clock.farm.done, clock.farm.wanted, clock.farm.failed) == (10, 15, 0)
    clock.answer()
    assert (clock.farm.done, clock.farm.idle(), clock.farm.in_flight()) == (15, True, {})


def test_enough_is_a_share_of_the_account_and_all_of_the_audit(clock):
    clock.ask(10)
    assert not clock.farm.enough(0.5)
    clock.answer()
    assert clock.farm.enough(0.5)
    assert not clock.farm.enough(0.51)
    frames = Frames.of(np.array([1, 1]), np.array([[[0.0, 0, 0], [0, 0, 9.0]]]), 0)
    clock.farm.request(frames, [Origin("audit", 0)])
    assert not clock.farm.enough(0.1)
    clock.tasks.append(clock.tasks.pop(0))
    clock.answer()  # the audit's
    assert clock.farm.enough(0.5)
    assert not clock.farm.enough(1.0)
    late = set(clock.farm.in_flight())
    clock.farm.new_account(late)
    clock.asked = 5
    clock.ask(5)
    assert (clock.farm.wanted, clock.farm.done) == (5, 0)
    clock.answer()
    assert clock.farm.enough(1.0)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(["ask", "answer", "lose", "wait", "look"]), max_size=40))
def test_outsider_the_rate_is_labels_over_the_time_that_any_was_in_flight(tmp_path_factory, steps):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch, tmp_path_factory.mktemp("farm") / "ledger.sqlite")
        waited = arrived = 0.0
        for step in steps:
            if step == "ask":
                clock.ask(5)
            elif step == "answer" and clock.tasks:
                arrived += clock.tasks[0][1]
                clock.answer()
            elif step == "lose" and clock.tasks:
                clock.lose()
            elif step == "wait":
                clock.now += 2.0
                waited += 0.0 if clock.farm.idle() else 2.0
            expected = arrived / waited if waited else 0.0
            assert clock.farm.rate() == pytest.approx(expected)
        assert clock.farm.done <= clock.farm.wanted
