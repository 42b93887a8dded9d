"""Cleanup of what a killed driver may have left behind: blocks of workers that wait for it.

As a rule they end by themselves, when they miss the heartbeat. A pool of workers that was just connecting when the
driver died, or whose job was still queued then, does not; the next driver of the run directory ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alflow.execution.sites.kinds import is_elsewhere
from alflow.runs.events import read_events

PARTS_OF_A_DRIVER = (
    b"alflow.execution.pool",
    b"alflow.pool",
    b"process_worker_pool",
    b"interchange",
    b"/submit_scripts/",
)
"""What the command line of a process that a driver started names, beside the driver's run directory."""


def clean_up(run: Path, events: Path, executors: Iterable[Any], parsl: Path | None = None) -> int:
    """End what an earlier driver left; the caller holds the run's lock, so no living driver needs it.

    Args:
        run: run directory.
        events: its event log.
        executors: of the site, with their providers; jobs of a batch system are cancelled through these.
        parsl: Parsl's folder as command lines name it; below the run directory if not given.

    Returns:
        Processes and jobs that were told to end.
    """
    ended = 0
    for pid in worker_pools(parsl or run / "parsl"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            ended += 1
    for executor in executors:
        provider: Any = getattr(executor, "provider", None)
        jobs = open_jobs(events, str(executor.label))
        if jobs and is_elsewhere(provider):
            with contextlib.suppress(Exception):  # most have ended long ago, and the scheduler says so
                provider.cancel(jobs)
            ended += len(jobs)
    return ended


def worker_pools(folder: Path) -> Iterator[int]:
    """Yield the pools of workers, interchanges and blocks' scripts of this host whose command line names the folder."""
    sign = f"{folder}/".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (process / "cmdline").read_bytes()
                if sign in line and any(part in line for part in PARTS_OF_A_DRIVER):
                    yield int(process.name)


def open_jobs(events: Path, executor: str) -> list[str]:
    """Return the jobs that the last driver submitted for an executor; none if it ended in good order."""
    jobs: list[str] = []
    for event in read_events(events):
        if event["what"] == "driver":
            jobs = []
        elif event["what"] == "job" and event["executor"] == executor:
            jobs.append(str(event["job"]))
    return jobs
