"""What `alflow status` says of a run directory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alflow.cli.status import duration
from alflow.errors import RunError
from alflow.runs.status import TaskCounts, read_status


def write(path: Path, **changes: Any) -> Path:
    status = {
        "state": "running",
        "message": "",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": time.time() - 60,
        "time": time.time(),
        "iteration": 2,
        "iterations": 5,
        "stage": "pull, select, label",
        "labels": {"wanted": 30, "done": 20, "failed": 1, "per_second": 12.0},
        "pull": {"steps_done": 500, "steps_wanted": 6500, "work_ev": 1.0},
        "training": {"epoch": 7, "epochs": 10},
        "tasks": {"label:launched": 2, "label:pending": 1, "pull-segment:running": 1},
        "finished": {"label:done": 10, "label:failed": 1, "train:done": 3},
        "workers": {"cpu": 2, "gpu": 1},
    }
    (path / "status.json").write_text(json.dumps({**status, **changes}))
    return path


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_running(tmp_path) -> None:
    now = read_status(write(tmp_path))
    assert (now.state, now.iteration, now.iterations, now.stage) == ("running", 2, 5, "pull, select, label")
    assert now.tasks["label"] == TaskCounts(waiting=1, running=2, done=10, failed=1)
    assert now.tasks["pull-segment"] == TaskCounts(running=1)
    assert (now.labels_done, now.labels_wanted, now.labels_per_second) == (20, 30, 12.0)
    assert now.workers == {"cpu": 2, "gpu": 1}
    assert now.last_error == ""
    assert now.seconds_to_go is None


def test_dead_process_on_this_host_is_gone_at_once(tmp_path) -> None:
    now = read_status(write(tmp_path, pid=dead_pid()))
    assert now.state == "gone"
    assert "does not exist" in now.message


def test_old_status_of_another_host_is_gone(tmp_path) -> None:
    assert read_status(write(tmp_path, host="elsewhere", time=time.time() - 5)).state == "running"
    now = read_status(write(tmp_path, host="elsewhere", time=time.time() - 60))
    assert now.state == "gone"
    assert "60 s" in now.message


def test_finished_stays_finished(tmp_path) -> None:
    now = read_status(write(tmp_path, state="finished", message="all 5 iterations are done", pid=dead_pid(), time=0.0))
    assert (now.state, now.message, now.seconds_to_go) == ("finished", "all 5 iterations are done", None)


def test_time_to_go_from_the_last_iterations(tmp_path) -> None:
    seconds = [(500, 1, 1), (10, 20, 25), (20, 30, 20), (12, 28, 30)]
    lines = [json.dumps({"seconds": {"train": t, "pull": p, "label": x}}) for t, p, x in seconds]
    (tmp_path / "iterations.jsonl").write_text("\n".join([*lines, '{"cut o']))
    now = read_status(write(tmp_path, iterations=6))
    assert now.done == (501, 35, 50, 42)
    assert now.seconds_to_go == pytest.approx(2 * (35 + 50 + 42) / 3)


def test_last_error(tmp_path) -> None:
    events = [
        {"what": "label", "task": 3, "outcome": "WorkerGoneError: worker 0 died"},
        {"what": "label", "task": 4, "outcome": "ok"},
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(json.dumps(event) for event in events) + '\n{"what": "lab')
    assert read_status(write(tmp_path)).last_error == "label task 3: WorkerGoneError: worker 0 died"


def test_not_a_run_directory(tmp_path) -> None:
    with pytest.raises(RunError, match=r"status\.json"):
        read_status(tmp_path)
    (tmp_path / "campaign.toml").write_text("")
    with pytest.raises(RunError, match="none yet"):
        read_status(tmp_path)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(RunError, match="readable"):
        read_status(tmp_path)


def test_command(tmp_path) -> None:
    from alflow.cli import app

    shown = CliRunner().invoke(app, ["status", str(write(tmp_path, pid=dead_pid()))])
    assert shown.exit_code == 0
    for text in ("gone", "run the same command again", "pull, select, label", "2 running", "20 of 30"):
        assert text in shown.output


def test_a_label_that_is_out_for_long_and_the_budget_are_told(tmp_path) -> None:
    from alflow.cli import app

    def said(**labels):
        labels = {"wanted": 30, "done": 20, "failed": 0, "per_second": 1.0} | labels
        return " ".join(CliRunner().invoke(app, ["status", str(write(tmp_path, labels=labels))]).output.split())

    assert "the oldest asked for 20 min ago (a label takes 3 min)" in said(oldest_seconds=1200, label_seconds=180)
    assert "oldest" not in said(oldest_seconds=600, label_seconds=180)
    assert "oldest" not in said(oldest_seconds=3, label_seconds=0.01)
    assert "budget 120 of 200 labels" in said(spent=120, budget=200)
    assert "budget" not in said()


def test_duration() -> None:
    assert [duration(s) for s in (45, 720, 12000)] == ["45 s", "12 min", "3 h 20 min"]
