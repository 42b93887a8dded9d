"""The loop of a campaign: train, pull, select, label, commit.

The pull is sequential, labelling is not: as each segment of a pull comes back, the selector picks frames from it, and
their label tasks start while the next segment runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alflow.campaign.budget import allotment, budget_spent, keep_allotment
from alflow.campaign.campaign import Campaign
from alflow.campaign.commit import commit
from alflow.campaign.firstdata import first_data
from alflow.campaign.goal import goal_reached, replicas_to_pull
from alflow.campaign.late import ask_for_late_labels, late_labels
from alflow.campaign.pulling import pull
from alflow.campaign.reference import References
from alflow.campaign.training import train
from alflow.runs.records import IterationRecord


@dataclass(frozen=True)
class Finished:
    """How a campaign ended."""

    records: tuple[IterationRecord, ...]
    reason: str


def run_campaign(campaign: Campaign, committed: Callable[[], None] = lambda: None) -> Finished:
    """Run, or go on with, a campaign; every iteration is committed before the next begins.

    Args:
        campaign: what is run.
        committed: called after each iteration.

    Raises:
        CampaignError: it cannot go on; what is committed stays.
    """
    references = References(campaign)
    first_data(campaign)
    while len(records := campaign.run.records()) < campaign.settings.iterations:
        iteration, given = len(records), allotment(campaign, len(records), records)
        reason = goal_reached(records, campaign.settings.stop, campaign.settings.sampling.replicas)
        reason = reason or budget_spent(campaign, records, given)
        if reason:
            return Finished(records, reason + _left_out(campaign, iteration - 1))
        keep_allotment(campaign, iteration, given)
        replicas = replicas_to_pull(records, campaign.settings, last=given.last)
        if campaign.settings.sampling.replicas.differ:
            campaign.say(f"Iteration {iteration} pulls {replicas} replicas of each molecule and rate.")
        specs = campaign.plan.pulls_of(replicas)
        references.start(specs)
        ask_for_late_labels(campaign, iteration)
        ensemble = train(campaign, iteration)
        pulled = pull(campaign, references, iteration, ensemble, specs, given)
        commit(campaign, references, iteration, ensemble, pulled)
        committed()
    return Finished(records, f"all {campaign.settings.iterations} iterations are done")


def _left_out(campaign: Campaign, iteration: int) -> str:
    """Say how many labels nobody waits for any more."""
    number = len(late_labels(campaign.run, iteration))
    return f"; {number} late labels were not waited for, and are asked for again where the run goes on" * bool(number)
