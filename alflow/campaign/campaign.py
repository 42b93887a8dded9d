"""Context of a campaign: what every stage works with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from alflow.campaign.basetheory import Base
from alflow.campaign.plan import Plan
from alflow.campaign.startdata import GivenData
from alflow.config.campaign import CampaignSettings
from alflow.display.view import View
from alflow.execution.graph import TaskGraph
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger
from alflow.runs.directory import RunDirectory


@dataclass
class Campaign:
    """A campaign that runs: its plan, and what carries it out."""

    plan: Plan
    run: RunDirectory
    graph: TaskGraph
    ledger: Ledger
    farm: LabelFarm
    view: View
    given: GivenData = field(default_factory=GivenData)
    """Structures and labels of files that it starts from."""
    base: Base | None = None
    """The cheaper theory that it starts from."""
    say: Callable[[str], None] = lambda _: None
    """Shows a sentence to the user."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each stage of this iteration took, s."""
    counted: Counter[str] = field(default_factory=Counter)
    """Tasks that ended before this iteration."""

    @property
    def settings(self) -> CampaignSettings:
        """Of the plan."""
        return self.plan.settings

    def enter(self, iteration: int, stage: str) -> None:
        """Say which stage goes on now."""
        self.view.iteration, self.view.stage = iteration, stage
