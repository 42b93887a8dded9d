"""The correction of the barrier: frames of an iteration's pulls around the break, labelled, and what they say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alflow.acquisition.correction import AFTER, AuditedPull, audit_rows, corrected_barrier, force_apart, windows
from alflow.acquisition.seeds import generator
from alflow.campaign.assessing import Assessed, Assessor
from alflow.campaign.batch import EndedPull
from alflow.campaign.campaign import Campaign
from alflow.ledger import Origin
from alflow.runs.records import BarrierCorrection
from alflow.types import FloatArray, Frames, IntArray


@dataclass(frozen=True)
class AroundTheBreak:
    """Frames of one pull whose labels tell how far its barrier is off."""

    pull: EndedPull
    rows: IntArray
    window: IntArray
    """(F,) see `alflow.acquisition.correction`."""
    assessed: Assessed

    @property
    def frames(self) -> Frames:
        """The frames."""
        return self.pull.frames.take(self.rows)

    def audited(self, campaign: Campaign) -> AuditedPull:
        """Set what drove the pull against the labels of the frames that have one."""
        found, labels = campaign.ledger.labels(campaign.farm.theory, self.frames)
        pull, rows = self.pull, self.rows[found]
        left, right = pull.spec.molecule.steered
        gaps = self.assessed.forces[found] - labels.forces
        positions = pull.frames.positions[rows]
        apart = [
            force_apart(pull.frames.numbers, place, gap, (left, right))
            for place, gap in zip(positions, gaps, strict=True)
        ]
        after = windows(pull.target, pull.coordinate)[AFTER].start
        return AuditedPull(
            window=self.window[found],
            lag=pull.target[rows] - pull.coordinate[rows],
            energy_errors=self.assessed.energies[found] - labels.energies,
            force_errors=np.array(apart, dtype=np.float64),
            slack=float(pull.target[-1] - pull.target[min(after, len(pull.target) - 1)]),
        )


def draw_around_the_break(
    campaign: Campaign,
    iteration: int,
    pulls: Sequence[EndedPull],
    stopped: Sequence[bool],
    assessor: Assessor,
    wanted: int,
) -> list[AroundTheBreak]:
    """Draw frames of the first `wanted` replicas of each molecule and rate, and ask for their labels.

    A pull that ended early has none.
    """
    chosen = []
    for pull, cut in zip(pulls, stopped, strict=True):
        if cut or pull.spec.replica >= wanted or not len(pull.steps):
            continue
        rng = generator(campaign.settings.seed, iteration, "around-the-break", pull.spec.index)
        chosen.append((pull, *audit_rows(pull.target, pull.coordinate, rng)))
    assessed = assessor.assess([pull.frames.take(rows) for pull, rows, _ in chosen])
    found = [AroundTheBreak(*one, said) for one, said in zip(chosen, assessed, strict=True)]
    for one in found:
        steps = one.pull.steps[one.rows]
        campaign.farm.request(
            one.frames, [Origin("audit", iteration, one.pull.spec.index, int(step)) for step in steps]
        )
    return found


def corrections(
    campaign: Campaign, found: Sequence[AroundTheBreak], barriers: FloatArray
) -> tuple[BarrierCorrection, ...]:
    """Return what the labels say of the barrier of each molecule and rate.

    Args:
        campaign: whose ledger has the labels.
        found: of all molecules and rates.
        barriers: (S, R) of each molecule and rate and replica, eV; not-a-number for a pull that ended early.
    """
    result = []
    for system, values in enumerate(barriers):
        first = system * campaign.settings.sampling.replicas.certify
        own = [one.audited(campaign) for one in found if one.pull.spec.index - one.pull.spec.replica == first]
        result.append(BarrierCorrection.of(corrected_barrier(values, own)))
    return tuple(result)
