"""What the ensemble of an iteration says of frames, by tasks: predictions, and how uncertain they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alflow.acquisition.audit import Calibration, energy_predictors, force_predictors
from alflow.acquisition.uncertainty import energy_spread, force_spread
from alflow.campaign.campaign import Campaign
from alflow.errors import CampaignError
from alflow.potentials.uncertainty import leverage
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
    energy_uncertainty: FloatArray
    """(F,) not calibrated."""
    force_uncertainty: FloatArray
    """(F,) spread of the force on the least certain atom, eV/Å."""

    def expected_errors(self, calibration: Calibration, progress: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the expected errors (F,) of the energy, eV, and of the largest force, eV/Å, at (F,) progress in Å."""
        energy = calibration.energy(energy_predictors(self.energy_uncertainty))
        return energy, calibration.force(force_predictors(self.force_uncertainty, progress))


class Assessor:
    """Has frames assessed by the ensemble of one iteration."""

    def __init__(self, campaign: Campaign, iteration: int, model: EnsembleModel, dataset: Dataset) -> None:
        """Start with nothing assessed; `dataset` is what the ensemble learnt from."""
        self._campaign, self._iteration, self._model, self._dataset = campaign, iteration, model, dataset

    @cached_property
    def known(self) -> dict[Composition, FloatArray]:
        """Features (T, N) of what was learnt from, by composition."""
        parts = [group.frames for group in self._dataset.groups]
        found = self._run(parts)
        return {part.composition: one.features for part, one in zip(parts, found, strict=True)}

    def assess(self, parts: Sequence[Frames]) -> list[Assessed]:
        """Return what the ensemble says of each part, which is of one composition and has a frame at least.

        Raises:
            CampaignError: a task failed.
        """
        return [self._assessed(part, one) for part, one in zip(parts, self._run(parts), strict=True)]

    def _assessed(self, frames: Frames, found: Assessment) -> Assessed:
        uncertainty = energy_spread(found.energies)
        if found.linear:
            uncertainty = leverage(found.features, self.known[frames.composition])
        driver = self._model.driver
        energies = found.energies.mean(axis=0) if driver == "mean" else found.energies[driver]
        forces = found.forces.mean(axis=0) if driver == "mean" else found.forces[driver]
        return Assessed(energies, forces, found.features, uncertainty, force_spread(found.forces))

    def _run(self, parts: Sequence[Frames]) -> list[Assessment]:
        """Assess in tasks of `FRAMES_PER_TASK`, and put together what belongs together."""
        results: dict[tuple[int, int], Outcome[Assessment] | BaseException] = {}
        wanted = [
            (part, start) for part, frames in enumerate(parts) for start in range(0, len(frames), FRAMES_PER_TASK)
        ]
        for part, start in wanted:
            frames = parts[part]
            positions = np.ascontiguousarray(frames.positions[start : start + FRAMES_PER_TASK])

            def handle(result: Outcome[Assessment] | BaseException, place: tuple[int, int] = (part, start)) -> None:
                results[place] = result

            call = ASSESS(self._model, frames.composition, positions)
            self._campaign.graph.submit(call, handle, iteration=self._iteration, frames=len(positions))
        self._campaign.graph.run_until(lambda: len(results) == len(wanted))
        found: list[list[Assessment]] = [[] for _ in parts]
        for part, start in wanted:
            result = results[part, start]
            if isinstance(result, BaseException):
                raise CampaignError(
                    f"Frames could not be assessed in iteration {self._iteration}: {type(result).__name__}: {result}"
                ) from result
            found[part].append(result.value)
        return [_joined(one) for one in found]


def _joined(parts: Sequence[Assessment]) -> Assessment:
    return Assessment(
        np.concatenate([part.energies for part in parts], axis=1),
        np.concatenate([part.forces for part in parts], axis=1),
        np.concatenate([part.features for part in parts]),
        linear=parts[0].linear,
    )
