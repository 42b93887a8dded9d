"""Processes that end with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
END_TIMEOUT_S = 5.0
"""Longest wait for killed processes to be gone, s; one in the hands of a file system that hangs may stay longer."""
LAUNCHERS = frozenset(
    {"srun", "mpiexec", "mpirun", "mpiexec.hydra", "orterun", "prterun", "aprun", "jsrun", "flux", "ranks.py"}
)
"""Programs that start others, on other nodes, too: asked to end, they take these along; killed, they leave them."""
LAUNCHER_GRACE_S = 4.5
"""Longest wait for a launcher that was asked to end, s."""


def end_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a signal to this process when the thread that started it ends; Linux alone can be asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(by))
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end, so that none is lost; Linux alone can be asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """End all children of this process, and theirs, which come to it when it has adopted orphans; wait for the end.

    They are killed; launchers of MPI ranks are asked to end first.
    """
    asked: dict[int, float] = {}
    now = time.monotonic()
    deadline = now + END_TIMEOUT_S
    while children := children_of(os.getpid()):
        for pid in children:
            if pid not in asked and is_launcher(pid):
                asked[pid] = now
                deadline = max(deadline, now + LAUNCHER_GRACE_S + END_TIMEOUT_S)
                _signal(pid, signal.SIGTERM)
            elif now - asked.get(pid, -LAUNCHER_GRACE_S) >= LAUNCHER_GRACE_S:
                _signal(pid, signal.SIGKILL)
        _reap()
        now = time.monotonic()
        if now > deadline:
            return
        time.sleep(0.01 if asked else 0.002)


def is_launcher(pid: int) -> bool:
    """Say whether a process starts MPI ranks: by the name of its program, or of the script that it runs."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    words = [os.fsdecode(word) for word in line.split(b"\0")[:6]]
    program = next((word for word in words[1:] if not word.startswith("-")), "")
    names = {Path(words[0]).name}
    if Path(words[0]).name.startswith("python") or Path(words[0]).name in ("sh", "bash", "dash"):
        names = {Path(program).name}
    return bool(names & LAUNCHERS)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def children_of(parent: int) -> list[int]:
    """Return the processes that have this parent, those that ended and were not waited for included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
