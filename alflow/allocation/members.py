"""The campaigns of an allocation, taken together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alflow.allocation.member import Member, Site
from alflow.allocation.requests import Request, check_apart
from alflow.config.sweeps import MOST_CAMPAIGNS
from alflow.errors import AlflowError, ConfigError, InputError, RunError

END_SECONDS = 60.0
"""A campaign that is told to end gets this long; what it has not written by then is made anew, as after a kill."""


class Members:
    """Those that run and those that have ended, in the order in which they were taken in."""

    def __init__(self, site: Site) -> None:
        """Start without any.

        Args:
            site: what they share.
        """
        self._site = site
        self._members: list[Member] = []
        self._patience_s = END_SECONDS

    def __iter__(self) -> Iterator[Member]:
        """Go through all of them."""
        return iter(tuple(self._members))

    def __len__(self) -> int:
        """Count all of them."""
        return len(self._members)

    @property
    def running(self) -> list[Member]:
        """Those that have not ended."""
        return [one for one in self._members if not one.ended]

    def take_in(self, request: Request) -> Member:
        """Add a campaign, in the place of one of its name that has ended; it is not started yet."""
        member = Member(request, self._site)
        self._members = [one for one in self._members if one.name != request.name] + [member]
        return member

    def check_room(self, request: Request, folder: Path) -> None:
        """Refuse a campaign that cannot run beside those that do.

        Raises:
            ConfigError: it would meet another one, or there are too many.
        """
        running = self.running
        check_apart([*(one.request for one in running), request], folder)
        if len(running) >= MOST_CAMPAIGNS:
            raise ConfigError(f"A driver has at most {MOST_CAMPAIGNS} campaigns; {len(running)} run already.")

    def named(self, name: str) -> Member:
        """Return a campaign that runs, by its name or run directory.

        Raises:
            RunError: there is none.
        """
        for member in self.running:
            if name == member.name or Path(name).resolve() == member.request.run:
                return member
        there = ", ".join(one.name for one in self.running) or "none"
        raise RunError(f"A campaign that is withdrawn must run; {name!r} does not. There is: {there}.")

    def allow(self, place: int) -> None:
        """Let all of them go on to a place."""
        with self._site.news:
            for member in self._members:
                member.allowed = max(member.allowed, place)
            self._site.news.notify_all()

    def refuse_failed(self) -> None:
        """Raise what keeps a campaign from starting: none of them starts then.

        Raises:
            InputError: with a line a campaign.
        """
        failed = [one for one in self._members if one.error is not None]
        for one in failed:
            if one.error is not None and not isinstance(one.error, AlflowError):
                raise one.error
        if failed:
            text = "\n".join(f"{one.name}: {one.message}" for one in failed)
            raise InputError(text) from failed[0].error

    def outcome(self) -> tuple[str, str]:
        """Return the state in which the driver of campaigns that have ended ends, and why."""
        failed = [one.name for one in self._members if one.state == "failed"]
        if failed:
            return "failed", f"of {len(self._members)} campaigns failed: {', '.join(failed)}"
        return "finished", "all have ended"

    def end_each(self, reason: Callable[[], BaseException]) -> None:
        """Have each of them end as soon as it looks."""
        for member in self._members:
            member.end(reason())

    def end_all(self, reason: AlflowError) -> None:
        """Have all of them end, and wait for that; the second time no longer than it takes to look."""
        self.end_each(lambda: type(reason)(str(reason)))
        until, self._patience_s = time.monotonic() + self._patience_s, 0.0
        for member in self._members:
            if not member.join(max(0.0, until - time.monotonic())):
                self._site.note(f"{member.name}: has not ended, and is left; it goes on as after a kill.")
