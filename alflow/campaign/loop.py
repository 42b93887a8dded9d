"""The loop of a campaign: train, pull, select, label, commit.

The pull is sequential, labelling is not: as each segment of a pull comes back, the selector picks frames from it, and
their label tasks start while the next segment runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from alflow.campaign.stages import Stages
from alflow.config.campaign import CampaignSettings
from alflow.errors import CampaignError
from alflow.run.records import IterationRecord


@dataclass(frozen=True)
class Finished:
    """How a campaign ended."""

    records: tuple[IterationRecord, ...]
    reason: str


def run_campaign(settings: CampaignSettings, stages: Stages) -> Finished:
    """Run, or go on with, a campaign; every iteration is committed before the next begins.

    Raises:
        CampaignError: it cannot go on; what is committed stays.
    """
    stages.first_data()
    stages.start_reference()
    while len(stages.records()) < settings.iterations:
        iteration = len(stages.records())
        reason = stages.goal_reached()
        if reason:
            return Finished(stages.records(), reason)
        ensemble = stages.train(iteration)
        pulls = stages.pull(iteration, ensemble)
        stages.commit(iteration, ensemble, pulls)
    return Finished(stages.records(), f"all {settings.iterations} iterations are done")


__all__ = ["CampaignError", "Finished", "run_campaign"]
