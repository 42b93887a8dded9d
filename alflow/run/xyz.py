"""Trajectories as extended XYZ files, which ``ase gui`` opens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from alflow.types import IntArray, Segment, SelectedFrame

TRAJECTORY_STRIDE = 10
"""Recorded frames per frame written; all of them are in the segments' ``.npz`` files."""


def write_trajectory(path: Path, segments: Sequence[Segment], stride: int = TRAJECTORY_STRIDE) -> None:
    """Write a trajectory: every `stride`-th record, and the last one. Energies in eV, distances in Å."""
    images = [_image(segment, int(row)) for segment in segments for row in np.flatnonzero(segment.steps % stride == 0)]
    last = next((segment for segment in reversed(segments) if len(segment.steps)), None)
    if last is not None and last.steps[-1] % stride:
        images.append(_image(last, -1))
    _write(path, images)


def _image(segment: Segment, row: int) -> Atoms:
    atoms = Atoms(numbers=segment.frames.numbers, positions=segment.frames.positions[row])
    atoms.info = {
        "step": int(segment.steps[row]),
        "time_fs": float(segment.time[row]),
        "target_distance_angstrom": float(segment.target[row]),
        "distance_angstrom": float(segment.coordinate[row]),
        "potential_energy_ev": float(segment.energy[row]),
        "work_ev": float(segment.work[row]),
        "spread_ev": float(segment.spread[row]),
        "temperature_k": float(segment.temperature[row]),
    }
    return atoms


def write_selected(
    path: Path, picked: Iterable[tuple[IntArray, Sequence[SelectedFrame]]], spread: str = "spread_ev"
) -> None:
    """Write the frames that were selected in an iteration, and why: their spread, under a name that says its unit.

    Args:
        path: of the file.
        picked: (A,) atomic numbers and frames of each pull.
        spread: name of the spread.
    """
    images = []
    for numbers, frames in picked:
        for frame in frames:
            atoms = Atoms(numbers=numbers, positions=frame.positions)
            atoms.info = {
                "pull": frame.replica,
                "step": frame.step,
                "potential_energy_ev": frame.energy,
                "distance_angstrom": frame.coordinate,
                spread: frame.spread,
            }
            images.append(atoms)
    _write(path, images)


def _write(path: Path, images: list[Atoms]) -> None:
    temporary = path.with_name("." + path.name)
    if images:
        write(temporary, images, format="extxyz")
    else:
        temporary.write_text("")
    temporary.replace(path)
