"""Worker pools that could only stand still start anew, and the tasks that they held run again."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import types

import processes
import pytest
import workertasks

from alflow.execution import pool
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.runs.events import EventLog
from alflow.workers import result as outcome

OPTIONS = {"workers": "2", "gpu_workers": "1", "heartbeat_seconds": "1", "heartbeat_limit_seconds": "4"}


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(workertasks.FOLDER), prepend=":")
    events = EventLog(tmp_path / "events.jsonl")
    graph = TaskGraph(load_site(find_site("local"), tmp_path, OPTIONS), events)
    yield graph
    graph.close()
    events.close()


def run(graph: TaskGraph, count: int, seconds: float = 0.01) -> list[object]:
    """Run tasks to their end, and return what came."""
    found: list[object] = []
    for _ in range(count):
        graph.submit(outcome.App("nap", "cpu", workertasks.nap)(seconds), found.append)
    graph.run_until(lambda: len(found) == count)
    return found


@pytest.mark.parametrize("victims", [processes.table, processes.workers], ids=["table", "idle workers"])
def test_pool_that_stands_still_starts_anew(graph, tmp_path, victims) -> None:
    run(graph, 4)
    folder = tmp_path / "parsl" / "000" / "cpu"
    (before,) = processes.pools(folder)
    time.sleep(2.0)  # until all workers have started, and wait for a task
    struck = victims(before)
    assert struck
    for victim in struck:  # an idle worker holds the lock of the queue
        os.kill(victim, signal.SIGKILL)
    found = run(graph, 6, 0.2)
    assert [type(one) for one in found] == [outcome.Outcome] * 6
    assert processes.pools(folder) == [before]  # the same process, and so the same job of the batch system


class Counter:
    def __init__(self) -> None:
        self.value = 1

    def get_obj(self) -> Counter:
        return self

    def get_lock(self) -> threading.Lock:
        return self.lock

    lock = threading.Lock()


class Queue:
    def __init__(self) -> None:
        self.waiting: list[object] = []
        self._wlock = threading.Lock()

    def qsize(self) -> int:
        return len(self.waiting)


class Scheduler:
    """Queues of a pool whose workers are the test."""

    def __init__(self, tasks: Queue) -> None:
        self.tasks, self.answers = tasks, []

    def put_task(self, task: dict[str, int]) -> None:
        self.tasks.waiting.append(task)

    def get_result(self) -> bytes:
        return self.answers.pop()


class Manager:
    """What the supervisor sees of Parsl's manager."""

    enable_mpi_mode = False
    worker_count = 2
    heartbeat_threshold = 10.0

    def __init__(self) -> None:
        self._mp_manager = types.SimpleNamespace(_process=types.SimpleNamespace(is_alive=lambda: self.table_lives))
        self.table_lives = True
        self.ready_worker_count = Counter()
        self.pending_task_queue, self.pending_result_queue = Queue(), Queue()
        self.task_scheduler = Scheduler(self.pending_task_queue)
        self._tasks_in_progress: dict[int, dict[str, int]] = {}
        self.start_time = time.time()


class Watched:
    """A supervisor, and a pool and a clock that a test moves."""

    def __init__(self, monkeypatch) -> None:
        self.manager, self.now = Manager(), 0.0
        self.children = [types.SimpleNamespace(name=f"HTEX-Worker-{rank}", pid=100 + rank) for rank in range(2)]
        monkeypatch.setattr(pool.multiprocessing, "active_children", lambda: self.children)
        self.supervisor = pool.Supervisor(self.manager, lambda: self.now)
        self.supervisor.follow()
        assert self.look() == ""

    def look(self, later: float = 0.0) -> str:
        self.now += later
        return self.supervisor.look()

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.manager.task_scheduler.put_task({"task_id": number})

    def take(self, worker: int) -> None:
        self.manager._tasks_in_progress[worker] = self.manager.pending_task_queue.waiting.pop(0)

    def answer(self, number: int) -> None:
        self.manager.task_scheduler.answers.append(pickle.dumps({"type": "result", "task_id": number}))
        self.manager.task_scheduler.get_result()

    def kill_worker(self) -> None:
        self.children = [*self.children[1:], types.SimpleNamespace(name="HTEX-Worker-0", pid=self.children[-1].pid + 1)]


@pytest.fixture
def watched(monkeypatch) -> Watched:
    return Watched(monkeypatch)


def test_dead_table_is_seen_at_once(watched) -> None:
    watched.manager.table_lives = False
    assert "table of tasks died" in watched.look()


def test_slow_pool_is_left_alone_as_long_as_nobody_died(watched) -> None:
    watched.put(1, 2, 3)
    watched.take(0)
    assert [watched.look(1e4) for _ in range(3)] == [""] * 3


def test_pool_whose_workers_never_get_ready_starts_anew(monkeypatch) -> None:
    monkeypatch.setattr(pool.multiprocessing, "active_children", list)
    manager = Manager()
    manager.ready_worker_count.value = 0
    supervisor = pool.Supervisor(manager)
    assert supervisor.look() == ""
    manager.start_time -= 2.0 * pool.LONGEST_START_S
    assert "none of its workers was ready" in supervisor.look()
    manager.ready_worker_count.value = 1
    assert supervisor.look() == ""


def test_idle_workers_that_take_nothing_after_a_death(watched) -> None:
    watched.kill_worker()
    assert watched.look(1.0) == ""
    watched.put(1, 2)
    assert [watched.look(5.0), watched.look(5.0)] == ["", ""]
    assert "2 tasks wait" in watched.look(20.0)


def test_tasks_that_wait_behind_busy_workers_are_no_sign(watched) -> None:
    watched.kill_worker()
    watched.put(1, 2, 3)
    watched.take(0)
    watched.take(1)
    assert [watched.look(1e4) for _ in range(3)] == [""] * 3
    del watched.manager._tasks_in_progress[0]
    watched.answer(1)
    assert watched.look(1.0) == ""
    watched.take(0)
    assert [watched.look(1e4) for _ in range(3)] == [""] * 3


def test_result_lost_with_its_worker(watched) -> None:
    watched.put(1, 2)
    watched.take(0)
    watched.take(0)  # the first one's result is on its way when the second one ends the worker
    watched.kill_worker()
    assert watched.look(1.0) == ""
    watched.answer(2)
    del watched.manager._tasks_in_progress[0]
    assert watched.look(5.0) == ""
    assert "result of a task was lost" in watched.look(30.0)


def test_result_that_arrives_late_is_not_lost(watched) -> None:
    watched.put(1)
    watched.take(0)
    del watched.manager._tasks_in_progress[0]
    watched.kill_worker()
    assert watched.look(1.0) == ""
    watched.answer(1)
    assert [watched.look(1e4) for _ in range(3)] == [""] * 3


@pytest.mark.parametrize("name", ["queue of results", "counter"])
def test_lock_of_a_dead_worker(watched, name) -> None:
    lock = {
        "queue of results": watched.manager.pending_result_queue._wlock,
        "counter": watched.manager.ready_worker_count.get_lock(),
    }[name]
    watched.supervisor.patience_s = 0.05
    with lock:
        watched.kill_worker()
        assert name in watched.look()
    watched.kill_worker()
    assert watched.look() == ""


def test_pool_that_starts_later_stops_taking_tasks_sooner() -> None:
    given = ["--port=5", "--drain_period=3300", "-p", "2"]
    assert pool.later_arguments(given, 300.5) == ["--port=5", "--drain_period=2999", "-p", "2"]
    assert pool.later_arguments(["--drain_period=None"], 300.0) == ["--drain_period=None"]
