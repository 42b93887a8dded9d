"""Calculators whose energy tells which charge, spin, moments and box they were given; named in settings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from alflow.labeling.engines.sleep import pair_model

made = []
"""Calculators that were made in this process."""


class Ion(Calculator):
    """Tells in `seen` what it was given; its energy has 1 eV for each charge and 0.1 eV for each unpaired electron."""

    implemented_properties = ("energy", "forces", "magmom")
    seen: dict[str, object]

    def __init__(self, **arguments):
        super().__init__()
        self.given = arguments
        made.append(self)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        Ion.seen = {
            "arguments": self.given,
            "info": dict(atoms.info),
            "directory": str(self.directory),
            "moments": atoms.get_initial_magnetic_moments().tolist(),
            "cell": atoms.cell.lengths().tolist(),
            "pbc": bool(atoms.pbc.any()),
            "middle": atoms.positions.mean(axis=0).tolist(),
        }
        energy, forces = pair_model(atoms.numbers, atoms.positions)
        charge = self.given.get("charge", atoms.info.get("charge", 0))
        unpaired = self.given.get("mult", 1) - 1
        self.results = {"energy": energy + charge + 0.1 * unpaired, "forces": forces}
        if "magmom" in self.given:
            self.results["magmom"] = self.given["magmom"]


class Remembering(Ion):
    """Starts from what it computed last, as a self-consistent program does, whatever it is told to forget."""

    def __init__(self, share=1e-9, **arguments):
        super().__init__(**arguments)
        self.share, self.last = share, 0.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = self.results["energy"] + self.share * self.last
        self.last = float(np.abs(atoms.positions).sum())
        self.results["energy"] = energy


class Forgetting(Remembering):
    """Starts from what it computed last, but for `reset`."""

    def reset(self):
        super().reset()
        self.last = 0.0


class Deadly(Ion):
    """Ends its process where atom 0 was moved up by 1 Å."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.positions[0, 2] > 1.0:
            os._exit(1)
        super().calculate(atoms, properties, system_changes)


class Delicate(Ion):
    """Fails where atom 0 was moved up by 1 Å."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.positions[0, 2] > 1.0:
            raise RuntimeError("out of its depth")
        super().calculate(atoms, properties, system_changes)


class Telling(Ion):
    """Writes a text into a file; fails where it ends with an exclamation mark."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        Path("job.out").write_text(self.given["text"], encoding="utf-8")
        if self.given["text"].endswith("!"):
            raise RuntimeError("it gave up")
