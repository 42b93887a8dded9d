"""Targets of a batch, and the weights of the paper's eq. 3."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.training.data import Batch, TrainingData
from alflow.types import FloatArray, IntArray


@dataclass(frozen=True)
class Targets:
    """B frames and n atoms over all members."""

    energies: SingleArray
    """(B,) eV, less the self-energies."""
    forces: SingleArray
    """(n, 3) eV/Å."""
    energy_weight: SingleArray
    """(B,) of each squared energy error in the loss."""
    force_weight: SingleArray
    """(n,) of each squared force error in the loss."""

    def arrays(self) -> tuple[SingleArray, SingleArray, SingleArray, SingleArray]:
        """Return energies, forces and their weights."""
        return self.energies, self.forces, self.energy_weight, self.force_weight


def gather_targets(data: TrainingData, references: FloatArray, force_weight: float, batch: Batch) -> Targets:
    """Return the targets of a batch; `references` are (M, F) energies less the self-energies, eV."""
    frames, atoms = len(batch.frames), len(batch.rows)
    targets = Targets(
        np.empty(frames, np.float32),
        np.empty((atoms, 3), np.float32),
        np.empty(frames, np.float32),
        np.empty(atoms, np.float32),
    )
    frames_of = np.bincount(batch.member, minlength=len(references))
    _fill(
        data.atom_start, data.forces, references, force_weight, batch.frames, batch.member, frames_of, *targets.arrays()
    )
    return targets


@numba.njit(cache=True, nogil=True)
def _fill(
    atom_start: IntArray,
    all_forces: SingleArray,
    references: FloatArray,
    weight: float,
    frames: IntArray,
    member: IntArray,
    frames_of: IntArray,
    energies: SingleArray,
    forces: SingleArray,
    energy_weight: SingleArray,
    force_weight: SingleArray,
) -> None:
    row = 0
    for b in range(len(frames)):
        first, stop = atom_start[frames[b]], atom_start[frames[b] + 1]
        size = frames_of[member[b]]
        energies[b] = references[member[b], frames[b]]
        energy_weight[b] = 1.0 / (size * np.sqrt(stop - first))
        for atom in range(first, stop):
            force_weight[row] = weight / (size * (stop - first))
            for axis in range(3):
                forces[row, axis] = all_forces[atom, axis]
            row += 1
