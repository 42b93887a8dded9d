"""Start a campaign on a site, watch over it, and end it cleanly whatever happens."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from alflow.campaign.beginning import find_beginning
from alflow.campaign.campaign import Campaign
from alflow.campaign.exploring import explore
from alflow.campaign.fits import check_fits, label_seconds
from alflow.campaign.loop import Finished, run_campaign
from alflow.campaign.place import OwnSite, Place
from alflow.campaign.plan import Plan, make_plan
from alflow.campaign.preflight import check_campaign, engine_model
from alflow.campaign.startdata import take_labels
from alflow.campaign.startfile import started_from
from alflow.campaign.ticker import Ticker
from alflow.config.campaign import CampaignSettings, LabelSettings
from alflow.config.plugins import ENGINES, find
from alflow.display.view import Display, View
from alflow.errors import RunError
from alflow.execution.cleanup import clean_up
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger
from alflow.ledger.schema import is_damage, unusable
from alflow.runs.directory import RunDirectory
from alflow.runs.events import EventLog
from alflow.runs.lock import RunLock
from alflow.workers.models import EngineModel
from alflow.workers.selftest import Canary

LIMITS = ("timeout_s", "memory_gb", "guard")
"""Settings of labels: where they have changed, the iteration that is not committed asks again for what they ended."""


def launch(
    settings: CampaignSettings,
    site: str,
    options: Mapping[str, str],
    run_dir: Path,
    display: Display,
    committed: Callable[[RunDirectory], str] = lambda _: "",
    place: Place | None = None,
) -> Finished:
    """Run, or go on with, a campaign on a site.

    Args:
        settings: of the campaign.
        site: name of a site, or a site file.
        options: of the site.
        run_dir: run directory.
        display: shows what goes on.
        committed: called after each iteration; what it returns is shown.
        place: in an allocation of several campaigns; None for a site of its own.

    Raises:
        InputError: the settings, the site or its options break a rule; nothing was submitted.
        RunError: the run directory is locked, or another campaign's.
        CampaignError: the campaign had to end.
        TerminatedError: SIGTERM came; what was done is committed.
    """
    first = find(ENGINES, settings.labels.engine).first_use
    when = f" (the first time, {first})" if first else ""
    display.note(f"Labelling the starting structures with {settings.labels.engine} ...{when}")
    run = RunDirectory(run_dir.resolve())
    site_file = find_site(site)
    place = place or OwnSite(site_file, run.path, options, display.note)
    asked, settings = settings, started_from(run, settings, display.note)
    plan = make_plan(settings)
    for note in plan.notes:
        display.note(f"Note: {note}")
    model, canary = place.once(_kind_of(plan), lambda: _engine_model(plan))
    theory = canary.theory
    begun = find_beginning(plan, run, theory)
    for note in begun.given.notes:
        display.note(f"Note: {note}")
    check_fits(plan, place.config.executors, label_seconds(model), site_file.stem)
    place.checked()
    with writable(run.path), RunLock(run.path, display.note) as lock:
        before = run.settings().labels if (run.path / "campaign.toml").exists() else settings.labels
        structure = settings.system.structure
        identity = {"theory": theory, "molecule": plan.fingerprint, **begun.identity}
        run.open(asked, identity, Path(structure) if structure else None)
        place.opened()
        kept = run.with_kept_structure(settings)
        plan = plan if kept == settings else make_plan(kept)  # of the run's own copy, under the name that it began with
        view = View(settings.name, iterations=settings.iterations, records=list(run.records()))
        view.labels_budget = settings.labels.budget or 0
        view.labels_spent = next((one.labels_spent or 0 for one in reversed(view.records)), 0)
        ticker = Ticker(view, display, run, lock)
        clean_up(run.path, run.events, place.config.executors, place.parsl)
        events = EventLog(run.events)
        events.write("driver", state="start", host=socket.gethostname(), pid=os.getpid(), site=site, **place.marks)
        ledger = _ledger(run, theory, before, settings.labels)
        begun.weights.keep(run)
        take_labels(plan, run, ledger, begun.given, theory, canary.energy)
        with _terminated_by_signal(ticker):
            graph = place.graph(events, ticker, settings.task_silence_s)
            ticker.graph = graph
            ticker.farm = LabelFarm(graph, ledger, model, settings.labels, theory)
            campaign = Campaign(plan, run, graph, ledger, ticker.farm, view, begun.given, begun.base, display.note)
            state, message = "failed", ""
            try:
                explore(campaign, ticker, lambda base_run: _tell(display, committed(base_run)))
                finished = run_campaign(campaign, lambda: _tell(display, committed(run)))
                state, message = "finished", finished.reason
            except BaseException as error:
                message = f"{type(error).__name__}: {error}"
                raise
            finally:
                _close(graph, ledger, events, lambda: ticker.write_status(state, message), state)
    return finished


def _ledger(run: RunDirectory, theory: str, before: LabelSettings, now: LabelSettings) -> Ledger:
    """Open the ledger of a run; forget failures of the iteration that goes on whose limits have changed."""
    run.check_labels()
    ledger = Ledger.open(run.ledger)
    if any(getattr(before, name) != getattr(now, name) for name in LIMITS):
        ledger.forget_failures(theory, ("timeout", "out-of-memory", "engine-crash"), len(run.records()))
    return ledger


def _kind_of(plan: Plan) -> str:
    """Return what the checks of a campaign depend on: two that differ by their seeds alone need one check."""
    settings = plan.settings.model_dump(mode="json", exclude={"name", "seed", "iterations"})
    return json.dumps([settings, plan.fingerprint], sort_keys=True)


def _engine_model(plan: Plan) -> tuple[EngineModel, Canary]:
    """Check a campaign; return what workers need to make its label engine, and the label by which they verify it."""
    return engine_model(plan.settings.labels, plan.molecules[0], check_campaign(plan))


def _tell(display: Display, sentence: str) -> None:
    if sentence:
        display.note(sentence)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raise a RunError with a sentence for a disk that takes no more, and for a ledger that is damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        raise unusable(RunDirectory(path).ledger, error) from error
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
def _terminated_by_signal(ticker: Ticker) -> Iterator[None]:
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
