"""A worker whose task gives no sign of life is ended; the task is tried again, but not for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import workertasks

from alflow.execution.graph import SILENT_TRIES, TaskGraph, WorkerGoneError
from alflow.execution.sites import find_site, load_site
from alflow.runs.events import EventLog
from alflow.workers import heartbeat
from alflow.workers import result as outcome

OPTIONS = {"workers": "2", "gpu_workers": "1", "heartbeat_seconds": "1", "heartbeat_limit_seconds": "5"}

LOOP = """
import sys, time
from alflow.workers import heartbeat
heartbeat.AGAIN_S = 0.0
with heartbeat.watchdog({silence}):
    for _ in range(20):
        time.sleep(0.1)
        {sign}
print("ended well")
"""


def loop(sign: str, silence: float = 1.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run two seconds of work in a process of its own."""
    code = LOOP.format(sign=sign, silence=silence)
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_worker_is_ended_for_its_silence_and_says_where_it_was() -> None:
    silent = loop("pass", PARSL_WORKER_RANK="0")
    assert silent.returncode == 1
    assert "Timeout" in silent.stderr
    assert "line 7" in silent.stderr
    assert silent.stdout == ""


@pytest.mark.parametrize(
    ("sign", "silence", "variables"),
    [
        ("heartbeat.beat()", 1.0, {"PARSL_WORKER_RANK": "0"}),
        ("pass", 0.0, {"PARSL_WORKER_RANK": "0"}),
        ("pass", 1.0, {}),
        ("heartbeat.at_least(10.0)", 1.0, {"PARSL_WORKER_RANK": "0"}),
    ],
    ids=["gives signs of life", "is not watched", "is no worker", "may be silent for longer"],
)
def test_process_that_is_left_alone(sign, silence, variables) -> None:
    assert loop(sign, silence, **variables).stdout == "ended well\n"


POOL = """
import multiprocessing, os, time
from alflow.workers import heartbeat

def work(told):
    with heartbeat.watchdog(60.0):
        told.put(os.getpid())
        told.close()
        told.join_thread()
        time.sleep(60.0)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    context.Process(target=work, args=(told,)).start()
    print(told.get(), flush=True)
    time.sleep(60.0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_worker_ends_with_its_pool(tmp_path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    environment = {**os.environ, "PARSL_WORKER_RANK": "0"}
    pool = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    assert pool.stdout is not None
    worker = int(pool.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    pool.kill()
    pool.wait()
    limit = time.monotonic() + 20.0
    while time.monotonic() < limit and lives(worker):
        time.sleep(0.05)
    assert not lives(worker)


def lives(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_structures_are_signs_of_life(monkeypatch) -> None:
    signs: list[bool] = []
    monkeypatch.setattr(heartbeat, "beat", lambda: signs.append(True))
    model = heartbeat.with_heartbeat(lambda positions, start=None: positions)
    assert [model(1), model(2)] == [1, 2]
    assert len(signs) == 2


@pytest.mark.slow
def test_silent_task_is_tried_again_and_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(workertasks.FOLDER), prepend=":")
    events = EventLog(tmp_path / "events.jsonl")
    site = load_site(find_site("local"), tmp_path, OPTIONS)
    graph = TaskGraph(site, events, silence_s=2.0)
    found: dict[str, object] = {}
    try:
        for name, times in (("once", 1), ("always", 1000)):
            call = outcome.App("hang", "cpu", workertasks.hang)(str(tmp_path / name), times)
            graph.submit(call, lambda one, name=name: found.update({name: one}))
        graph.run_until(lambda: len(found) == 2)
    finally:
        graph.close()
        events.close()
    assert isinstance(found["once"], outcome.Outcome)
    assert found["once"].value == "done"
    assert isinstance(found["always"], WorkerGoneError)
    assert "no sign of life" in str(found["always"])
    assert len((tmp_path / "always").read_text().splitlines()) == SILENT_TRIES
