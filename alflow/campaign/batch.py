"""The frames that are chosen once all pulls of an iteration have ended: the batch of the selection, and the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alflow.acquisition.audit import AuditRow, Calibration
from alflow.acquisition.batch import along_the_way, at_random_along_the_way, farthest_points, windows_of
from alflow.acquisition.plausibility import PlausibilityRule, plausible
from alflow.acquisition.progress import advance, start_progress
from alflow.acquisition.seeds import generator
from alflow.campaign.assessing import Assessed, Assessor
from alflow.campaign.plan import PullSpec
from alflow.campaign.way import bonds_that_break, way_of
from alflow.config.campaign import CampaignSettings
from alflow.types import Composition, FloatArray, Frames, IntArray, Labels, Segment, SelectedFrame

CANDIDATES = 2000
"""Frames of all pulls together that are assessed for the batch, at most."""
IN_A_TURN = 10
"""Frames of one composition that are asked for before those of the next."""
WINDOWS = 60
"""Of the progress of a pull, each of which has candidates; and of all pulls, for the audit."""


@dataclass(frozen=True)
class EndedPull:
    """The records of a pull that has ended, in one piece."""

    spec: PullSpec
    frames: Frames
    steps: IntArray
    energy: FloatArray
    """(F,) eV."""
    coordinate: FloatArray
    """(F,) in its unit."""
    target: FloatArray
    """(F,) of the coordinate."""
    progress: FloatArray
    """(F,) Å."""
    fit: IntArray
    """Rows that may be labelled."""

    @classmethod
    def of(cls, spec: PullSpec, segments: Sequence[Segment], rule: PlausibilityRule) -> EndedPull:
        """Join the segments of a pull; a record that a segment repeats counts once."""
        found: list[Segment] = []
        last = -1
        for segment in segments:
            fresh = segment.take(np.flatnonzero(segment.steps > last))
            if len(fresh.steps):
                last = int(fresh.steps[-1])
                found.append(fresh)
        empty = np.empty(0)
        if not found:
            nothing = Frames(spec.molecule.composition, np.empty((0, len(spec.molecule.numbers), 3)))
            rows = np.empty(0, dtype=np.int64)
            return cls(spec, nothing, rows, empty, empty, empty, empty, rows)
        frames = Frames(spec.molecule.composition, np.concatenate([one.frames.positions for one in found]))
        energy = np.concatenate([one.energy for one in found])
        coordinate = np.concatenate([one.coordinate for one in found])
        target, steps = np.concatenate([one.target for one in found]), np.concatenate([one.steps for one in found])
        start = start_progress(bonds_that_break(spec), float(coordinate[0]), frames.positions[0], way_of(spec))
        _, progress = advance(start, coordinate, frames.positions)
        fit = np.flatnonzero(plausible(frames.positions, rule) & np.isfinite(energy))
        return cls(spec, frames, steps, energy, coordinate, target, progress, fit)

    def selected(self, row: int, spread: float) -> SelectedFrame:
        """Return one record as a selected frame."""
        return SelectedFrame(
            pull=self.spec.index,
            step=int(self.steps[row]),
            positions=self.frames.positions[row].copy(),
            energy=float(self.energy[row]),
            coordinate=float(self.coordinate[row]),
            spread=spread,
        )


@dataclass(frozen=True)
class Audited:
    """Frames of one pull that were drawn for the audit, before their labels are known."""

    pull: EndedPull
    rows: IntArray
    assessed: Assessed

    @cached_property
    def frames(self) -> Frames:
        """The frames."""
        return self.pull.frames.take(self.rows)

    def compared(self, found: IntArray, labels: Labels, start_energy: float) -> list[AuditRow]:
        """Set what was predicted against labels.

        Args:
            found: the frames that have one.
            labels: of those.
            start_energy: label of the frame from whose energy energies are taken, eV.
        """
        energy = (self.assessed.energies[found] - self.assessed.start_energy) - (labels.energies - start_energy)
        force = np.linalg.norm(self.assessed.forces[found] - labels.forces, axis=-1).max(axis=-1)
        return [
            AuditRow(
                pull=self.pull.spec.index,
                step=int(self.pull.steps[self.rows[row]]),
                progress=float(self.pull.progress[self.rows[row]]),
                energy_uncertainty=float(self.assessed.energy_uncertainty[row]),
                force_uncertainty=float(self.assessed.force_uncertainty[row]),
                energy_error=float(energy[place]),
                force_error=float(force[place]),
            )
            for place, row in enumerate(found)
        ]


def draw_audit(
    settings: CampaignSettings, iteration: int, pulls: Sequence[EndedPull], assessor: Assessor, wanted: int
) -> list[Audited]:
    """Draw the frames of the audit, at random over the progress of all pulls, and have them assessed."""
    fit = [(number, row) for number, pull in enumerate(pulls) for row in pull.fit]
    progress = np.array([pulls[number].progress[row] for number, row in fit])
    rng = generator(settings.seed, iteration, "audit")
    drawn = at_random_along_the_way(progress, WINDOWS, wanted, rng)
    chosen: dict[int, list[int]] = {}
    for place in drawn:
        number, row = fit[place]
        chosen.setdefault(number, []).append(row)
    parts = [(pulls[number], np.array(rows, dtype=np.int64)) for number, rows in chosen.items()]
    assessed = assessor.assess([pull.frames.take(rows) for pull, rows in parts])
    return [Audited(pull, rows, one) for (pull, rows), one in zip(parts, assessed, strict=True)]


@dataclass(frozen=True)
class Candidate:
    """A frame that may be chosen."""

    pull: int
    """Which of the pulls that ended."""
    row: int
    """Of that pull."""
    progress: float
    """Å."""
    spread: float
    """Of the force on the least certain atom, eV/Å."""
    features: FloatArray
    """(N,)."""


def choose_batch(
    settings: CampaignSettings,
    pulls: Sequence[EndedPull],
    assessor: Assessor,
    calibration: Calibration | None,
    audited: Sequence[Audited],
    rng: np.random.Generator,
    cap: int,
) -> list[tuple[int, SelectedFrame]]:
    """Choose at most `cap` frames of all pulls together whose labels are worth most.

    Candidates cover the way of each pull. Those whose expected error is below both tolerances are left out, once there
    is a calibration. Of the others, those that differ most from each other and from what was learnt from are chosen,
    one after another, windows of the progress taking turns, within each composition; or some at random over the
    progress. The audit's frames count as known.

    Returns:
        The place of the pull and the frame, the most useful first; compositions take turns.
    """
    chosen, found = settings.selection, list[list[Candidate]]()
    candidates = _candidates(settings, pulls, assessor, calibration)
    caps = _shares(cap, [len(some) for some in candidates.values()])
    for (composition, some), places in zip(candidates.items(), caps, strict=True):
        progress = np.array([one.progress for one in some])
        if chosen.cap_order == "random":
            picked = at_random_along_the_way(progress, WINDOWS, places, rng)
        else:
            known = [one.assessed.features for one in audited if one.pull.frames.composition == composition]
            features = np.stack([one.features for one in some])
            known_features = np.concatenate([assessor.known[composition], *known])
            picked = farthest_points(features, known_features, places, windows_of(progress, chosen.windows))
        found.append([some[index] for index in picked])
    return [(one.pull, pulls[one.pull].selected(one.row, one.spread)) for one in _in_turns(found)]


def _in_turns(found: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """Let several rankings take turns, some candidates at a time: so that their labels still share tasks."""
    longest = max(map(len, found), default=0)
    return [
        one for first in range(0, longest, IN_A_TURN) for ranked in found for one in ranked[first : first + IN_A_TURN]
    ]


def _candidates(
    settings: CampaignSettings, pulls: Sequence[EndedPull], assessor: Assessor, calibration: Calibration | None
) -> dict[Composition, list[Candidate]]:
    """Return the frames that are expected to be wrong by more than is accepted, by composition, each with one."""
    chosen = settings.selection
    share = max(1, CANDIDATES // max(len(pulls), 1))
    covered = [pull.fit[along_the_way(pull.progress[pull.fit], WINDOWS, share)] for pull in pulls]
    asked = [number for number, rows in enumerate(covered) if len(rows)]
    assessed = assessor.assess([pulls[number].frames.take(covered[number]) for number in asked])
    found: dict[Composition, list[Candidate]] = {}
    for number, one in zip(asked, assessed, strict=True):
        pull, rows = pulls[number], covered[number]
        above = np.ones(len(rows), dtype=np.bool_)
        if calibration is not None:
            energy, force = one.expected_errors(calibration, pull.progress[rows])
            above = (energy > chosen.tolerance_ev) | (force > chosen.tolerance_ev_per_angstrom)
        for place in np.flatnonzero(above):
            row, spread = int(rows[place]), float(one.force_uncertainty[place])
            candidate = Candidate(number, row, float(pull.progress[row]), spread, one.features[place])
            found.setdefault(pull.frames.composition, []).append(candidate)
    return found


def _shares(cap: int, wanted: Sequence[int]) -> list[int]:
    """Share a cap among several that want so many: equally, and what one does not need goes to the others."""
    shares, left = [0] * len(wanted), cap
    for place, number in enumerate(sorted(range(len(wanted)), key=lambda number: wanted[number])):
        shares[number] = min(wanted[number], left // (len(wanted) - place))
        left -= shares[number]
    return shares
