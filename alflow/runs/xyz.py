"""Trajectories as extended XYZ files, which ``ase gui`` opens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from alflow.files.targets import replacing
from alflow.structures.extxyz import extxyz_frame
from alflow.types import Frames, Segment, SelectedFrame

DISTANCE, COORDINATE = "distance_angstrom", "coordinate"
"""What the coordinate is called in files: of two atoms pulled apart, and of variables, whose unit the settings say."""
TRAJECTORY_STRIDE = 10
"""Recorded frames per frame written; all of them are in the segments' ``.npz`` files."""


def write_trajectory(path: Path, segments: Sequence[Segment], stride: int = TRAJECTORY_STRIDE) -> None:
    """Write a trajectory: every `stride`-th record, and the last one. Energies in eV, distances in Å."""
    frames = [_frame(segment, int(row)) for segment in segments for row in np.flatnonzero(segment.steps % stride == 0)]
    last = next((segment for segment in reversed(segments) if len(segment.steps)), None)
    if last is not None and last.steps[-1] % stride:
        frames.append(_frame(last, -1))
    _write(path, frames)


def _frame(segment: Segment, row: int) -> str:
    along = {"target_distance_angstrom": segment.target[row], DISTANCE: segment.coordinate[row]}
    if segment.variables is not None and segment.bias_energy is not None:
        along = {"target": segment.target[row], COORDINATE: segment.coordinate[row]}
        along |= {f"variable_{number}": value for number, value in enumerate(segment.variables[row])}
        along["bias_energy_ev"] = segment.bias_energy[row]
    info = {
        "step": int(segment.steps[row]),
        "time_fs": float(segment.time[row]),
        **{name: float(value) for name, value in along.items()},
        "potential_energy_ev": float(segment.energy[row]),
        "work_ev": float(segment.work[row]),
        "spread_ev": float(segment.spread[row]),
        "temperature_k": float(segment.temperature[row]),
        "charge": segment.frames.charge,
    }
    return extxyz_frame(Atoms(segment.frames.numbers, segment.frames.positions[row]), info=info)


def write_selected(
    path: Path,
    picked: Iterable[tuple[Frames, Sequence[SelectedFrame]]],
    spread: str = "spread_ev",
    coordinate: str = DISTANCE,
) -> None:
    """Write the frames that were selected in an iteration, and why: their spread, under a name that says its unit.

    Args:
        path: of the file.
        picked: the molecule (any frames of it) and the selected frames of each pull.
        spread: name of the spread.
        coordinate: name of the coordinate.
    """
    _write(path, [_selected(molecule, frame, spread, coordinate) for molecule, frames in picked for frame in frames])


def _selected(molecule: Frames, frame: SelectedFrame, spread: str, coordinate: str) -> str:
    info = {
        "pull": frame.pull,
        "step": frame.step,
        "potential_energy_ev": frame.energy,
        coordinate: frame.coordinate,
        spread: frame.spread,
        "charge": molecule.charge,
    }
    return extxyz_frame(Atoms(molecule.numbers, frame.positions), info=info)


def _write(path: Path, frames: Sequence[str]) -> None:
    with replacing(path) as part:
        part.write_text("".join(frames), encoding="utf-8", newline="\n")
