"""Judgement of an ensemble: thresholds on its spread, and its errors on frames it never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from alflow.acquisition.progress import planned_progress
from alflow.acquisition.selection import SelectionRule
from alflow.acquisition.stopping import EarlyStop
from alflow.acquisition.uncertainty import energy_spread, force_spread, threshold_conformal, threshold_validation
from alflow.campaign.plan import PullSpec
from alflow.campaign.way import bonds_that_break, plausibility_of, way_of
from alflow.config.campaign import CampaignSettings
from alflow.potentials import Ensemble, load_potential
from alflow.types import Dataset, FloatArray, Frames, Group, IntArray, Labels, Member, Segment

UNSEEN_STRIDE = 10
"""Recorded frames of a reference pull per frame that errors are taken on, at least."""
UNSEEN_FRAMES = 3000
"""About as many frames that errors are taken on at most; many pulls share them."""


@dataclass(frozen=True)
class Judge:
    """Thresholds and errors of one trained ensemble."""

    settings: CampaignSettings
    load: Callable[[], Ensemble]
    """Reads the ensemble, once it is needed."""
    dataset: Dataset
    """What it learnt from."""
    best: Member

    @classmethod
    def of(cls, settings: CampaignSettings, path: Path, dataset: Dataset, best: Member) -> Judge:
        """Judge the ensemble of a file of weights."""
        return cls(settings, partial(load_potential, path), dataset, best)

    @cached_property
    def _potential(self) -> Ensemble:
        return self.load()

    @cached_property
    def _validation(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Energy spread, chosen spread and the driver's error in its unit, over the best member's validation rows."""
        energies, chosen, errors = [], [], []
        first = 0
        for group in self.dataset.groups:
            rows = self.best.split.valid - first
            rows = rows[(rows >= 0) & (rows < len(group.frames))]
            first += len(group.frames)
            part = Group(group.frames.take(rows), group.labels.take(rows))
            energy, force = self._potential.evaluate(part.frames)
            energies.append(energy_spread(energy))
            if self.settings.selection.spread_of == "energy":
                chosen.append(energies[-1])
                errors.append(self._driver(energy) - part.labels.energies)
            else:
                chosen.append(force_spread(force))
                errors.append(np.linalg.norm(self._driver(force) - part.labels.forces, axis=-1).max(axis=-1))
        return np.concatenate(energies), np.concatenate(chosen), np.concatenate(errors)

    def _driver(self, predicted: FloatArray) -> FloatArray:
        """Return what drives the pulls, of (M, ...) predictions of all members."""
        one = self.settings.potential.driver == "best-member"
        found: FloatArray = predicted[self.best.index] if one else predicted.mean(axis=0)
        return found

    def rule(self, spec: PullSpec, cap: int, turn: int = 0) -> SelectionRule:
        """Return the selection rule of one pull; for `turn` see `learning.selection.window_turn`."""
        chosen, pull, way = self.settings.selection, spec.settings, way_of(spec)
        known: float | None = None
        if chosen.threshold in ("validation", "lower"):
            known = threshold_validation(self._validation[1], chosen.sigmas)
        elif chosen.threshold == "conformal":
            _, spread, errors = self._validation
            known = threshold_conformal(errors, spread, chosen.tolerance_ev, chosen.miss_rate)
        return SelectionRule(
            planned_steps=pull.steps,
            cap=cap,
            cap_order=chosen.cap_order,
            windows=chosen.windows,
            turn=turn,
            bonds=bonds_that_break(spec),
            way=way,
            planned_progress=planned_progress(way.planned),
            threshold=known,
            first_steps=chosen.first_steps if chosen.threshold in ("first-steps", "lower") else None,
            sigmas=chosen.sigmas,
            similarity_distance_angstrom=chosen.similarity_distance_angstrom / way.angstrom_per_unit,
            similarity_energy_ev=chosen.similarity_energy_ev,
            plausibility=plausibility_of(chosen, spec),
        )

    def early_stop(self) -> EarlyStop | None:
        """Return when a pull ends for its spread; None if it never does. Judged by the energy of validation frames."""
        stop = self.settings.stop
        if stop.pull_spread_factor is None:
            return None
        bound = threshold_validation(self._validation[0], self.settings.selection.sigmas)
        return EarlyStop(stop.pull_spread_factor * bound, stop.pull_frames)

    def with_chosen_spread(self, segment: Segment) -> Segment:
        """Return a segment whose spread is the one that the selection goes by."""
        if self.settings.selection.spread_of == "energy" or not len(segment.steps):
            return segment
        return replace(segment, spread=force_spread(self._potential.evaluate(segment.frames)[1]))

    def unseen_errors(
        self, pulls: list[list[Segment]], added: Callable[[Frames], tuple[IntArray, Labels]] | None = None
    ) -> tuple[float | None, float | None]:
        """Return the errors of the ensemble's mean along the reference pulls: frames it was never shown.

        Energies are relative to the first frame of each pull, as a barrier is.

        Args:
            pulls: segments of each.
            added: gives the rows and the labels of frames that the ensemble's own are added to.

        Returns:
            Mean absolute error of the relative energy in eV, and of the force components in eV/Å.
        """
        energy_errors, force_errors = [], []
        recorded = sum(len(segment.steps) for segments in pulls for segment in segments)
        stride = max(UNSEEN_STRIDE, round(recorded / UNSEEN_FRAMES))
        for segments in pulls:
            found = [segment for segment in segments if segment.forces is not None and len(segment.steps)]
            if not found:
                continue
            frames = replace(found[0].frames, positions=np.concatenate([s.frames.positions for s in found]))
            rows = np.arange(0, len(frames), stride)
            base: Labels | None = None
            if added is not None:
                there, base = added(frames.take(rows))
                rows = rows[there]
            if not len(rows):
                continue
            energy, force = self._potential.evaluate(frames.take(rows))
            if base is not None:
                energy, force = energy + base.energies, force + base.forces
            predicted, labelled = energy.mean(axis=0), np.concatenate([s.energy for s in found])[rows]
            energy_errors.append(np.abs((predicted - predicted[0]) - (labelled - labelled[0])))
            labelled_forces = np.concatenate([s.forces for s in found if s.forces is not None])[rows]
            force_errors.append(np.abs(force.mean(axis=0) - labelled_forces).ravel())
        if not energy_errors:
            return None, None
        return float(np.concatenate(energy_errors).mean()), float(np.concatenate(force_errors).mean())
