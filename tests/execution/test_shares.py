"""Shares of executors: promises, errors, how much is handed over, and what is dropped with a campaign that leaves."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from alflow.errors import CampaignError
from alflow.execution.shares import Shares
from alflow.workers.result import Call, Outcome, Report

PATIENCE = 20.0


class Site:
    """Executors whose tasks end when they are told to."""

    def __init__(self, workers: int = 2) -> None:
        self.count = workers
        self.tasks: list[tuple[Call, Future]] = []
        self.threads: set[str] = set()
        self.broken = False

    def submit(self, call, silence_s):
        if self.broken:
            raise RuntimeError("it takes nothing")
        self.threads.add(threading.current_thread().name)
        self.tasks.append((call, Future()))
        return self.tasks[-1][1]

    def slots(self, executor):
        if executor == "none":
            raise RuntimeError("it is gone")
        return self.count

    def workers(self, executor):
        return self.count

    def state(self, future):
        return "running"

    def tries(self, future):
        return 3

    def note_duration(self, executor, what, seconds):
        pass

    def end(self, place, value=None, seconds=1.0, error=None):
        future = self.tasks[place][1]
        if error is None:
            future.set_result(Outcome(value, Report("host", 1, 0.0, seconds)))
        else:
            future.set_exception(error)


def call(name, *arguments, executor="cpu", priority=1):
    return Call(name, executor, print, arguments, {}, priority=priority)


def until(done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def shares(site):
    found = Shares(site)
    yield found
    found.stop()


def test_a_task_waits_for_its_promise_and_gets_the_value(site, shares) -> None:
    share = shares.join("a", 1.0)
    first = share.submit(call("first"), 1.0)
    second = share.submit(call("second", first), 1.0)
    until(lambda: site.tasks)
    assert share.state(second) == "pending"
    site.end(0, "state")
    until(lambda: len(site.tasks) == 2)
    assert site.tasks[1][0].arguments[0].value == "state"
    site.end(1, "done")
    assert second.result(PATIENCE).value == "done"
    assert (share.state(second), share.tries(second)) == ("running", 3)
    assert site.threads == {"shares"}


def test_a_task_of_a_promise_that_failed_fails_with_its_cause(site, shares) -> None:
    share = shares.join("a", 1.0)
    first = share.submit(call("first"), 1.0)
    last = share.submit(call("third", share.submit(call("second", first), 1.0)), 1.0)
    until(lambda: site.tasks)
    site.end(0, error=ValueError("planted"))
    assert str(last.exception(PATIENCE)) == "planted"
    assert len(site.tasks) == 1


def test_a_task_that_the_site_does_not_take_fails_alone(site, shares) -> None:
    share = shares.join("a", 1.0)
    site.broken = True
    assert str(share.submit(call("first"), 1.0).exception(PATIENCE)) == "it takes nothing"
    site.broken = False
    share.submit(call("second"), 1.0)
    until(lambda: site.tasks)
    shares.check()


def test_only_what_keeps_the_workers_busy_is_handed_over_and_the_rest_goes_with_its_campaign(site, shares) -> None:
    a, b = shares.join("a", 1.0), shares.join("b", 3.0)
    for _ in range(50):
        a.submit(call("a"), 1.0)
    until(lambda: shares.use("a").waiting == 46)
    assert len(site.tasks) == 4
    for _ in range(50):
        b.submit(call("b"), 1.0)
    for place in range(40):
        until(lambda place=place: len(site.tasks) > place)
        site.end(place)
    until(lambda: shares.use("b").seconds.get("cpu", 0.0) > 20.0)
    names = [task.what for task, _ in site.tasks[4:40]]
    assert names.count("b") == pytest.approx(27, abs=3)
    before = shares.use("a").seconds["cpu"]
    a.close()
    until(lambda: shares.use("a").waiting == 0)
    for place in range(40, 60):
        until(lambda place=place: len(site.tasks) > place)
        site.end(place)
    assert "a" not in [task.what for task, _ in site.tasks[45:]]
    again = shares.join("a", 1.0)
    again.submit(call("a"), 1.0)
    until(lambda: shares.use("a").running or shares.use("a").waiting)
    assert shares.use("a").seconds["cpu"] == before


def test_a_queue_that_ended_is_told_to_who_waits(site, shares) -> None:
    share = shares.join("a", 1.0)
    share.submit(call("lost", executor="none"), 1.0)
    until(lambda: shares._error is not None)
    with pytest.raises(CampaignError, match="The queue of an allocation ended: RuntimeError: it is gone"):
        share.check()


def test_longer_tasks_have_fewer_wait_ahead(site, shares) -> None:
    site.count = 100
    share = shares.join("a", 1.0)
    for _ in range(400):
        share.submit(call("a"), 1.0)
    until(lambda: len(site.tasks) == 200)
    for place in range(60):
        site.end(place, seconds=20.0)
    until(lambda: shares._limits["cpu"] == 110)
    for place in range(60, 160):
        site.end(place, seconds=20.0)
    until(lambda: shares.use("a").running == 110)
    assert shares.use("a").waiting == 130
