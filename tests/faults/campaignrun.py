"""Campaigns as a user runs them: `alflow run` in a process of its own, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import processes
from scenarios import SITE

from alflow.ledger import LedgerReader
from alflow.runs.events import read_events

LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class Content:
    """What a finished campaign leaves."""

    digest: str
    labels: int
    failures: dict[str, int]
    barriers: tuple[tuple[float, ...], ...]
    paid_again: int
    """Labels that came back though the ledger had them."""
    computed: int
    """Labels that came back from workers: those that came and were lost before they were committed count twice."""


@dataclass(frozen=True)
class Driver:
    """A running `alflow run`."""

    process: subprocess.Popen[bytes]
    run: Path
    output: Path

    def said(self) -> str:
        """Return the last lines of its output."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-3:])


def start(campaign: Path, run: Path) -> Driver:
    """Start, or go on with, a campaign in a process group of its own."""
    output = campaign.with_name(run.name + ".log")
    command = [
        str(Path(sys.executable).with_name("alflow")),
        "run",
        str(campaign),
        "--run-dir",
        str(run),
        "--site",
        "local",
    ]
    for option in SITE:
        command += ["-o", option]
    with output.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    return Driver(process, run, output)


def finish(driver: Driver) -> int | None:
    """Wait for the end; None if it does not come."""
    try:
        return driver.process.wait(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in [*processes.descendants(driver.process.pid), driver.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.process.wait()
        return None


def content(run: Path) -> Content:
    """Read what a finished campaign leaves."""
    with LedgerReader.open(run / "ledger.sqlite") as ledger:
        counts = ledger.counts()
        digest, paid, failures = ledger.digest(), ledger.paid_again(), ledger.failures_by_reason()
    lines = (run / "iterations.jsonl").read_text().splitlines()
    barriers = tuple(tuple(json.loads(line)["barrier_ev"]["values"]) for line in lines)
    tasks = [event for event in read_events(run / "events.jsonl") if event["what"] == "label"]
    computed = sum(event["frames"] for event in tasks if event["outcome"] == "ok")
    return Content(digest, counts.labelled + counts.failed, failures, barriers, paid, computed)


def count_events(run: Path) -> int:
    """Return how many events a run has written."""
    path = run / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
