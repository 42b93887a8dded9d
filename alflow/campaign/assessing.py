"""What the ensemble of an iteration says of frames, by tasks: predictions, and how uncertain they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from alflow.acquisition.audit import Calibration, predictors
from alflow.campaign.campaign import Campaign
from alflow.errors import CampaignError
from alflow.potentials.uncertainty import stated_uncertainties
from alflow.types import Assessment, Composition, Dataset, FloatArray, Frames
from alflow.workers.models import EnsembleModel
from alflow.workers.result import Outcome
from alflow.workers.tasks import ASSESS

FRAMES_PER_TASK = 250
"""Of hexane, two members: a task of about 0.15 s."""


@dataclass(frozen=True)
class Assessed:
    """F frames of one composition in the eyes of an ensemble."""

    energies: FloatArray
    """(F,) of what drives the pulls, eV."""
    forces: FloatArray
    """(F, A, 3) of what drives the pulls, eV/Å."""
    features: FloatArray
    """(F, N)."""
    start_energy: float
    """Of the frame from whose energy energies are taken, by what drives the pulls, eV."""
    energy_uncertainty: FloatArray
    """(F,) of the energy from the start, not calibrated."""
    force_uncertainty: FloatArray
    """(F,) spread of the force on the least certain atom, eV/Å."""

    def expected_errors(self, calibration: Calibration, progress: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the expected errors (F,) of the energy, eV, and of the largest force, eV/Å, at (F,) progress in Å."""
        energy = calibration.energy(predictors(self.energy_uncertainty, progress))
        return energy, calibration.force(predictors(self.force_uncertainty, progress))


class Assessor:
    """Has frames assessed by the ensemble of one iteration."""

    def __init__(self, campaign: Campaign, iteration: int, model: EnsembleModel, dataset: Dataset) -> None:
        """Start with nothing assessed; `dataset` is what the ensemble learnt from."""
        self.starts: dict[Composition, Frames] = {}
        """A frame of each composition, from whose energy energies are taken; to be set before anything is assessed."""
        self._campaign, self._iteration, self._model, self._dataset = campaign, iteration, model, dataset

    @cached_property
    def known(self) -> dict[Composition, FloatArray]:
        """Features (T, N) of what was learnt from, by composition."""
        parts = [group.frames for group in self._dataset.groups]
        return {part.composition: one for part, one in zip(parts, self.features(parts), strict=True)}

    @cached_property
    def _started(self) -> dict[Composition, Assessment]:
        return dict(zip(self.starts, self._run(list(self.starts.values())), strict=True))

    def assess(self, parts: Sequence[Frames]) -> list[Assessed]:
        """Return what the ensemble says of each part, which is of one composition and has a frame at least.

        Raises:
            CampaignError: a task failed.
        """
        return [self._assessed(part, one) for part, one in zip(parts, self._run(parts), strict=True)]

    def features(self, parts: Sequence[Frames]) -> list[FloatArray]:
        """Return the features (F, N) of the frames of each part; see `assess`."""
        return [one.features for one in self._run(parts, replace(self._model, base=None))]

    def _assessed(self, frames: Frames, found: Assessment) -> Assessed:
        known = self.known[frames.composition] if found.linear else found.features
        start = self._started[frames.composition]
        energy_uncertainty, force_uncertainty = stated_uncertainties(found, known, start)
        energies, forces, start_energy = (self._driver(one) for one in (found.energies, found.forces, start.energies))
        return Assessed(energies, forces, found.features, float(start_energy[0]), energy_uncertainty, force_uncertainty)

    def _driver(self, predicted: FloatArray) -> FloatArray:
        """Return what drives the pulls, of (M, ...) predictions of all members."""
        driver = self._model.driver
        found: FloatArray = predicted.mean(axis=0) if driver == "mean" else predicted[driver]
        return found

    def _run(self, parts: Sequence[Frames], model: EnsembleModel | None = None) -> list[Assessment]:
        """Assess parts, those of one composition together, in tasks of `FRAMES_PER_TASK`."""
        model = model or self._model
        of_composition: dict[Composition, list[int]] = {}
        for number, part in enumerate(parts):
            of_composition.setdefault(part.composition, []).append(number)
        results: dict[tuple[Composition, int], Outcome[Assessment] | BaseException] = {}
        wanted = 0
        for composition, numbers in of_composition.items():
            positions = np.concatenate([parts[number].positions for number in numbers])
            for start in range(0, len(positions), FRAMES_PER_TASK):
                self._submit(model, Frames(composition, positions[start : start + FRAMES_PER_TASK]), results, start)
                wanted += 1
        self._campaign.graph.run_until(lambda: len(results) == wanted)
        found: dict[int, Assessment] = {}
        for composition, numbers in of_composition.items():
            starts = sorted(start for of, start in results if of == composition)
            whole = _joined([self._value(results[composition, start]) for start in starts])
            ends = np.cumsum([len(parts[number]) for number in numbers])
            for number, end in zip(numbers, ends, strict=True):
                found[number] = _rows(whole, slice(int(end) - len(parts[number]), int(end)))
        return [found[number] for number in range(len(parts))]

    def _submit(
        self,
        model: EnsembleModel,
        frames: Frames,
        results: dict[tuple[Composition, int], Outcome[Assessment] | BaseException],
        start: int,
    ) -> None:
        def handle(result: Outcome[Assessment] | BaseException) -> None:
            results[frames.composition, start] = result

        call = ASSESS(model, frames.composition, np.ascontiguousarray(frames.positions))
        self._campaign.graph.submit(call, handle, iteration=self._iteration, frames=len(frames))

    def _value(self, result: Outcome[Assessment] | BaseException) -> Assessment:
        if isinstance(result, BaseException):
            raise CampaignError(
                f"Frames could not be assessed in iteration {self._iteration}: {type(result).__name__}: {result}"
            ) from result
        return result.value


def _joined(parts: Sequence[Assessment]) -> Assessment:
    return Assessment(
        np.concatenate([part.energies for part in parts], axis=1),
        np.concatenate([part.forces for part in parts], axis=1),
        np.concatenate([part.features for part in parts]),
        linear=parts[0].linear,
    )


def _rows(whole: Assessment, rows: slice) -> Assessment:
    return Assessment(whole.energies[:, rows], whole.forces[:, rows], whole.features[rows], linear=whole.linear)
