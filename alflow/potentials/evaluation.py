"""Evaluation of a potential: predictions beside labels, and their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alflow.potentials.protocol import Ensemble
from alflow.types import Dataset, FloatArray, MemberErrors


@dataclass(frozen=True)
class Predictions:
    """Of F frames with n atoms in all."""

    energies: FloatArray
    """(F,) eV."""
    reference_energies: FloatArray
    """(F,) eV."""
    forces: FloatArray
    """(n, 3) eV/Å."""
    reference_forces: FloatArray
    """(n, 3) eV/Å."""
    spread: FloatArray
    """(F,) standard deviation of the energy over the members, eV."""

    def errors(self) -> MemberErrors:
        """Return mean absolute and root mean square errors."""
        energy = self.energies - self.reference_energies
        force = self.forces - self.reference_forces
        return MemberErrors(
            energy_mae_ev=float(np.abs(energy).mean()),
            energy_rmse_ev=float(np.sqrt((energy**2).mean())),
            force_mae_ev_per_angstrom=float(np.abs(force).mean()),
            force_rmse_ev_per_angstrom=float(np.sqrt((force**2).mean())),
        )


def predict(potential: Ensemble, dataset: Dataset, member: int | None = None) -> Predictions:
    """Return predictions of one member, or of the mean of all, beside the labels of a dataset."""
    found = [potential.evaluate(group.frames) for group in dataset.groups]

    def driver(values: FloatArray) -> FloatArray:
        return np.asarray(values.mean(axis=0) if member is None else values[member], dtype=np.float64)

    return Predictions(
        energies=np.concatenate([driver(energies) for energies, _ in found]),
        reference_energies=np.concatenate([group.labels.energies for group in dataset.groups]),
        forces=np.concatenate([driver(forces).reshape(-1, 3) for _, forces in found]),
        reference_forces=np.concatenate([group.labels.forces.reshape(-1, 3) for group in dataset.groups]),
        spread=np.concatenate([energies.std(axis=0) for energies, _ in found]),
    )


def evaluate_errors(potential: Ensemble, dataset: Dataset, member: int | None = None) -> MemberErrors:
    """Return the errors of one member, or of the mean of all, on a dataset: what a kind's `train` reports of each."""
    return predict(potential, dataset, member).errors()
