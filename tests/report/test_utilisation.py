import numpy as np
import pytest

from alflow.report.utilisation import Spans, utilisation

START = {"what": "driver", "state": "start"}
END = {"what": "driver", "state": "finished"}


def workers(time, count, executor="cpu"):
    return {"what": "workers", "time": time, "executor": executor, "workers": count}


def task(started, ended, executor="cpu"):
    fields = {"what": "label", "task": 1, "executor": executor, "outcome": "ok"}
    return {**fields, "time": ended + 0.1, "started": started, "ended": ended}


def of(events, executor="cpu"):
    return next(found for found in utilisation(events) if found.executor == executor)


def test_busy_over_held():
    events = [{**START, "time": 0.0}, workers(1.0, 2), task(1.0, 4.0), task(2.0, 4.0), {**END, "time": 11.0}]
    found = of(events)
    assert found.held.seconds == pytest.approx(20.0)
    assert found.busy.seconds == pytest.approx(5.0)
    assert found.share == pytest.approx(0.25)


def test_workers_that_come_and_go_are_held_while_they_are_connected():
    events = [{**START, "time": 0.0}, workers(0.0, 1), workers(5.0, 3), workers(7.0, 0), {**END, "time": 20.0}]
    assert of(events).held.seconds == pytest.approx(5.0 + 6.0)


def test_the_pause_between_two_drivers_is_not_held():
    first = [{**START, "time": 0.0}, workers(0.0, 1), {**END, "time": 10.0}]
    second = [{**START, "time": 1000.0}, workers(1000.0, 1), {**END, "time": 1005.0}]
    assert of([*first, *second]).held.seconds == pytest.approx(15.0)


def test_a_killed_driver_held_its_workers_until_its_last_line():
    killed = [{**START, "time": 0.0}, workers(0.0, 2), task(1.0, 8.9)]
    again = [{**START, "time": 500.0}, workers(500.0, 2), {**END, "time": 501.0}]
    assert of([*killed, *again]).held.seconds == pytest.approx(2 * 9.0 + 2 * 1.0)


def test_a_task_that_was_lost_counts_as_idle_and_executors_are_apart():
    lost = {"what": "label", "task": 2, "executor": "cpu", "time": 5.0, "outcome": "WorkerGoneError: gone"}
    events = [{**START, "time": 0.0}, workers(0.0, 1), workers(0.0, 1, "gpu"), lost, task(1.0, 3.0, "gpu")]
    events.append({**END, "time": 10.0})
    assert of(events).share == 0.0
    assert of(events, "gpu").share == pytest.approx(0.2)


def test_nothing_held_gives_no_share():
    assert np.isnan(of([]).share)


def test_mean_workers_in_bins():
    spans = Spans(np.array([0.0, 1.0]), np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(spans.mean_in(np.array([0.0, 1.0, 2.0, 4.0, 6.0])), [1.0, 3.0, 2.0, 0.0])
