"""Read a run directory back: curves, barriers, references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alflow.analysis.figures import WorkCurve, work_figure
from alflow.rundir import RunDirectory, load_segment
from alflow.types import FloatArray, Segment


def stored_segments(folder: Path) -> list[Segment]:
    """Read the segments of one trajectory, in order."""
    return [load_segment(path) for path in sorted(folder.glob("segment-*.npz"))]


def pull_folders(run: RunDirectory, iteration: int) -> list[Path]:
    """Return the folders of an iteration's pulls, in the order of the plan."""
    return sorted(path for path in run.iteration(iteration).glob("pull-*") if path.is_dir())


def reference_folders(run: RunDirectory) -> list[Path]:
    """Return the folders of the reference pulls, in the order of the plan."""
    return sorted(path for path in (run.path / "reference").glob("*/pull-*") if path.is_dir())


def work_curve(segments: Sequence[Segment], label: str) -> WorkCurve:
    """Return the work of the spring against its target distance."""
    distance = np.concatenate([segment.target_distance for segment in segments])
    return WorkCurve(label, distance, np.concatenate([segment.work for segment in segments]))


def draw_work(run: RunDirectory, pull: int = 0) -> Path:
    """Draw all work curves of one pull of the plan against its reference, and the barriers; return the figure's file."""
    records = run.records()
    curves = []
    for record in records:
        segments = stored_segments(run.iteration(record.iteration) / f"pull-{pull:02d}")
        curves.append(work_curve(segments, f"iteration {record.iteration}"))
    references = []
    for folder in reference_folders(run)[pull : pull + 1]:
        segments = stored_segments(folder)
        if segments:
            references.append(work_curve(segments, "reference"))
    path = run.figures / "work.png"
    barriers = np.array([record.barrier_ev.values for record in records])
    reference: FloatArray | None = None
    if records and records[-1].reference_barrier_ev is not None:
        reference = np.array(records[-1].reference_barrier_ev.values)
    work_figure(path, curves, references, [record.iteration for record in records], barriers, reference)
    return path
