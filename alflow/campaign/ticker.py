"""A clock beside the tasks: it commits the ledger, draws the display, writes the status, and ends by a signal."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, field, replace

from alflow.display.view import Display, View
from alflow.errors import RunError, TerminatedError
from alflow.execution.graph import TaskGraph
from alflow.farm.farm import LabelFarm
from alflow.runs.directory import RunDirectory
from alflow.runs.lock import RunLock
from alflow.runs.status import DriverStatus

DISPLAY_SECONDS = 0.25
STATUS_SECONDS = 1.0


@dataclass
class Ticker:
    """Called a few times a second while the campaign waits for tasks."""

    view: View
    display: Display
    run: RunDirectory
    lock: RunLock
    farm: LabelFarm | None = None
    graph: TaskGraph | None = None
    drawn: float = 0.0
    written: float = 0.0
    terminated: bool = False
    started: float = field(default_factory=time.time)
    exploring: RunDirectory | None = None
    """Run of the base while that goes on; its status is written there, too."""

    def __call__(self) -> None:
        """Do what is due.

        Raises:
            TerminatedError: a signal asked for the end.
            RunError: another driver took the run.
        """
        if self.terminated:
            raise TerminatedError("The driver was asked to end (SIGTERM).")
        if self.lock.lost:
            raise RunError(f"A run has one driver; another one took {self.run.path} while this one was silent.")
        if self.farm is None or self.graph is None:
            return
        self.farm.tick()
        now = time.monotonic()
        if now - self.drawn > DISPLAY_SECONDS:
            self.drawn = now
            self._read()
            self.display.update(self.view)
        if now - self.written > STATUS_SECONDS:
            self.written = now
            if self.view.labels_budget:
                self.view.labels_spent = self.farm.spent()
            self.write_status("running")

    def _read(self) -> None:
        assert self.farm is not None
        assert self.graph is not None
        view, farm = self.view, self.farm
        view.labels_wanted, view.labels_done, view.labels_known = farm.wanted, farm.done, farm.known
        view.labels_failed, view.labels_per_second = farm.failed, farm.rate()
        view.label_tasks = self.graph.pending("label")
        view.workers = {label: self.graph.workers(label) for label in ("cpu", "gpu")}
        for note in sorted((self.exploring or self.run).iteration(view.iteration).glob("members-*.progress")):
            with contextlib.suppress(OSError, ValueError):  # the worker replaces it, and removes it at its end
                view.epoch, view.epochs = (int(word) for word in note.read_text(encoding="utf-8").split())

    def write_status(self, state: str, message: str = "") -> None:
        """Write ``status.json``: what `alflow status` shows."""
        assert self.graph is not None
        if self.farm is not None:
            self._read()
        view = self.view
        status = DriverStatus(
            state=state,
            message=message,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self.started,
            time=time.time(),
            iteration=view.iteration,
            iterations=view.iterations,
            stage=view.part + view.stage,
            labels={
                "wanted": view.labels_wanted,
                "done": view.labels_done,
                "failed": view.labels_failed,
                "per_second": view.labels_per_second,
                "oldest_seconds": 0.0 if self.farm is None else self.farm.oldest_seconds(),
                "label_seconds": 0.0 if self.farm is None else self.farm.label_seconds(),
                "spent": view.labels_spent,
                "budget": view.labels_budget,
            },
            pull={"steps_done": view.steps_done, "steps_wanted": view.steps_wanted, "work_ev": view.work_ev},
            reference={"steps_done": view.reference_done, "steps_wanted": view.reference_wanted},
            training={"epoch": view.epoch, "epochs": view.epochs},
            tasks={f"{what}:{phase}": count for (what, phase), count in self.graph.running().items()},
            finished=dict(self.graph.counts),
            workers=view.workers,
        )
        if self.exploring is not None:
            status.write(self.exploring.path / "status.json")
            status = replace(status, state="running" if state == "finished" else state)
        status.write(self.run.path / "status.json")
