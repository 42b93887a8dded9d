"""Place of a campaign: a site of its own, or a part of one that several campaigns share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from alflow.execution.graph import TaskGraph
from alflow.execution.sites import load_site
from alflow.runs.events import EventLog

CheckedT = TypeVar("CheckedT")


class Place(Protocol):
    """Where a campaign runs."""

    @property
    def config(self) -> Any:
        """Configuration of the site."""
        ...

    @property
    def parsl(self) -> Path | None:
        """Folder of Parsl whose processes an earlier driver of this run may have left; the run's own if None."""
        ...

    @property
    def marks(self) -> dict[str, str]:
        """What the event log says of it."""
        ...

    def once(self, kind: str, check: Callable[[], CheckedT]) -> CheckedT:
        """Check a campaign, or return what the check of another one of its kind gave.

        Args:
            kind: what the check depends on.
            check: does it.
        """
        ...

    def checked(self) -> None:
        """Wait until all campaigns that start together are found to be sound; nothing has been written yet.

        Raises:
            InputError: another one is not.
        """
        ...

    def opened(self) -> None:
        """Wait until all of them have their run directories.

        Raises:
            InputError: another one cannot have its own.
        """
        ...

    def graph(self, events: EventLog, tick: Callable[[], None], silence_s: float) -> TaskGraph:
        """Return a task graph over the campaign's share of the site."""
        ...


class OwnSite:
    """A site that is started for one campaign."""

    def __init__(
        self, site: Path, run: Path, options: Mapping[str, str], say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Read the site; nothing is started.

        Args:
            site: the site file.
            run: run directory.
            options: of the site.
            say: shows a sentence to the user.

        Raises:
            SiteError: the site or its options break a rule.
        """
        self._name, self._say = site.stem, say
        self.config: Any = load_site(site, run, options)
        self.marks: dict[str, str] = {}

    @property
    def parsl(self) -> Path:
        """Folder of Parsl."""
        return Path(self.config.run_dir)

    def once(self, kind: str, check: Callable[[], CheckedT]) -> CheckedT:
        """Check the campaign."""
        del kind
        return check()

    def checked(self) -> None:
        """Wait for nobody."""

    def opened(self) -> None:
        """Wait for nobody."""

    def graph(self, events: EventLog, tick: Callable[[], None], silence_s: float) -> TaskGraph:
        """Start the executors."""
        self._say(f"Starting workers on site {self._name!r} ...")
        return TaskGraph(self.config, events, tick, self._say, silence_s=silence_s)
