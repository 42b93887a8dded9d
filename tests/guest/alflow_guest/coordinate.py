"""A coordinate: the radius of gyration of a molecule, ξ = (Σ |x - x̄|² / A)^½."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from alflow.config.base import Settings
from alflow.sampling.coordinates.restraint import MovingRestraint
from alflow.sampling.steering import CoordinateKind


class RadiusSettings(Settings):
    """Radius of gyration of all atoms."""

    rate_angstrom_per_ps: float = 5.0
    """How fast the target grows, Å/ps."""
    force_constant_ev_per_angstrom2: float = Field(default=20.0, gt=0)
    """Of the restraint, eV/Å²."""


@dataclass(frozen=True)
class Radius:
    """Radius of gyration."""

    size: int
    unit: str = "Å"

    @property
    def atoms(self):
        return tuple(range(self.size))

    def value(self, positions):
        centred = positions - positions.mean(axis=1, keepdims=True)
        return np.sqrt((centred**2).sum(axis=(1, 2)) / self.size)

    def gradient(self, positions):
        centred = positions - positions.mean(axis=0)
        return centred / (self.size * np.sqrt((centred**2).sum() / self.size))


class RadiusKind(CoordinateKind[RadiusSettings]):
    """The coordinate `radius`."""

    settings = RadiusSettings

    def bind(self, molecule, settings, pull, atoms=None):
        del atoms
        coordinate = Radius(len(molecule.numbers))
        rate, constant = settings.rate_angstrom_per_ps, settings.force_constant_ev_per_angstrom2
        return MovingRestraint(coordinate, rate, constant, pull.timestep_fs)


KIND = RadiusKind()
