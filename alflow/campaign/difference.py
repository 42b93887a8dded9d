"""The difference of two theories as what an ensemble learns: labels less those of a base, whose engine is added."""

from __future__ import annotations

from collections.abc import Callable

from alflow.campaign.basetheory import Base
from alflow.campaign.campaign import Campaign
from alflow.errors import CampaignError
from alflow.farm.farm import LabelFarm
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import single_engine
from alflow.ledger import Ledger, Origin
from alflow.types import Dataset, Frames, Group, IntArray, Labels
from alflow.workers.models import EngineModel

LEDGER = "base-labels.sqlite"
"""Of a run: labels of the base of what is learnt from."""


def added_engine(campaign: Campaign) -> EngineModel | None:
    """Return the engine that the ensemble is added to; None where it learns the labels themselves."""
    base = _base(campaign)
    return None if base is None else base.model


def added_labels(campaign: Campaign) -> Callable[[Frames], tuple[IntArray, Labels]] | None:
    """Return what labels frames by that engine in this process; None where there is none."""
    base = _base(campaign)
    if base is None:
        return None
    engine = single_engine(base.settings.labels.engine, base.settings.labels.settings)

    def labels(frames: Frames) -> tuple[IntArray, Labels]:
        batch = label_frames(engine, frames)
        return batch.rows, batch.labels

    return labels


def to_be_learnt(campaign: Campaign, iteration: int, dataset: Dataset) -> Dataset:
    """Return what the ensemble learns: the labels, or, of those that the base has too, the differences from its own.

    Raises:
        CampaignError: the base has none of a molecule's.
    """
    base = _base(campaign)
    if base is None:
        return dataset
    assert base.model is not None
    with Ledger.open(campaign.run.path / LEDGER) as ledger:
        labels = base.settings.labels
        farm = LabelFarm(campaign.graph, ledger, base.model, labels, base.theory, detail={"of": "base"})
        for group in dataset.groups:
            origins = [Origin("selected", iteration, step=row) for row in range(len(group.frames))]
            farm.request(group.frames, origins)
        campaign.graph.run_until(farm.idle)
        return Dataset(tuple(_difference(base, ledger, group) for group in dataset.groups))


def _difference(base: Base, ledger: Ledger, group: Group) -> Group:
    rows, own = ledger.labels(base.theory, group.frames)
    if not len(rows):
        raise CampaignError(
            f"A difference needs labels of both theories; {base.settings.labels.engine} could label none of "
            f"{len(group.frames)} structures of one molecule."
        )
    labels = group.labels.take(rows)
    return Group(group.frames.take(rows), Labels(labels.energies - own.energies, labels.forces - own.forces))


def _base(campaign: Campaign) -> Base | None:
    """Return the base of a campaign whose ensemble learns the difference from it."""
    given = campaign.settings.base
    return campaign.base if given is not None and given.use == "delta" else None
