"""The loop of a campaign: train, pull, select, label, commit.

The pull is sequential, labelling is not: as each segment of a pull comes back, the selector picks frames from it, and
their label tasks start while the next segment runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alflow.campaign.campaign import Campaign
from alflow.campaign.commit import commit
from alflow.campaign.firstdata import first_data
from alflow.campaign.goal import goal_reached, replicas_to_pull
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
        iteration = len(records)
        reason = goal_reached(records, campaign.settings.stop, campaign.settings.sampling.replicas)
        if reason:
            return Finished(records, reason)
        replicas = replicas_to_pull(records, campaign.settings)
        if campaign.settings.sampling.replicas.differ:
            campaign.say(f"Iteration {iteration} pulls {replicas} replicas of each molecule and rate.")
        specs = campaign.plan.pulls_of(replicas)
        references.start(specs)
        ensemble = train(campaign, iteration)
        pulled = pull(campaign, references, iteration, ensemble, specs)
        commit(campaign, references, iteration, ensemble, pulled)
        committed()
    return Finished(records, f"all {campaign.settings.iterations} iterations are done")
