"""The processes of a campaign, told apart by their parents and command lines."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that lives."""

    parent: int
    arguments: list[str]
    started: int
    """Clock ticks since the host started."""


def living() -> dict[int, Process]:
    """Return all processes of this host by pid, without those that have ended and are not waited for."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if fields[0] != "Z":
                    found[int(folder.name)] = Process(int(fields[1]), arguments, int(fields[19]))
    return found


def descendants(pid: int) -> list[int]:
    """Return children, their children and so on."""
    everyone = living()
    family, queue = [], [pid]
    while queue:
        parent = queue.pop()
        children = [child for child, process in everyone.items() if process.parent == parent]
        family += children
        queue += children
    return family


def naming(folder: Path) -> set[int]:
    """Return the processes whose command line names a folder."""
    return {pid for pid, process in living().items() if f"{folder}/" in " ".join(process.arguments)}


def pools(folder: Path) -> list[int]:
    """Return the worker pools (Parsl: managers) that log below a folder; they are detached from the driver."""
    everyone = living()
    return [
        pid
        for pid, process in everyone.items()
        if "alflow.execution.pool" in process.arguments[:3] and f"{folder}/" in " ".join(process.arguments)
    ]


def workers(pool: int) -> list[int]:
    """Return the workers of a pool, which started in this order."""
    return _spawned(pool)[1:]


def table(pool: int) -> list[int]:
    """Return the process that keeps a pool's table of tasks (Python's `multiprocessing.Manager`): it starts first."""
    return _spawned(pool)[:1]


def _spawned(pool: int) -> list[int]:
    children = {
        pid: process
        for pid, process in living().items()
        if process.parent == pool and any("spawn_main" in argument for argument in process.arguments)
    }
    return sorted(children, key=lambda pid: (children[pid].started, pid))


def seconds_until_gone(pids: list[int], folder: Path, longest: float) -> float:
    """Return how long it takes until none of the processes, nor any that names the folder, lives."""
    began = time.monotonic()
    while time.monotonic() - began < longest and (set(pids) & living().keys() or naming(folder)):
        time.sleep(0.1)
    return time.monotonic() - began
