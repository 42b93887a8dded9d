"""A label engine: Morse bonds between all atoms."""

import hashlib
import json

import numpy as np
from pydantic import Field

from alflow.config.base import Settings
from alflow.errors import LabelError
from alflow.labeling.protocol import EngineKind
from alflow.types import Evaluation


class MorseSettings(Settings):
    """Morse bonds between all atoms."""

    depth_ev: float = Field(default=0.5, gt=0)
    """Depth of a bond, eV."""
    width_per_angstrom: float = Field(default=1.5, gt=0)
    """Inverse width of a bond, 1/Å."""


class Morse:
    """E = D Σ (1 - exp(-a (r - r0)))² with r0 = 0.4 Å + 0.1 Å · (Z1 + Z2)."""

    def __init__(self, settings: MorseSettings) -> None:
        self.depth, self.width = settings.depth_ev, settings.width_per_angstrom
        text = json.dumps({"engine": "morse", "version": 1, **settings.model_dump()}, sort_keys=True)
        self.theory = hashlib.sha256(text.encode()).hexdigest()

    def compute(self, composition, positions, start=None) -> Evaluation:
        del start
        numbers = composition.numbers
        if composition.charge:
            raise LabelError("bad-charge", f"A Morse bond knows no charge; the structure has {composition.charge:+d}.")
        if not np.isfinite(positions).all():
            raise LabelError("implausible-structure", "Coordinates must be finite numbers; some are not.")
        first, second = np.triu_indices(len(numbers), 1)
        along = positions[second] - positions[first]
        r = np.linalg.norm(along, axis=1)
        decay = np.exp(-self.width * (r - 0.4 - 0.1 * (numbers[first] + numbers[second])))
        slope = 2.0 * self.depth * self.width * (1.0 - decay) * decay
        forces = np.zeros_like(positions)
        push = (slope / r)[:, None] * along
        np.add.at(forces, first, push)
        np.add.at(forces, second, -push)
        return Evaluation(float(self.depth * ((1.0 - decay) ** 2).sum()), forces)


class MorseKind(EngineKind[MorseSettings]):
    """The engine `morse`."""

    settings = MorseSettings
    packages = ("alflow-guest",)

    def references(self, settings):
        del settings
        return ("P. M. Morse, Phys. Rev. 1929, 34, 57",)

    def make(self, settings):
        return Morse(settings)


KIND = MorseKind()
