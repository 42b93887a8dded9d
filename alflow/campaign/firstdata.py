"""The stage that makes the first data: structures that are labelled, or molecular dynamics with the label engine."""

from __future__ import annotations

import time

import numpy as np

from alflow.acquisition.seeds import integer_seed
from alflow.campaign.campaign import Campaign
from alflow.campaign.chain import SegmentChain, StoredState
from alflow.campaign.choosing import base_structures
from alflow.campaign.plan import Molecule, seed_words, segment_lengths
from alflow.errors import CampaignError
from alflow.ledger import Origin, label_rows
from alflow.runs.startdata import StartFolder, save_structures
from alflow.types import LabelBatch, Labels, Segment
from alflow.workers.result import Call
from alflow.workers.tasks import FIRST_STATE, MD_SEGMENT, State


def first_data(campaign: Campaign) -> None:
    """Label the structures that are given or come from a base; without any, and without labels, run dynamics.

    Raises:
        CampaignError: a trajectory could not be run to its end, or too many labels failed.
    """
    campaign.enter(0, "first data")
    if campaign.plan.settings.starts_from_dynamics:
        _dynamics(campaign)
    else:
        _label(campaign)


def _label(campaign: Campaign) -> None:
    """Ask for the labels of all structures at once, as many at a time as there are workers."""
    folder = StartFolder.of(campaign.run)
    if campaign.given.structures and not folder.structures.exists():
        save_structures(folder.structures, campaign.given.structures)
    parts = (*campaign.given.structures, *base_structures(campaign))
    for part in parts:
        origins = [Origin("first-data", 0, step=int(number)) for number in part.numbers]
        campaign.farm.request(part.frames, origins)
    campaign.graph.run_until(campaign.farm.idle)
    campaign.ledger.commit()
    if not campaign.run.records():
        campaign.farm.check_failures(0)
        check_labelled(campaign)


def check_labelled(campaign: Campaign) -> None:
    """Raise a CampaignError where a molecule that is pulled has no label to learn from."""
    ledger, theory = campaign.ledger, campaign.farm.theory
    dataset, _ = ledger.dataset(theory, 0, kinds=("import", "first-data"))
    found = {group.frames.composition for group in dataset.groups}
    for molecule in campaign.plan.molecules:
        if molecule.composition not in found:
            reasons = ledger.failures_by_reason(theory, 0)
            said = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "there is none"
            raise CampaignError(
                f"First data hold labels of every molecule that is pulled; none of {molecule.name} could be had: "
                f"{said}."
            )


def _dynamics(campaign: Campaign) -> None:
    """Run molecular dynamics with the label engine; its frames, energies and forces are the first labels."""
    molecules = campaign.plan.molecules
    chains = [_trajectory(campaign, index, molecule) for index, molecule in enumerate(molecules)]
    campaign.graph.run_until(lambda: all(chain.done for chain in chains))
    for index, (molecule, chain) in enumerate(zip(molecules, chains, strict=True)):
        chain.raise_error(f"The first molecular dynamics of {molecule.name}")
        for segment in chain.segments:
            _keep_labels(campaign, index, segment)
    campaign.ledger.commit()


def _trajectory(campaign: Campaign, index: int, molecule: Molecule) -> SegmentChain:
    """Submit the tasks of one molecule's trajectory."""
    settings, model = campaign.settings, campaign.farm.model
    md, folder = settings.first_data.md, campaign.run.path / "first-data" / molecule.name
    seed = integer_seed(settings.seed, 0, "first-data", index)

    def call(previous: State, steps: int) -> Call[Segment]:
        return MD_SEGMENT(model, molecule.composition, previous, md, steps, seed)

    lengths = segment_lengths(md.equilibration_steps + md.steps, settings.first_data.segment_steps)
    chain = SegmentChain(campaign.graph, folder, lengths, call, detail={"molecule": molecule.name})
    words = seed_words(settings, 0, "first-velocities", index)
    start = StoredState(campaign.graph, folder / "start.npz")
    chain.start(start.get(FIRST_STATE(molecule.composition, molecule.positions, md.temperature_k, words)))
    return chain


def _keep_labels(campaign: Campaign, molecule: int, segment: Segment) -> None:
    """Put the frames after the equilibration into the ledger, those that are not there yet."""
    if segment.stopped:
        raise CampaignError(f"The first molecular dynamics ended early: {segment.stopped}")
    ledger, theory = campaign.ledger, campaign.farm.theory
    sampled = np.flatnonzero(segment.steps >= campaign.settings.first_data.md.equilibration_steps)
    rows = sampled[ledger.lookup(theory, segment.frames.take(sampled)).missing]
    assert segment.forces is not None
    origins = [Origin("first-data", 0, molecule, int(segment.steps[row])) for row in rows]
    labels = Labels(segment.energy[rows], segment.forces[rows])
    batch = LabelBatch(np.arange(len(rows)), labels, (), np.zeros(len(rows)), np.full(len(rows), -1))
    ledger.add(label_rows(theory, segment.frames.take(rows), batch, origins, "", time.time()))
