"""All that a campaign begins with beside its own settings, found and checked before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alflow.campaign.basetheory import Base, find_base, identity_of
from alflow.campaign.budget import check_budget
from alflow.campaign.plan import Plan
from alflow.campaign.preflight import check_base
from alflow.campaign.startdata import GivenData, read_given
from alflow.campaign.startweights import StartWeights, read_weights
from alflow.runs.directory import RunDirectory


@dataclass(frozen=True)
class Beginning:
    """Data, weights and a base."""

    given: GivenData
    weights: StartWeights
    base: Base | None

    @property
    def identity(self) -> Mapping[str, str]:
        """Return what tells them from others, by name."""
        return {**self.given.identity, **self.weights.identity, **identity_of(self.base)}


def find_beginning(plan: Plan, run: RunDirectory, theory: str) -> Beginning:
    """Find and check what a campaign begins with; nothing is written.

    Args:
        plan: of the campaign.
        run: its directory, new or not.
        theory: fingerprint of its label engine.

    Raises:
        InputError: a file or the base is none, or of something else; the base's engine cannot be had; the budget does
            not pay for the first data and one batch.
    """
    given, weights, base = read_given(plan, run, theory), read_weights(plan, run), find_base(plan, run)
    of_base = plan.settings.base.structures if plan.settings.base is not None else 0
    check_budget(plan, given.frames + of_base)
    return Beginning(given, weights, None if base is None else check_base(plan, base))
