"""A new driver ends what a killed one left, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

from alflow.execution.cleanup import clean_up, open_jobs, worker_pools
from alflow.runs.events import EventLog


def write(path, *events) -> None:
    log = EventLog(path)
    for what, fields in events:
        log.write(what, **fields)
    log.close()


def test_jobs_of_a_driver_that_was_killed(tmp_path) -> None:
    path = tmp_path / "events.jsonl"
    old = ("job", {"executor": "cpu", "block": "0", "job": "11"})
    new = ("job", {"executor": "cpu", "block": "0", "job": "12"})
    start, end = ("driver", {"state": "start"}), ("driver", {"state": "failed"})
    write(path, start, old, end, start, new, ("job", {"executor": "gpu", "block": "0", "job": "13"}))
    assert open_jobs(path, "cpu") == ["12"]
    write(path, end)
    assert open_jobs(path, "cpu") == []
    assert open_jobs(tmp_path / "none.jsonl", "cpu") == []


def test_processes_and_jobs_are_ended(tmp_path) -> None:
    run, other = tmp_path / "run", tmp_path / "run-2"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    sleepers = [
        subprocess.Popen([*sleep, name, f"--logdir={folder}/parsl/000/cpu"])
        for folder, name in ((run, "alflow.execution.pool"), (other, "alflow.execution.pool"), (run, "less"))
    ]
    time.sleep(0.1)
    write(
        tmp_path / "events.jsonl",
        ("driver", {"state": "start"}),
        ("job", {"executor": "cpu", "block": "0", "job": "12"}),
    )
    cancelled: list[str] = []

    class BatchProvider:
        def cancel(self, jobs: list[str]) -> None:
            cancelled.extend(jobs)
            raise KeyError("12")

    executor = SimpleNamespace(label="cpu", provider=BatchProvider())
    assert clean_up(run, tmp_path / "events.jsonl", [executor]) == 2
    assert sleepers[0].wait(timeout=10) == -9
    assert cancelled == ["12"]
    assert sleepers[1].poll() is sleepers[2].poll() is None
    assert list(worker_pools(other / "parsl")) == [sleepers[1].pid]
    for sleeper in sleepers[1:]:
        sleeper.kill()
        sleeper.wait()
