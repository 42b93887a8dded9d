"""What Parsl does not notice by itself: dead interchanges, unfit workers, empty blocks, an end that hangs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from alflow.errors import CampaignError, CanaryError
from alflow.execution import monitor as watch
from alflow.execution.monitor import ExecutorMonitor


class Process:
    code: int | None = None
    killed = False

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed = True


class Status:
    terminal = False


class Provider:
    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.walltime, self.min_blocks = "01:00:00", 0

    def cancel(self, jobs: list[str]) -> None:
        self.cancelled += jobs


class Executor:
    """What the watch sees of Parsl's HighThroughputExecutor."""

    bad_state_is_set = False
    executor_exception: Exception | None = None

    def __init__(self, *managers: tuple[str, str, int]) -> None:
        self.interchange_proc = Process()
        self.provider = Provider()
        self.blocks_to_job_id = {"0": "job-0", "1": "job-1"}
        self.status_facade = {"0": Status(), "1": Status()}
        self.answers = threading.Event()
        self.answers.set()
        self.managers = [
            {
                "manager": name,
                "block_id": block,
                "worker_count": count,
                "active": True,
                "tasks": 0,
                "idle_duration": 0.0,
            }
            for name, block, count in managers
        ]

    def connected_managers(self) -> list[dict[str, Any]]:
        self.answers.wait()
        return list(self.managers)

    def _hold_manager(self, name: str) -> None:
        for manager in self.managers:
            if manager["manager"] == name:
                manager["active"] = False

    def set_bad_state_and_fail_all(self, error: Exception) -> None:
        self.bad_state_is_set = True


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "CLOSE_BROKEN_SECONDS", 0.2)


def settle(seen: ExecutorMonitor, workers: int) -> None:
    deadline = time.monotonic() + 5.0
    while seen.workers("cpu") != workers:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_workers_are_counted_and_their_loss_is_told() -> None:
    executor, said, events = Executor(("a", "0", 4), ("b", "0", 4)), [], []
    seen = ExecutorMonitor({"cpu": executor}, lambda what, **fields: events.append((what, fields)), said.append)
    settle(seen, 8)
    seen.check()
    jobs = [("job", {"executor": "cpu", "block": block, "job": f"job-{block}"}) for block in "01"]
    assert events == [*jobs, ("workers", {"executor": "cpu", "workers": 8, "before": 0})]
    seen.check()
    assert len(events) == 3
    assert said == []
    executor.managers.pop()
    settle(seen, 4)
    seen.check()
    assert "4 workers, 8 before" in said[0]


def test_dead_interchange_ends_the_campaign_even_while_it_is_asked() -> None:
    executor = Executor(("a", "0", 1))
    executor.answers.clear()
    seen = ExecutorMonitor({"cpu": executor})
    time.sleep(0.05)
    seen.check()
    executor.interchange_proc.code = -9
    with pytest.raises(CampaignError, match=r"exit code -9.*run the same command again"):
        seen.check()


def test_silent_interchange_counts_as_dead(monkeypatch) -> None:
    monkeypatch.setattr(watch, "SILENT_SECONDS", 0.05)
    executor = Executor(("a", "0", 1))
    executor.answers.clear()
    seen = ExecutorMonitor({"cpu": executor})
    time.sleep(0.1)
    with pytest.raises(CampaignError, match="has not answered"):
        seen.check()


def test_executor_that_reads_no_results_ends_the_campaign() -> None:
    executor = Executor(("a", "0", 1))
    executor._result_queue_thread = threading.Thread(target=executor.answers.wait)
    executor.answers.clear()
    executor._result_queue_thread.start()
    seen = ExecutorMonitor({"cpu": executor})
    seen.check()
    executor.answers.set()
    executor._result_queue_thread.join()
    with pytest.raises(CampaignError, match="reads no results"):
        seen.check()


def test_executor_in_a_bad_state_ends_the_campaign() -> None:
    executor = Executor()
    executor.bad_state_is_set, executor.executor_exception = True, ValueError("sbatch: invalid partition")
    with pytest.raises(CampaignError, match="invalid partition"):
        ExecutorMonitor({"cpu": executor}).check()


def test_unfit_pool_gets_no_tasks_and_the_last_one_ends_the_campaign(monkeypatch) -> None:
    monkeypatch.setattr(watch, "UNFIT_SECONDS", 0.0)
    executor, said = Executor(("a", "0", 2), ("b", "1", 3)), []
    seen = ExecutorMonitor({"cpu": executor}, say=said.append)
    settle(seen, 5)
    seen.take_out("cpu", CanaryError("process 1 on node7 gave 2 eV.", "a"))
    seen.take_out("cpu", CanaryError("process 2 on node7 gave 2 eV.", "a"))
    settle(seen, 3)
    seen.check()
    assert said[0].startswith("process 1 on node7")
    assert sum("node7" in sentence for sentence in said) == 1
    seen.take_out("cpu", CanaryError("process 9 on node8 gave 3 eV.", "b"))
    settle(seen, 0)
    executor.status_facade["2"] = Status()
    seen.check()  # a third block may yet bring a fit one
    executor.status_facade["2"].terminal = True
    with pytest.raises(CampaignError, match=r"No worker of executor 'cpu' is fit.*node7"):
        seen.check()


def test_block_without_workers_is_given_back_once(monkeypatch) -> None:
    monkeypatch.setattr(watch, "EMPTY_BLOCK_SECONDS", 0.05)
    executor = Executor(("a", "0", 2), ("b", "1", 2))
    seen = ExecutorMonitor({"cpu": executor})
    settle(seen, 4)
    seen.check()
    executor.managers.pop()
    settle(seen, 2)
    for _ in range(3):
        seen.check()
        time.sleep(0.06)
    assert executor.provider.cancelled == ["job-1"]


def test_block_that_ended_is_not_given_back(monkeypatch) -> None:
    monkeypatch.setattr(watch, "EMPTY_BLOCK_SECONDS", 0.0)
    executor = Executor(("a", "0", 2))
    seen = ExecutorMonitor({"cpu": executor})
    settle(seen, 2)
    seen.check()
    executor.managers.clear()
    executor.status_facade["0"].terminal = True
    settle(seen, 0)
    seen.check()
    seen.check()
    assert executor.provider.cancelled == []


def test_end_is_bounded_and_gives_blocks_back() -> None:
    executor = Executor(("a", "0", 1))
    seen = ExecutorMonitor({"cpu": executor})
    began = time.monotonic()
    seen.close(lambda: time.sleep(30.0))
    assert time.monotonic() - began < 10.0
    assert executor.provider.cancelled == ["job-0", "job-1"]
    assert executor.interchange_proc.killed


def test_end_with_a_dead_interchange_gives_blocks_back_first() -> None:
    executor, order = Executor(("a", "0", 1)), []
    seen = ExecutorMonitor({"cpu": executor})
    executor.interchange_proc.code = -9
    with pytest.raises(CampaignError):
        seen.check()
    seen.close(lambda: order.append((list(executor.provider.cancelled), executor.bad_state_is_set)))
    assert order == [(["job-0", "job-1"], True)]


def test_interchange_that_dies_last_of_all_is_noticed_at_the_end() -> None:
    executor = Executor(("a", "0", 1))
    seen = ExecutorMonitor({"cpu": executor})
    executor.interchange_proc.code = -9
    seen.close(lambda: None)
    assert executor.bad_state_is_set
    assert executor.provider.cancelled == ["job-0", "job-1"]


def test_thread_pool_is_counted_only() -> None:
    class Threads:
        max_threads = 3

    seen = ExecutorMonitor({"cpu": Threads()})
    seen.check()
    assert seen.workers("cpu") == 3
    seen.close(lambda: None)


def test_task_longer_than_the_rest_of_a_block_is_told_once() -> None:
    executor, said = Executor(("a", "0", 1)), []
    executor.drain_period, executor.provider.walltime = 3300, "01:00:00"
    seen = ExecutorMonitor({"gpu": executor}, say=said.append)
    seen.note_duration("gpu", "train", 299.0)
    assert said == []
    seen.note_duration("gpu", "train", 301.0)
    seen.note_duration("gpu", "train", 400.0)
    assert len(said) == 1
    assert "300 s" in said[0]
    assert "301 s" in said[0]
    seen.note_duration("gpu", "pull-segment", 400.0)
    assert len(said) == 2


def test_executors_without_walltime_are_not_judged() -> None:
    seen = ExecutorMonitor({"cpu": Executor()})
    seen.note_duration("cpu", "label", 1e9)


def look_again(seen: ExecutorMonitor) -> None:
    asked = seen._seen["cpu"].asked
    deadline = time.monotonic() + 5.0
    while seen._seen["cpu"].asked == asked:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_block_that_idles_while_another_works_is_given_back() -> None:
    executor = Executor(("a", "0", 4), ("b", "1", 4))
    said: list[str] = []
    seen = ExecutorMonitor({"cpu": executor}, say=said.append, idle_limit_s=60.0)
    settle(seen, 8)
    working, idle = executor.managers
    working["tasks"], idle["idle_duration"] = 1, 59.0
    look_again(seen)
    seen.check()
    assert idle["active"]
    idle["idle_duration"] = 61.0
    look_again(seen)
    seen.check()
    assert not idle["active"]
    assert executor.provider.cancelled == []  # a task may be on its way to it
    idle["tasks"] = 1
    look_again(seen)
    seen.check()
    assert executor.provider.cancelled == []
    idle["tasks"] = 0
    for _ in range(3):
        look_again(seen)
        seen.check()
    assert executor.provider.cancelled == ["job-1"]
    assert sum("nothing to do" in sentence for sentence in said) == 1


def test_blocks_that_all_idle_or_have_to_be_kept_are_left_to_parsl() -> None:
    executor = Executor(("a", "0", 4), ("b", "1", 4))
    seen = ExecutorMonitor({"cpu": executor}, idle_limit_s=60.0)
    settle(seen, 8)
    for manager in executor.managers:
        manager["idle_duration"] = 100.0
    look_again(seen)
    seen.check()
    executor.managers[0]["tasks"], executor.provider.min_blocks = 1, 2
    look_again(seen)
    seen.check()
    assert all(manager["active"] for manager in executor.managers)


def test_an_executor_in_a_bad_state_gives_its_queued_jobs_back() -> None:
    executor = Executor(("a", "0", 4))
    seen = ExecutorMonitor({"cpu": executor})
    executor.bad_state_is_set = True
    seen.close(lambda: None)
    assert executor.provider.cancelled == ["job-0", "job-1"]
