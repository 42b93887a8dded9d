"""Estimators by the spread of the members: population standard deviations, as `alflow.acquisition.uncertainty` has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alflow.acquisition.uncertainty import energy_spread, force_spread
from alflow.potentials.protocol import Ensemble
from alflow.potentials.uncertainty.protocol import Estimator
from alflow.types import FloatArray, Frames


@dataclass(frozen=True)
class EnergySpread:
    """The spread of the energy, whatever is asked for."""

    ensemble: Ensemble
    name: str = "spread of energy"

    def energy(self, frames: Frames) -> FloatArray:
        """Return the spread of the energy, (F,) eV."""
        return energy_spread(self.ensemble.evaluate(frames)[0])

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return the spread of the energy, (F,) eV."""
        return self.energy(frames)

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:  # noqa: ARG002 - one number for all
        """Return the spread of the energy, (F,) eV."""
        return self.energy(frames)


@dataclass(frozen=True)
class ForceSpread:
    """The spread of the forces; for the energy, that of the least certain atom."""

    ensemble: Ensemble
    name: str = "spread of forces"

    def energy(self, frames: Frames) -> FloatArray:
        """Return the spread of the force on the least certain atom, (F,) eV/Å."""
        return self.largest_force(frames)

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return the spread of the force on the least certain atom, (F,) eV/Å."""
        return force_spread(self.ensemble.evaluate(frames)[1])

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:
        """Return the spread of F · d, (F,) eV/Å, of (F, A, 3) directions."""
        along = np.einsum("mfax,fax->mf", self.ensemble.evaluate(frames)[1], directions)
        return np.asarray(np.std(along, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class SpreadAndDistance:
    """Geometric mean of a spread and a distance: large where the members disagree far from what they learnt from."""

    spread: Estimator
    distance: Estimator
    name: str = "spread and distance"

    def energy(self, frames: Frames) -> FloatArray:
        """Return the geometric mean of what both state of the energy, (F,)."""
        return np.asarray(np.sqrt(self.spread.energy(frames) * self.distance.energy(frames)), dtype=np.float64)

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return the geometric mean of what both state of the least certain atom, (F,)."""
        both = self.spread.largest_force(frames) * self.distance.largest_force(frames)
        return np.asarray(np.sqrt(both), dtype=np.float64)

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:
        """Return the geometric mean of what both state of F · d, (F,)."""
        both = self.spread.force_along(frames, directions) * self.distance.force_along(frames, directions)
        return np.asarray(np.sqrt(both), dtype=np.float64)
