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

from alflow.allocation import spool
from alflow.allocation.member import CHECKED, OPENED, Member, RefusedError, sentence
from alflow.allocation.requests import Request, check_apart
from alflow.allocation.signals import Signals
from alflow.campaign.launch import writable
from alflow.campaign.loop import Finished
from alflow.config.sweeps import MOST_CAMPAIGNS
from alflow.display.several import SeveralDisplay
from alflow.errors import AlflowError, CampaignError, ConfigError, InputError, RunError, TerminatedError
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
END_SECONDS = 60.0
"""A campaign that is told to end gets this long; what it has not written by then is made anew, as after a kill."""
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
        self._members: list[Member] = []
        self._asked: list[tuple[spool.Asked, Member]] = []
        self._started = self._counted = time.time()
        self._held: Counter[str] = Counter()
        self._looked = 0.0
        self._patience_s = END_SECONDS
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
                    self._check(self._taken_in(request), signals)
                    self._refuse_failed()
                with writable(self.directory.path), self._locked() as lock:
                    self._drive(signals, lock, requests)
            finally:
                self._end_all(RefusedError("The driver has ended."))
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

    def _taken_in(self, request: Request) -> Member:
        member = Member(request, self)
        self._members = [one for one in self._members if one.name != request.name] + [member]
        return member

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

    def _refuse_failed(self) -> None:
        """Raise what keeps a campaign from starting: none of them starts then."""
        failed = [one for one in self._members if one.error is not None]
        for one in failed:
            if not isinstance(one.error, AlflowError):
                raise one.error or RuntimeError
        if failed:
            text = "\n".join(f"{one.name}: {one.message}" for one in failed)
            raise InputError(text) from failed[0].error

    def _drive(self, signals: Signals, lock: RunLock, requests: Sequence[Request]) -> None:
        """Start the executors, run the campaigns to their ends, and close all in good order."""
        self.directory.open(self.name, {one.name: str(one.run) for one in requests})
        clean_up(self.directory.path, self.directory.events, self.config.executors, Path(self.config.run_dir))
        self._allow(CHECKED)
        self._await(lambda: all(one.reached >= OPENED or one.ended for one in self._members), signals)
        self._refuse_failed()
        self._events = EventLog(self.directory.events)
        self._events.write("driver", state="start", host=socket.gethostname(), pid=os.getpid(), site=self.name)
        state, message = "failed", ""
        try:
            self.note(f"Starting workers on site {find_site(self.name).stem!r} for {len(self._members)} campaigns ...")
            self.executors = Executors(self.config, self._log, self.note)
            self.shares = Shares(self.executors, self._log)
            self._allow(OPENED)
            self._watch(signals, lock)
            state, message = self._outcome(signals)
        except BaseException as error:
            message = sentence(error)
            raise
        finally:
            self._close(state, message)

    def _outcome(self, signals: Signals) -> tuple[str, str]:
        """Return the state in which the driver ends, and why."""
        failed = [one.name for one in self._members if one.state == "failed"]
        if signals.received:
            return "failed", signals.sentence
        if failed:
            return "failed", f"of {len(self._members)} campaigns failed: {', '.join(failed)}"
        return "finished", "all have ended"

    def _allow(self, place: int) -> None:
        with self.news:
            for member in self._members:
                member.allowed = max(member.allowed, place)
            self.news.notify_all()

    def _watch(self, signals: Signals, lock: RunLock) -> None:
        """Look after the site and the campaigns until all of them have ended."""
        while True:
            if signals.received:
                self._end_all(TerminatedError(signals.sentence))
                return
            if lock.lost:
                self._end_each(lambda: RunError(f"Another driver took {shown(self.directory.path)}."))
            self._look()
            if all(member.ended for member in self._members) and not self._answer_requests():
                return
            with self.news:
                self.news.wait_for(lambda: bool(signals.received), LOOK_SECONDS)

    def _look(self) -> None:
        """Do what is due."""
        now = time.time()
        if now - self._looked >= STATUS_SECONDS:
            self._looked = now
            self._check_site()
            self._answer_requests()
            with contextlib.suppress(OSError):
                self.directory.write_status(self._status("running"))
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
            self._end_each(lambda: CampaignError(text))

    def _answer_requests(self) -> bool:
        """Take in what was asked for, and answer what has been done; say whether a campaign was added."""
        added = False
        for asked in spool.look(self.directory):
            try:
                added = self._do(asked) or added
            except AlflowError as error:
                asked.answer(str(error), accepted=False)
        for asked, member in tuple(self._asked):
            if member.ended or (asked.action == "add" and member.state == "running"):
                self._asked.remove((asked, member))
                self._answer(asked, member)
        return added

    def _do(self, asked: spool.Asked) -> bool:
        if asked.request is not None:
            running = [one.request for one in self._members if not one.ended]
            check_apart([*running, asked.request], self.directory.path)
            if len(running) >= MOST_CAMPAIGNS:
                raise ConfigError(f"A driver has at most {MOST_CAMPAIGNS} campaigns; {len(running)} run already.")
            member = self._taken_in(asked.request)
            member.allowed = OPENED
            member.start()
            self.note(f"{member.name}: added.")
        else:
            member = self._named(asked.name)
            member.withdrawn = True
            member.end(TerminatedError("The campaign was withdrawn; it can go on later."))
        self._asked.append((asked, member))
        return asked.request is not None

    def _named(self, name: str) -> Member:
        """Return a campaign that runs, by its name or run directory.

        Raises:
            RunError: there is none.
        """
        running = [one for one in self._members if not one.ended]
        for member in running:
            if name == member.name or Path(name).resolve() == member.request.run:
                return member
        there = ", ".join(one.name for one in running) or "none"
        raise RunError(f"A campaign that is withdrawn must run; {name!r} does not. There is: {there}.")

    def _answer(self, asked: spool.Asked, member: Member) -> None:
        if asked.action == "withdraw":
            asked.answer(f"{member.name} has ended: {member.message}", accepted=True)
        elif member.state == "running":
            asked.answer(f"{member.name} runs with the others, in {member.request.run}.", accepted=True)
        else:
            asked.answer(f"{member.name}: {member.message}", accepted=member.state == "finished")

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

    def _end_each(self, reason: Callable[[], BaseException]) -> None:
        for member in self._members:
            member.end(reason())

    def _end_all(self, reason: AlflowError) -> None:
        """End all campaigns, and wait for them, in bounded time."""
        self._end_each(lambda: type(reason)(str(reason)))
        until, self._patience_s = time.monotonic() + self._patience_s, 0.0
        for member in self._members:
            if not member.join(max(0.0, until - time.monotonic())):
                self.note(
                    f"{member.name}: has not ended within {END_SECONDS:.0f} s and is left; it goes on as after a kill."
                )

    def _close(self, state: str, message: str) -> None:
        """End the campaigns, Parsl, and the files: each even if the one before fails.

        A failure of these is raised only where no other error is on its way: it would hide the cause.
        """
        on_its_way = sys.exc_info()[1]
        failure: BaseException | None = None
        steps: list[Callable[[], Any]] = [
            lambda: self._end_all(RefusedError("The driver has ended.")),
            lambda: self.directory.write_status(self._status(state, message)),
            lambda: self.shares.stop() if self.shares is not None else None,
            lambda: self.executors.close() if self.executors is not None else None,
            lambda: self._events.write("driver", state=state) if self._events is not None else None,
            lambda: self._events.close() if self._events is not None else None,
            self._refuse_requests,
        ]
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the others must still run
                failure = failure or error
        if failure is not None and on_its_way is None:
            raise failure

    def _refuse_requests(self) -> None:
        """Answer those who came too late."""
        for asked in [*spool.look(self.directory), *(asked for asked, _ in self._asked)]:
            asked.answer("The driver has ended.", accepted=False)
