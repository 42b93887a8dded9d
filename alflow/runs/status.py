"""Status of a run, read from its directory by another process: nothing is written, no lock is taken."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from alflow.errors import RunError
from alflow.files.targets import cause, shown
from alflow.files.whole import write_atomically

STALE_SECONDS = 10.0
"""The driver writes its status once a second; one older than this has no driver."""
TAIL_BYTES = 1 << 18
RECENT_ITERATIONS = 3

NumberT = TypeVar("NumberT", int, float)

DriverState = Literal["running", "finished", "failed", "gone"]


@dataclass(frozen=True)
class DriverStatus:
    """What a driver writes into ``status.json``, once a second."""

    state: str
    message: str
    """Why it ended."""
    host: str
    pid: int
    started: float
    """Unix time at which the driver started, s."""
    time: float
    """Unix time of this status, s."""
    iteration: int
    iterations: int
    stage: str
    labels: dict[str, float] = field(default_factory=dict)
    """wanted, done, failed, per_second; label_seconds and oldest_seconds (since the one was asked for that is out
    longest); spent and budget, which is 0 where there is none."""
    pull: dict[str, float] = field(default_factory=dict)
    """steps_done and steps_wanted of the pulls of this iteration, work_ev of the last record."""
    reference: dict[str, float] = field(default_factory=dict)
    """steps_done and steps_wanted of the reference pulls."""
    training: dict[str, float] = field(default_factory=dict)
    """epoch, epochs."""
    tasks: dict[str, int] = field(default_factory=dict)
    """Tasks that are not done, by "what:state"."""
    finished: dict[str, int] = field(default_factory=dict)
    """Tasks that ended, by "what:state"."""
    workers: dict[str, int] = field(default_factory=dict)
    """Connected workers by executor."""

    def write(self, path: Path) -> None:
        """Write the file."""
        write_atomically(path, json.dumps(asdict(self)).encode())

    @staticmethod
    def from_data(data: dict[str, Any]) -> DriverStatus:
        """Read what `write` wrote, now or in an earlier version.

        Raises:
            ValueError, TypeError, AttributeError: a value is not what it is said to be.
        """
        return DriverStatus(
            state=str(data["state"]),
            message=str(data.get("message", "")),
            host=str(data["host"]),
            pid=int(data["pid"]),
            started=_moment(data["started"]),
            time=_moment(data["time"]),
            iteration=int(data["iteration"]),
            iterations=int(data["iterations"]),
            stage=str(data["stage"]),
            labels=_numbers(data, "labels", float),
            pull=_numbers(data, "pull", float),
            reference=_numbers(data, "reference", float),
            training=_numbers(data, "training", float),
            tasks=_numbers(data, "tasks", int),
            finished=_numbers(data, "finished", int),
            workers=_numbers(data, "workers", int),
        )


def _numbers(data: dict[str, Any], name: str, kind: Callable[[Any], NumberT]) -> dict[str, NumberT]:
    return {str(key): kind(value) for key, value in dict(data.get(name, {})).items()}


@dataclass(frozen=True)
class TaskCounts:
    """Tasks of one kind."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True)
class RunStatus:
    """What `alflow status` shows."""

    state: DriverState
    message: str
    """Why it ended, or how it is known that the driver is gone."""
    host: str
    pid: int
    started: float
    """Unix time at which the driver started, s."""
    age_seconds: float
    """Since the driver wrote its status."""
    iteration: int
    iterations: int
    stage: str
    tasks: dict[str, TaskCounts]
    workers: dict[str, int]
    labels_wanted: int
    labels_done: int
    labels_failed: int
    labels_per_second: float
    pull_steps: tuple[int, int]
    """Steps done and wanted of the pulls of this iteration."""
    reference_steps: tuple[int, int]
    """The same of the reference pulls."""
    epochs: tuple[int, int]
    last_error: str
    """The last task that failed or event that went wrong; empty if there is none."""
    seconds_to_go: float | None
    """From the iterations done so far; None before the first is done."""
    label_budget: tuple[int, int] = (0, 0)
    """Labels spent, and the budget; zeros where there is none."""
    oldest_label: tuple[float, float] = (0.0, 0.0)
    """How long ago the label was asked for that is out longest, and what a label takes, s."""
    done: tuple[float, ...] = field(default=())
    """Wall time of each committed iteration, s."""


def read_status(path: Path, now: float | None = None) -> RunStatus:
    """Read the status of a run directory.

    Args:
        path: run directory.
        now: Unix time, s; the clock's if not given.

    Raises:
        RunError: it is not one, or nothing was started in it yet.
    """
    written = _read_written(path)
    try:
        return _status(path, DriverStatus.from_data(written), time.time() if now is None else now)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        file = shown(path / "status.json")
        raise RunError(f"A status holds numbers and tables; {file} is damaged: {cause(error)}.") from error


def _status(path: Path, written: DriverStatus, now: float) -> RunStatus:
    age = max(0.0, now - written.time)
    state, message = _driver(written, age)
    seconds = _iteration_seconds(path / "iterations.jsonl")
    labels, ended = written.labels, state in ("finished", "failed")
    return RunStatus(
        state=state,
        message=message,
        host=written.host,
        pid=written.pid,
        started=written.started,
        age_seconds=age,
        iteration=written.iteration,
        iterations=written.iterations,
        stage=written.stage,
        tasks=_task_counts(written.tasks, written.finished),
        workers=written.workers,
        labels_wanted=int(labels.get("wanted", 0)),
        labels_done=int(labels.get("done", 0)),
        labels_failed=int(labels.get("failed", 0)),
        labels_per_second=labels.get("per_second", 0.0),
        oldest_label=(int(labels.get("oldest_seconds", 0)), labels.get("label_seconds", 0.0)),
        label_budget=(int(labels.get("spent", 0)), int(labels.get("budget", 0))),
        pull_steps=_steps(written.pull),
        reference_steps=_steps(written.reference),
        epochs=(int(written.training.get("epoch", 0)), int(written.training.get("epochs", 0))),
        last_error=_last_error(path / "events.jsonl"),
        seconds_to_go=None if ended else _to_go(seconds, written.iterations),
        done=tuple(seconds),
    )


def _steps(table: dict[str, float]) -> tuple[int, int]:
    return int(table.get("steps_done", 0)), int(table.get("steps_wanted", 0))


def _moment(value: Any) -> float:
    """Return a Unix time, s, that a calendar knows."""
    try:
        time.localtime(float(value))
    except OSError as error:
        raise ValueError(str(error)) from error
    return float(value)


def _read_written(path: Path) -> dict[str, Any]:
    try:
        written = json.loads((path / "status.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (path / "campaign.toml").exists():
            raise RunError(f"A run has a status once its driver has started tasks; {path} has none yet.") from None
        raise RunError(f"A run directory holds status.json; {path} does not. Was it made by `alflow run`?") from None
    except (OSError, ValueError) as error:
        raise RunError(f"A status must be readable; {shown(path / 'status.json')} is not: {cause(error)}.") from error
    if not isinstance(written, dict):
        raise RunError(f"A status is a table; {shown(path / 'status.json')} is damaged: it holds {written!r:.40}.")
    missing = {"state", "host", "pid", "started", "time", "iteration", "iterations", "stage"} - set(written)
    if missing:
        raise RunError(f"A status names {', '.join(sorted(missing))}; {shown(path / 'status.json')} does not.")
    return written


def _driver(written: DriverStatus, age: float) -> tuple[DriverState, str]:
    """Say whether the driver lives: by its process on its own host, by the age of its status on any."""
    if written.state == "finished":
        return "finished", written.message
    if written.state == "failed":
        return "failed", written.message
    if written.host == socket.gethostname() and not _alive(written.pid):
        return "gone", f"process {written.pid} does not exist any more on this host"
    if age > STALE_SECONDS:
        return "gone", f"it wrote nothing for {age:.0f} s"
    return "running", ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _task_counts(pending: dict[str, int], finished: dict[str, int]) -> dict[str, TaskCounts]:
    """Sort "what:state" counts by what; a state of Parsl that is neither launched nor running waits."""
    counts: dict[str, Counter[str]] = {}
    for name, count in pending.items():
        what, _, state = name.partition(":")
        kind = "running" if state in ("launched", "running", "running_ended") else "waiting"
        counts.setdefault(what, Counter())[kind] += count
    for name, count in finished.items():
        what, _, state = name.partition(":")
        counts.setdefault(what, Counter())["failed" if state == "failed" else "done"] += count
    return {what: TaskCounts(**count) for what, count in sorted(counts.items())}


def _tail(path: Path) -> list[dict[str, Any]]:
    """Return the last events; a line that is cut off is skipped."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines()
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _last_error(path: Path) -> str:
    for event in reversed(_tail(path)):
        if event.get("what") in ("canary", "block"):
            return str(event.get("message", ""))
        if event.get("outcome", "ok") != "ok":
            return f"{event.get('what')} task {event.get('task', '?')}: {event['outcome']}"
    return ""


def _iteration_seconds(path: Path) -> list[float]:
    """Return the wall time of each committed iteration: training, then pulls and labels, which overlap."""
    if not path.exists():
        return []
    seconds = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stages = json.loads(line)["seconds"]
            seconds.append(float(stages.get("train", 0.0)) + max(stages.get("pull", 0.0), stages.get("label", 0.0)))
        except (ValueError, TypeError, KeyError, AttributeError):
            break
    return seconds


def _to_go(seconds: list[float], iterations: int) -> float | None:
    """Return the time to go from the last iterations: they grow with the data, so the first ones say little."""
    recent = seconds[-RECENT_ITERATIONS:]
    return (iterations - len(seconds)) * sum(recent) / len(recent) if recent else None
