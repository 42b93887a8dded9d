"""Data of a run that a report is made from, each part read once and when it is asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alflow.campaign.plan import Plan, PullSpec, make_plan
from alflow.config.campaign import CampaignSettings
from alflow.report.utilisation import Utilisation, utilisation
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events
from alflow.runs.records import IterationRecord


@dataclass(frozen=True)
class RunData:
    """A run directory and what is in it."""

    run: RunDirectory
    settings: CampaignSettings

    @cached_property
    def records(self) -> tuple[IterationRecord, ...]:
        """The committed iterations."""
        return self.run.records()

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """All lines of the event log."""
        return list(read_events(self.run.events))

    @cached_property
    def utilisation(self) -> tuple[Utilisation, ...]:
        """Of each executor."""
        return utilisation(self.events)

    @cached_property
    def plan(self) -> Plan:
        """What the campaign does."""
        return make_plan(self.settings)

    @property
    def pulls(self) -> tuple[PullSpec, ...]:
        """The pulls of the last committed iteration; all of the plan before there is one."""
        return self.plan.pulls_of(self.last.replicas if self.records else None)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, git revision and host of the last driver."""
        return _table(self.run.path / "environment.json")

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the last driver wrote of its state."""
        return _table(self.run.path / "status.json")

    @property
    def iterations(self) -> list[int]:
        """Numbers of the committed iterations."""
        return [record.iteration for record in self.records]

    @property
    def last(self) -> IterationRecord:
        """The last committed iteration."""
        return self.records[-1]

    def tasks(self, what: str) -> list[dict[str, Any]]:
        """Return the event lines of one kind of task, without labels of a base, which are not the ledger's."""
        return [event for event in self.events if event["what"] == what and "task" in event and "of" not in event]


def _table(path: Path) -> dict[str, Any]:
    """Read a file of JSON; a page does without one that is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
