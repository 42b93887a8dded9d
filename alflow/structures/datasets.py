"""Labelled frames of a file as a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alflow.errors import StructureError
from alflow.files.targets import shown
from alflow.structures.files import Structure, read_structures
from alflow.structures.labels import USUAL_KEYS, LabelKeys, label_of
from alflow.types import Composition, Dataset, Frames, Group, Labels


@dataclass(frozen=True)
class LabelledFile:
    """The labelled frames of a file."""

    dataset: Dataset
    left_out: dict[str, int]
    """Frames without a label, by the reason."""
    notes: tuple[str, ...]
    """Sentences on what was ignored or looks doubtful."""


def read_dataset(path: Path, keys: LabelKeys = USUAL_KEYS) -> LabelledFile:
    """Read labelled frames, grouped by composition.

    Args:
        path: any file that ASE reads.
        keys: what energy and forces are called in it.

    Raises:
        StructureError: the file cannot be read, a label is none, or no frame has one.
    """
    found = read_structures(path, labels="optional", keys=keys)
    labelled = [one for one in found.structures if one.energy is not None]
    left_out = Counter(one.failure or "no label" for one in found.structures if one.energy is None)
    if not labelled and set(left_out) == {"no label"}:
        label_of(found.structures[0].atoms, keys, found.place(0))  # says what there is instead
    if not labelled:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise StructureError(f"At least one frame must have a label; none of {shown(path)} has ({reasons}).")
    return LabelledFile(Dataset(tuple(_groups(labelled))), dict(left_out), found.notes)


def group_rows(structures: Sequence[Structure]) -> dict[Composition, list[int]]:
    """Return the rows of each composition, in the order of their first frames."""
    rows: dict[Composition, list[int]] = {}
    for row, one in enumerate(structures):
        rows.setdefault(one.composition, []).append(row)
    return rows


def _groups(structures: Sequence[Structure]) -> list[Group]:
    groups = []
    for composition, rows in group_rows(structures).items():
        chosen = [structures[row] for row in rows]
        positions = np.stack([one.atoms.positions for one in chosen])
        energies = np.array([one.energy for one in chosen], dtype=np.float64)
        forces = np.stack([one.forces for one in chosen if one.forces is not None])
        groups.append(Group(Frames(composition, positions), Labels(energies, forces)))
    return groups
