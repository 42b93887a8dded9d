"""The view of a running campaign, and the protocol of what shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from alflow.runs.records import IterationRecord


@dataclass
class View:
    """What there is to show. Changed by the campaign, drawn by a display."""

    campaign: str = ""
    iteration: int = 0
    iterations: int = 0
    stage: str = "start"
    part: str = ""
    """Which campaign of several goes on, in front of the stage: that of a base."""
    label_tasks: int = 0
    labels_wanted: int = 0
    labels_done: int = 0
    labels_failed: int = 0
    labels_known: int = 0
    """Found in the ledger instead of being paid for."""
    labels_per_second: float = 0.0
    labels_spent: int = 0
    labels_budget: int = 0
    """Labels that the campaign may ask for in all; 0: no budget."""
    steps_wanted: int = 0
    steps_done: int = 0
    """Of the pulls of this iteration."""
    work_ev: float = 0.0
    """Work so far in the pull that reported last."""
    reference_wanted: int = 0
    reference_done: int = 0
    """Steps of all reference pulls."""
    epochs: int = 0
    epoch: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    """Of each executor, as far as they have connected."""
    records: list[IterationRecord] = field(default_factory=list)


class Display(Protocol):
    """Shows a view."""

    def update(self, view: View) -> None:
        """Draw the view; called a few times a second."""
        ...

    def note(self, message: str) -> None:
        """Say one sentence that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Shows nothing."""

    def update(self, view: View) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
