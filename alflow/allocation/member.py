"""A campaign of an allocation: a thread that runs it, and its place there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from alflow.allocation.requests import Request
from alflow.campaign.launch import launch
from alflow.campaign.loop import Finished
from alflow.campaign.place import CheckedT
from alflow.display.view import View
from alflow.errors import AlflowError, InputError
from alflow.execution.executors import Executors
from alflow.execution.graph import TaskGraph
from alflow.execution.shares import Shares, Use
from alflow.farm.exchange import LabelExchange
from alflow.runs.allocations import CampaignLine
from alflow.runs.directory import RunDirectory
from alflow.runs.events import EventLog

CHECKED, OPENED = 1, 2
"""How far a campaign has come: it is found to be sound; it has its run directory."""
ENDED = ("finished", "failed", "withdrawn")


class Site(Protocol):
    """What the campaigns of an allocation share."""

    name: str
    options: Mapping[str, str]
    folder: str
    config: Any
    """Parsl's."""
    executors: Executors | None
    """Once they are started."""
    shares: Shares | None
    exchange: LabelExchange
    checking: threading.Lock
    """Engines are made one after another."""
    known: dict[str, Any]
    """What checks gave, by the kinds of campaigns."""
    news: threading.Condition
    """Notified when a campaign has come further."""

    def note(self, message: str) -> None:
        """Show a sentence."""
        ...

    def committed(self, run: RunDirectory) -> str:
        """Do what is to be done after an iteration; of one campaign at a time."""
        ...


class Member:
    """A campaign, in a thread of its own."""

    def __init__(self, request: Request, site: Site) -> None:
        """Take it in; nothing is started yet.

        Args:
            request: the campaign.
            site: what it shares with others.
        """
        self.request = request
        self._site = site
        self._seat = site.exchange.join(request.name)
        self._thread = threading.Thread(target=self._run, name=f"campaign-{request.name}", daemon=True)
        self._display = _Relay(request.name, site.note)
        self.events: EventLog | None = None
        self.state, self.message = "starting", ""
        self.finished: Finished | None = None
        self.error: BaseException | None = None
        self.stop: BaseException | None = None
        """Raised in its thread as soon as that looks."""
        self.withdrawn = False
        self.reached = self.allowed = 0

    @property
    def name(self) -> str:
        """Of the campaign."""
        return self.request.name

    @property
    def view(self) -> View | None:
        """What there is to show; None before there is anything."""
        return self._display.view

    @property
    def ended(self) -> bool:
        """Say whether it is over, well or not."""
        return self.state in ENDED

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for its end; say whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def end(self, error: BaseException) -> None:
        """Have it end; the first reason counts."""
        with self._site.news:
            self.stop = self.stop or error
            self._site.news.notify_all()

    def line(self) -> CampaignLine:
        """Return what it does and has used."""
        view = self.view or View(iterations=self.request.settings.iterations)
        use = self._site.shares.use(self.name) if self._site.shares is not None else Use({}, 0, 0)
        return CampaignLine(
            name=self.name,
            run=str(self.request.run),
            weight=self.request.weight,
            state=self.state,
            message=self.message,
            iteration=view.iteration,
            iterations=view.iterations,
            stage=view.stage,
            labels_done=view.labels_done,
            labels_wanted=view.labels_wanted,
            labels_shared=self._seat.shared,
            waiting=use.waiting,
            running=use.running,
            seconds=use.seconds,
        )

    @property
    def config(self) -> Any:
        """Configuration of the site."""
        return self._site.config

    @property
    def parsl(self) -> None:
        """Return nothing: the allocation looks after its own processes."""
        return

    @property
    def marks(self) -> dict[str, str]:
        """What the event log says of it."""
        return {"allocation": self._site.folder}

    def once(self, kind: str, check: Callable[[], CheckedT]) -> CheckedT:
        """Check it, or return what the check of another one of its kind gave; one after another."""
        with self._site.checking:
            if kind not in self._site.known:
                self._site.known[kind] = check()
            found: CheckedT = self._site.known[kind]
            return found

    def checked(self) -> None:
        """Wait until all campaigns that start together are found to be sound."""
        self._wait(CHECKED)

    def opened(self) -> None:
        """Wait until all of them have their run directories."""
        self._wait(OPENED)

    def graph(self, events: EventLog, tick: Callable[[], None], silence_s: float) -> TaskGraph:
        """Return a task graph over its share of the site."""
        executors, shares = self._site.executors, self._site.shares
        assert executors is not None
        assert shares is not None
        self.events = events
        for executor in self._site.config.executors:
            events.write("workers", executor=executor.label, workers=executors.workers(executor.label), before=0)
        share = shares.join(self.name, self.request.weight, self._seat.leave)
        self.state = "running"
        return TaskGraph(share, events, lambda: self._tick(tick), silence_s=silence_s, exchange=self._seat)

    def _tick(self, tick: Callable[[], None]) -> None:
        if self.stop is not None:
            raise self.stop
        tick()

    def _wait(self, place: int) -> None:
        with self._site.news:
            self.reached = place
            self._site.news.notify_all()
            self._site.news.wait_for(lambda: self.allowed >= place or self.stop is not None)
        if self.stop is not None:
            raise self.stop

    def _run(self) -> None:
        site, state = self._site, "failed"
        try:
            self.finished = launch(
                self.request.settings,
                site.name,
                site.options,
                self.request.run,
                self._display,
                site.committed,
                place=self,
            )
            state, self.message = "finished", self.finished.reason
        except BaseException as error:  # noqa: BLE001 - the others go on; the driver tells
            self.error, self.message = error, sentence(error)
            state = "withdrawn" if self.withdrawn and error is self.stop else "failed"
        finally:
            self._seat.leave()
            if site.shares is not None:
                site.shares.leave(self.name)
            with site.news:
                self.state = state
                site.news.notify_all()


class RefusedError(InputError):
    """Another campaign that was to start with this one cannot."""


class _Relay:
    """A campaign's display: what it shows is drawn by the driver."""

    def __init__(self, name: str, note: Callable[[str], None]) -> None:
        self._name, self._note = name, note
        self.view: View | None = None

    def update(self, view: View) -> None:
        """Remember what there is to show, as it is now: the campaign goes on to change it."""
        self.view = replace(view)

    def note(self, message: str) -> None:
        """Show a sentence with the campaign's name."""
        self._note(f"{self._name}: {message}")

    def close(self) -> None:
        """Do nothing."""


def sentence(error: BaseException) -> str:
    """Return an error in words."""
    return str(error) if isinstance(error, AlflowError) else f"{type(error).__name__}: {error}"
