"""The driver of several campaigns: it starts one site for all of them, watches over it, and ends it after the last.

Each campaign runs in a thread of its own, with its own run directory, ledger, lock and events, as it would alone; what
they share is the executors, a fair queue before these, and an exchange of labels. This thread starts and ends the
executors, hears signals, answers requests, and draws what goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alflow.allocation.answering import Answering
from alflow.allocation.member import CHECKED, OPENED, Member, RefusedError, sentence
from alflow.allocation.members import Members
from alflow.allocation.requests import Request, check_apart
from alflow.allocation.signals import Signals
from alflow.campaign.launch import writable
from alflow.campaign.loop import Finished
from alflow.display.several import SeveralDisplay
from alflow.errors import CampaignError, RunError, TerminatedError
from alflow.execution.cleanup import clean_up
from alflow.execution.executors import Executors
from alflow.execution.shares import Shares
from alflow.execution.sites import find_site, load_site
from alflow.farm.exchange import LabelExchange
from alflow.files.targets import shown
from alflow.runs.allocations import AllocationDirectory, AllocationStatus
from alflow.runs.directory import RunDirectory
from alflow.runs.events import EventLog
from alflow.runs.lock import RunLock

LOOK_SECONDS = 0.25
STATUS_SECONDS = 1.0
FOR_ALL = ("workers", "canary", "block", "walltime")
"""Events of the site that each campaign writes down, too."""


@dataclass(frozen=True)
class Ended:
    """How a campaign of an allocation ended."""

    request: Request
    state: str
    """finished, failed or withdrawn."""
    message: str
    finished: Finished | None = None
    error: BaseException | None = None


def run_allocation(
    requests: Sequence[Request],
    site: str,
    options: Mapping[str, str],
    folder: Path,
    display: SeveralDisplay,
    committed: Callable[[RunDirectory], str] = lambda _: "",
) -> tuple[Ended, ...]:
    """Run, or go on with, several campaigns on one site.

    Args:
        requests: the campaigns.
        site: name of a site, or a site file.
        options: of the site.
        folder: of the allocation.
        display: shows what goes on.
        committed: called after each iteration of each campaign, of one at a time; what it returns is shown.

    Returns:
        How each campaign ended, those that were added meanwhile included.

    Raises:
        InputError: a campaign, the site or its options break a rule; nothing was submitted.
        RunError: the allocation is driven by another process.
        CampaignError: the executors do not start.
        KeyboardInterrupt, TerminatedError: a signal came; what was done is committed.
    """
    check_apart(requests, folder.resolve())
    return Allocation(site, options, folder, display, committed).run(requests)


class Allocation:
    """What the campaigns of a driver share, and the loop that watches over them."""

    def __init__(
        self,
        site: str,
        options: Mapping[str, str],
        folder: Path,
        display: SeveralDisplay,
        committed: Callable[[RunDirectory], str] = lambda _: "",
    ) -> None:
        """Read the site; nothing is started.

        Args:
            site: name of a site, or a site file.
            options: of the site.
            folder: of the allocation.
            display: shows what goes on.
            committed: called after each iteration.

        Raises:
            SiteError: the site or its options break a rule.
            RunError: the folder is something else's.
        """
        self.name, self.options = site, options
        self.directory = AllocationDirectory(folder.resolve())
        self.directory.check_new()
        self.folder = str(self.directory.path)
        self.config: Any = load_site(find_site(site), self.directory.path, options)
        self.executors: Executors | None = None
        self.shares: Shares | None = None
        self.exchange = LabelExchange()
        self.news = threading.Condition()
        self.checking, self.known = threading.Lock(), dict[str, Any]()
        self._display, self._committed = display, committed
        self._one_at_a_time = threading.Lock()
        self._members = Members(self)
        self._answering = Answering(self.directory, self._members, self.note)
        self._started = self._counted = time.time()
        self._held: Counter[str] = Counter()
        self._looked = 0.0
        self._events: EventLog | None = None

    def note(self, message: str) -> None:
        """Show a sentence."""
        self._display.note(message)

    def committed(self, run: RunDirectory) -> str:
        """Do what is to be done after an iteration: drawing a report is no work for two threads at a time."""
        with self._one_at_a_time:
            return self._committed(run)

    def run(self, requests: Sequence[Request]) -> tuple[Ended, ...]:
        """Run campaigns; see `run_allocation`."""
        with Signals() as signals:
            try:
                for request in requests:
                    self._check(self._members.take_in(request), signals)
                    self._members.refuse_failed()
                with writable(self.directory.path), self._locked() as lock:
                    self._drive(signals, lock)
            finally:
                self._members.end_all(RefusedError("The driver has ended."))
        signals.raise_received()
        return tuple(Ended(one.request, one.state, one.message, one.finished, one.error) for one in self._members)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[RunLock]:
        """Hold the folder.

        Raises:
            RunError: another driver does.
        """
        lock = RunLock(self.directory.path, self.note)
        try:
            lock.__enter__()
        except RunError as error:
            raise RunError(
                f"{error} Add campaigns to that driver (`alflow add`), or name another folder (--allocation)."
            ) from error
        try:
            yield lock
        finally:
            lock.__exit__()

    def _check(self, member: Member, signals: Signals) -> None:
        """Start a campaign, and wait until it is checked or has failed: engines are made one after another."""
        member.start()
        self._await(lambda: member.reached >= CHECKED or member.ended, signals)

    def _await(self, done: Callable[[], bool], signals: Signals) -> None:
        """Wait for campaigns.

        Raises:
            KeyboardInterrupt, TerminatedError: a signal came.
        """
        with self.news:
            while not self.news.wait_for(done, LOOK_SECONDS):
                signals.raise_received()

    def _drive(self, signals: Signals, lock: RunLock) -> None:
        """Start the executors, run the campaigns to their ends, and close all in good order."""
        self.directory.open(self.name, {one.name: str(one.request.run) for one in self._members})
        clean_up(self.directory.path, self.directory.events, self.config.executors, Path(self.config.run_dir))
        self._events = EventLog(self.directory.events)
        self._events.write("driver", state="start", host=socket.gethostname(), pid=os.getpid(), site=self.name)
        state, message = "failed", ""
        try:
            self._write_status("running")
            self._members.allow(CHECKED)
            self._await(lambda: all(one.reached >= OPENED or one.ended for one in self._members), signals)
            self._members.refuse_failed()
            self._start_site()
            self._members.allow(OPENED)
            self._watch(signals, lock)
            state, message = ("failed", signals.sentence) if signals.received else self._members.outcome()
        except BaseException as error:
            message = sentence(error)
            raise
        finally:
            self._close(state, message)

    def _start_site(self) -> None:
        self.note(f"Starting workers on site {find_site(self.name).stem!r} for {len(self._members)} campaigns ...")
        self.executors = Executors(self.config, self._log, self.note)
        self.shares = Shares(self.executors, self._log)

    def _watch(self, signals: Signals, lock: RunLock) -> None:
        """Look after the site and the campaigns until all of them have ended."""
        while True:
            if signals.received:
                self._members.end_all(TerminatedError(signals.sentence))
                return
            if lock.lost:
                self._members.end_each(lambda: RunError(f"Another driver took {shown(self.directory.path)}."))
            self._look()
            if not self._members.running and not self._answering.look():
                return
            with self.news:
                self.news.wait_for(lambda: bool(signals.received), LOOK_SECONDS)

    def _look(self) -> None:
        """Do what is due."""
        now = time.time()
        if now - self._looked >= STATUS_SECONDS:
            self._looked = now
            self._check_site()
            self._answering.look()
            self._write_status("running")
        self._display.update(self._status("running"), {one.name: one.view for one in self._members})

    def _check_site(self) -> None:
        """Have all campaigns end where the site is gone; their tasks would never come back."""
        assert self.executors is not None
        assert self.shares is not None
        try:
            self.executors.check()
            self.shares.check()
        except CampaignError as error:
            text = str(error)
            self._members.end_each(lambda: CampaignError(text))

    def _write_status(self, state: str, message: str = "") -> None:
        """Write the status; a disk that takes no more is noticed by the campaigns that need it."""
        with contextlib.suppress(OSError):
            self.directory.write_status(self._status(state, message))

    def _status(self, state: str, message: str = "") -> AllocationStatus:
        """Return what goes on; counts the workers that were held since the last time."""
        now = time.time()
        labels = [executor.label for executor in self.config.executors]
        workers = {label: self.executors.workers(label) if self.executors is not None else 0 for label in labels}
        for label, count in workers.items():
            self._held[label] += count * (now - self._counted)  # type: ignore[assignment]
        self._counted = now
        return AllocationStatus(
            state=state,
            message=message,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            time=now,
            site=self.name,
            workers=workers,
            held={label: float(seconds) for label, seconds in self._held.items()},
            campaigns=tuple(member.line() for member in self._members),
        )

    def _log(self, what: str, **fields: Any) -> None:
        """Write an event of the site; a disk that takes no more is noticed by the campaigns that need it."""
        told = [member.events for member in self._members] if what in FOR_ALL else []
        for events in (self._events, *told):
            if events is not None:
                with contextlib.suppress(OSError):
                    events.write(what, **fields)

    def _close(self, state: str, message: str) -> None:
        """End the campaigns, Parsl, and the files: each even if the one before fails.

        A failure of these is raised only where no other error is on its way: it would hide the cause.
        """
        on_its_way = sys.exc_info()[1]
        failure: BaseException | None = None
        steps: list[Callable[[], Any]] = [
            lambda: self._members.end_all(RefusedError("The driver has ended.")),
            lambda: self._write_status(state, message),
            lambda: self.shares.stop() if self.shares is not None else None,
            lambda: self.executors.close() if self.executors is not None else None,
            lambda: self._events.write("driver", state=state) if self._events is not None else None,
            lambda: self._events.close() if self._events is not None else None,
            self._answering.close,
        ]
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the others must still run
                failure = failure or error
        if failure is not None and on_its_way is None:
            raise failure
