"""Labels as MACE's training takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from alflow.potentials.mace.architecture import Architecture
from alflow.potentials.mace.library import AtomicNumberTable, data
from alflow.types import Dataset, FloatArray, IntArray


def elements_of(dataset: Dataset) -> tuple[int, ...]:
    """Return the atomic numbers of a dataset, ascending."""
    return tuple(sorted({int(number) for group in dataset.groups for number in group.frames.numbers}))


def rows_of(dataset: Dataset) -> IntArray:
    """Return the row (n,) of the frame that each of all n atoms is of."""
    atoms = [len(group.frames.numbers) for group in dataset.groups for _ in range(len(group.frames))]
    return np.repeat(np.arange(len(dataset)), atoms)


def mean_neighbours(dataset: Dataset, cutoff: float) -> float:
    """Return the mean number of neighbours of an atom within a cutoff, Å; 1 where all atoms are alone."""
    pairs = atoms = 0
    for group in dataset.groups:
        for positions in group.frames.positions:
            apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
            pairs += int(np.count_nonzero(apart < cutoff)) - len(positions)
            atoms += len(positions)
    return pairs / atoms if pairs else 1.0


def force_scale(dataset: Dataset) -> float:
    """Return the root mean square of all force components, eV/Å: the unit of the network's energies; 1 if it is 0."""
    total = sum(float((group.labels.forces**2).sum()) for group in dataset.groups)
    count = sum(group.labels.forces.size for group in dataset.groups)
    return float(np.sqrt(total / count)) or 1.0


def configurations(dataset: Dataset, architecture: Architecture, self_energies: FloatArray) -> list[Any]:
    """Return a graph of MACE for each frame, with its forces and its energy less the self-energies (E,) eV."""
    table = AtomicNumberTable(list(architecture.elements))
    known = dict(zip(architecture.elements, self_energies, strict=True))
    found = []
    for group in dataset.groups:
        numbers = group.frames.numbers
        energies = group.labels.energies - sum(known[int(number)] for number in numbers)
        for positions, energy, forces in zip(group.frames.positions, energies, group.labels.forces, strict=True):
            one = data.Configuration(numbers, positions, {"energy": energy, "forces": forces}, {})
            found.append(data.AtomicData.from_config(one, table, architecture.cutoff))
    return found
