"""Start a campaign on a site, watch over it, and end it cleanly whatever happens."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any

from alflow.campaign.loop import Finished, run_campaign
from alflow.campaign.plan import fingerprint, molecules
from alflow.campaign.preflight import check_campaign
from alflow.campaign.stages import Stages
from alflow.config.campaign import CampaignSettings
from alflow.display.progress import Display, View
from alflow.errors import RunError, TerminatedError
from alflow.execution.cleanup import end_leftovers
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.farm.queue import LabelFarm
from alflow.ledger import Ledger
from alflow.run.directory import RunDirectory, RunLock, write_atomically
from alflow.run.events import EventLog
from alflow.types import LabelEngine
from alflow.workers.models import EngineModel
from alflow.workers.selftest import make_canary

DISPLAY_SECONDS = 0.25
STATUS_SECONDS = 1.0
FIRST_USE = {"dftb3": " (the first time, its parameters are fetched and its kernels compiled: a minute or so)"}
LIMITS = ("timeout_s", "memory_gb", "guard")
"""Settings of labels: where they have changed, the iteration that is not committed asks again for what they ended."""


@dataclass
class _Ticker:
    """What happens a few times a second while the campaign waits for tasks."""

    view: View
    display: Display
    run: RunDirectory
    farm: LabelFarm | None = None
    graph: TaskGraph | None = None
    drawn: float = 0.0
    written: float = 0.0
    terminated: bool = False
    started: float = field(default_factory=time.time)

    def __call__(self) -> None:
        if self.terminated:
            raise TerminatedError("The driver was asked to end (SIGTERM).")
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
            self.write_status("running")

    def _read(self) -> None:
        assert self.farm is not None
        assert self.graph is not None
        view, farm = self.view, self.farm
        view.labels_wanted, view.labels_done, view.labels_known = farm.wanted, farm.done, farm.known
        view.labels_failed, view.labels_per_second = farm.failed, farm.rate()
        view.label_tasks = self.graph.pending("label")
        view.workers = {label: self.graph.workers(label) for label in ("cpu", "gpu")}
        for note in sorted(self.run.iteration(view.iteration).glob("members-*.progress")):
            with contextlib.suppress(OSError, ValueError):  # the worker replaces it, and removes it at its end
                view.epoch, view.epochs = (int(word) for word in note.read_text(encoding="utf-8").split())

    def write_status(self, state: str, message: str = "") -> None:
        """Write ``status.json``: what `alflow status` shows."""
        assert self.graph is not None
        if self.farm is not None:
            self._read()
        view = self.view
        status = {
            "state": state,
            "message": message,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": self.started,
            "time": time.time(),
            "iteration": view.iteration,
            "iterations": view.iterations,
            "stage": view.stage,
            "labels": {
                "wanted": view.labels_wanted,
                "done": view.labels_done,
                "failed": view.labels_failed,
                "per_second": view.labels_per_second,
            },
            "pull": {"steps_done": view.steps_done, "steps_wanted": view.steps_wanted, "work_ev": view.work_ev},
            "reference": {"steps_done": view.reference_done, "steps_wanted": view.reference_wanted},
            "training": {"epoch": view.epoch, "epochs": view.epochs},
            "tasks": {f"{what}:{state}": count for (what, state), count in self.graph.running().items()},
            "finished": dict(self.graph.counts),
            "workers": view.workers,
        }
        write_atomically(self.run.path / "status.json", json.dumps(status).encode())


def launch(
    settings: CampaignSettings, site: str, options: Mapping[str, str], run_dir: Path, display: Display
) -> Finished:
    """Run, or go on with, a campaign on a site.

    Raises:
        InputError: the settings, the site or its options break a rule; nothing was submitted.
        RunError: the run directory is locked, or another campaign's.
        CampaignError: the campaign had to end.
        TerminatedError: SIGTERM came; what was done is committed.
    """
    name = settings.labels.engine
    display.note(f"Labelling the starting structures with {name} ...{FIRST_USE.get(name, '')}")
    engine = check_campaign(settings)
    site_file = find_site(site)
    run = RunDirectory(run_dir.resolve())
    config = load_site(site_file, run.path, options)
    with _writable(run.path), RunLock(run.path):
        model, theory = _engine_model(settings, engine)
        before = run.settings().labels if (run.path / "campaign.toml").exists() else settings.labels
        run.open(settings, {"theory": theory, "molecule": fingerprint(settings)})
        view = View(campaign=settings.name, iterations=settings.iterations, records=list(run.records()))
        ticker = _Ticker(view, display, run)
        end_leftovers(run.path, run.events, config.executors)
        events = EventLog(run.events)
        events.write("driver", state="start", host=socket.gethostname(), pid=os.getpid(), site=site)
        ledger = Ledger.open(run.ledger)
        if any(getattr(before, name) != getattr(settings.labels, name) for name in LIMITS):
            ledger.forget_failures(theory, ("timeout", "out-of-memory", "engine-crash"), len(run.records()))
        with _terminated_by_signal(ticker):
            display.note(f"Starting workers on site {site_file.stem!r} ...")
            graph = TaskGraph(config, events, ticker, display.note, silence_s=settings.task_silence_s)
            ticker.graph = graph
            ticker.farm = LabelFarm(graph, ledger, model, settings.labels, theory)
            stages = Stages(settings, run, graph, ledger, ticker.farm, view, display.note)
            state, message = "failed", ""
            try:
                finished = run_campaign(settings, stages)
                state, message = "finished", finished.reason
            except BaseException as error:
                message = f"{type(error).__name__}: {error}"
                raise
            finally:
                _close(graph, ledger, events, lambda: ticker.write_status(state, message), state)
    return finished


def _engine_model(settings: CampaignSettings, engine: LabelEngine) -> tuple[EngineModel, str]:
    """Return what workers need to make the label engine and to prove it, and its theory."""
    labels, molecule = settings.labels, molecules(settings)[0]
    canary = make_canary(engine, molecule.numbers, molecule.positions, molecule.charge, labels.canary_tolerance_ev)
    known = tuple(getattr(canary, part.name) for part in fields(canary))
    timeout_s = labels.timeout_s if labels.guard else 0.0
    model = EngineModel(labels.engine, labels.settings.model_dump(mode="json"), timeout_s, labels.memory_gb, known)
    return model, engine.theory


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Raise a RunError with a sentence for a disk that takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE):
            raise
        raise RunError(
            f"A run needs a disk that takes writes; {path} does not: {error.strerror}. Make room and run the same "
            "command again."
        ) from error


def _close(graph: TaskGraph, ledger: Ledger, events: EventLog, write_status: Callable[[], None], state: str) -> None:
    """Commit what arrived, end Parsl, close the files: each even if the one before fails.

    That the driver ended is written once its blocks are given back: the next driver cancels those of one that did not.
    A failure of these is raised only where no other error is on its way: it would hide the cause.
    """
    on_its_way = sys.exc_info()[1]
    steps: list[Callable[[], Any]] = [
        ledger.close,
        write_status,
        graph.close,
        lambda: events.write("driver", state=state),
        events.close,
    ]
    failure: BaseException | None = None
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the others must still run
            failure = failure or error
    if failure is not None and on_its_way is None:
        raise failure


@contextmanager
def _terminated_by_signal(ticker: _Ticker) -> Iterator[None]:
    """Let SIGTERM, which schedulers send ahead of a kill, end the campaign cleanly."""

    def terminate(number: int, frame: FrameType | None) -> None:
        del number, frame
        ticker.terminated = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
