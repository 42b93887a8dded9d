"""Read a run directory back: curves, barriers, references."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alflow.campaign.plan import Plan, make_plan
from alflow.config.campaign import CampaignSettings
from alflow.config.colvars import ByColvarsSettings
from alflow.report.figures import SPRING, WORK, SpreadCurve, WorkCurve, work_figure
from alflow.runs.directory import RunDirectory, load_segment, stored_array
from alflow.runs.records import Estimate, IterationRecord
from alflow.types import FloatArray, Segment

_CHOSEN = re.compile(r"\bpull=(\d+) step=(\d+) .*\b(?:distance_angstrom|coordinate)=(\S+) .*\bspread_ev\w*=(\S+)")


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by the number at the end of their name: segment-999 before segment-1000."""
    return sorted(paths, key=number_of)


def stored_segments(folder: Path) -> list[Segment]:
    """Read the segments of one trajectory, in order."""
    return [load_segment(path) for path in in_order(folder.glob("segment-*.npz"))]


def column(folder: Path, name: str) -> FloatArray:
    """Read one array of a trajectory, its segments joined; nothing else of the files is read."""
    parts = []
    for path in in_order(folder.glob("segment-*.npz")):
        with np.load(path, allow_pickle=False) as data:
            parts.append(stored_array(data, name))
    return np.concatenate(parts) if parts else np.empty(0)


def pull_folders(run: RunDirectory, iteration: int) -> list[Path]:
    """Return the folders of an iteration's pulls, in the order of the plan."""
    return in_order(path for path in run.iteration(iteration).glob("pull-*") if path.is_dir())


def pull_folder(run: RunDirectory, iteration: int, pull: int) -> Path:
    """Return the folder of one pull of the plan."""
    return run.iteration(iteration) / f"pull-{pull:02d}"


def reference_folders(run: RunDirectory) -> list[Path]:
    """Return the folders of the reference pulls that there are, in the order of the plan."""
    found = (path for path in (run.path / "reference").glob("*/pull-*") if path.is_dir())
    return sorted(found, key=lambda path: (path.parent, number_of(path)))


def number_of(path: Path) -> int:
    """Return the number at the end of a name: of a pull in the plan, of a segment."""
    return int(path.stem.rpartition("-")[2])


def axis_of(settings: CampaignSettings) -> str:
    """Return what the coordinate of a campaign is called on an axis, with its unit."""
    by_colvars = settings.sampling.coordinate_settings
    if isinstance(by_colvars, ByColvarsSettings):
        return f"{by_colvars.names[0]} ({by_colvars.unit})"
    return SPRING


def work_curve(folder: Path, label: str, along: str = SPRING) -> WorkCurve:
    """Return the work of what steers against its target; the energy of a bias that does none, against its variable."""
    ends = in_order(folder.glob("segment-*.npz"))[-1:]
    stopped = "".join(load_segment(path).stopped for path in ends)
    target, work = column(folder, "target"), column(folder, "work")
    if len(work) and not np.isfinite(work).any():
        energy = column(folder, "bias_energy")
        return WorkCurve(label, column(folder, "coordinate"), energy, stopped, along, "energy of the bias (eV)")
    what = WORK if along == SPRING else "work of the restraints (eV)"
    place = target if np.isfinite(target).any() or not len(target) else column(folder, "coordinate")
    return WorkCurve(label, place, work, stopped, along, what)


def work_curves(run: RunDirectory, pull: int = 0) -> list[WorkCurve]:
    """Return the work curves of one pull of the plan, an iteration each."""
    along = axis_of(run.settings())
    return [
        work_curve(pull_folder(run, record.iteration, pull), f"iteration {record.iteration}", along)
        for record in run.records()
    ]


def reference_curves(run: RunDirectory, pull: int = 0, label: str = "reference") -> list[WorkCurve]:
    """Return the work curve of the reference of one pull of the plan; empty if there is none yet."""
    along = axis_of(run.settings())
    curves = [work_curve(folder, label, along) for folder in reference_folders(run) if number_of(folder) == pull][:1]
    return [curve for curve in curves if len(curve.work)]


@dataclass(frozen=True)
class Chosen:
    """A frame that was selected."""

    pull: int
    step: int
    coordinate: float
    """In its unit: Å between the pulled atoms, say."""
    spread: float


def chosen_frames(run: RunDirectory, iteration: int) -> list[Chosen]:
    """Read which frames an iteration selected, from the comment lines of ``selected.xyz``."""
    path = run.iteration(iteration) / "selected.xyz"
    if not path.exists():
        return []
    matches = _CHOSEN.finditer(path.read_text(encoding="utf-8"))
    return [Chosen(int(match[1]), int(match[2]), float(match[3]), float(match[4])) for match in matches]


def spread_curve(run: RunDirectory, iteration: int, threshold: float, pull: int = 0) -> SpreadCurve:
    """Return the spread of the energy along one pull of an iteration, and the frames chosen from it."""
    folder = pull_folder(run, iteration, pull)
    along = axis_of(run.settings())
    place = "target" if along == SPRING else "coordinate"
    steps, distance, spread = (column(folder, name) for name in ("steps", place, "spread"))
    rows = np.searchsorted(steps, [frame.step for frame in chosen_frames(run, iteration) if frame.pull == pull])
    rows = rows[rows < len(steps)]
    return SpreadCurve(f"iteration {iteration}", distance, spread, threshold, distance[rows], spread[rows], along)


def by_pull(plan: Plan, records: Sequence[IterationRecord], estimates: Sequence[Estimate | None]) -> FloatArray:
    """Return (I, P) the values of an estimate by iteration and pull of the plan; NaN where there is none."""
    found = np.full((len(records), len(plan.pulls)), np.nan)
    for row, record, estimate in zip(found, records, estimates, strict=True):
        if estimate is not None:
            row[[spec.index for spec in plan.pulls_of(record.replicas)]] = estimate.values
    return found


def barriers_of(plan: Plan, records: Sequence[IterationRecord]) -> tuple[FloatArray, FloatArray | None]:
    """Return barriers (I, P) and reference barriers (P,) in eV by pull of the plan; NaN where there is none.

    None without references.
    """
    barriers = by_pull(plan, records, [record.barrier_ev for record in records])
    if not records or records[-1].reference_barrier_ev is None:
        return barriers, None
    reference = by_pull(plan, records, [record.reference_barrier_ev for record in records])
    pulled = [plan.pulls_of(record.replicas) for record in records]
    return barriers, reference[max(range(len(records)), key=lambda row: (len(pulled[row]), row))]


def draw_work(run: RunDirectory, pull: int = 0) -> Path:
    """Draw the work curves of one pull of the plan, its reference, and the barriers; return the figure's file."""
    path = run.figures / "work.png"
    plan, records = make_plan(run.settings()), run.records()
    iterations, barriers = [record.iteration for record in records], barriers_of(plan, records)
    work_figure(path, work_curves(run, pull), reference_curves(run, pull), iterations, *barriers, plan.systems)
    return path


def mean_or_nan(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")
