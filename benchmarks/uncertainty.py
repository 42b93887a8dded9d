"""Does a stated uncertainty tell the truth? Estimators beside each other on finished runs, along their reference pulls.

``python benchmarks/uncertainty.py RUN... [--iterations 3 4] [--frames 400] [--label] [--json FILE]``
``python benchmarks/uncertainty.py --quick [--json FILE]``

For each iteration of a run, frames of the reference pulls, evenly: no ensemble was trained on them, and what the
label engine says of them is known. Three errors of the mean of the members are set against what each estimator states:
that of the energy, of the force on the worst atom (a length), and of the force along the pulled coordinate. Printed:

    rank    Spearman's rank correlation of error and uncertainty
    ratio   ratio of root mean squares, error : uncertainty; 1 is right
    68, 95  share of errors, in per cent, below 0.99 and 1.96 times the uncertainty
    q95     share of errors, in per cent, within the conformal interval that is to hold 95

for the uncertainty as it comes ("none"), and after its ratio (for q95, its conformal factor) was taken from rows that
validate every member ("validation"), from the labels that this iteration asked for, before they were learnt from
("fresh"), or from a few frames at random of every other reference pull, and judged on the other pulls ("audit").
"power" is the audit with a factor and an exponent of the uncertainty, by maximum likelihood, and no ratio. What has
one number for all quantities has a unit after calibration only. Times are processor times of this script, one thread,
a frame. All is told of all frames, of those where the molecule is whole, and of those where it is broken.

With --label, the run's engine labels frames at random of the iterations' own pulls: "own" and "own power" are audits of
this iteration's, and all is told of frames of the next iteration's, too.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator, Mapping, Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from itertools import product  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402

from alflow.acquisition.calibration import (  # noqa: E402
    conformal_factor,
    coverage,
    error_ratio,
    fit_error_model,
    normal_factor,
    rank_correlation,
)
from alflow.acquisition.splits import validation_of_all  # noqa: E402
from alflow.campaign.plan import PullSpec, make_plan  # noqa: E402
from alflow.errors import InputError  # noqa: E402
from alflow.labeling import make_engine  # noqa: E402
from alflow.potentials import Ensemble, load_potential  # noqa: E402
from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: E402
from alflow.potentials.ani.lastlayer import ANILastLayer  # noqa: E402
from alflow.potentials.ani.settings import ANIPotentialSettings  # noqa: E402
from alflow.potentials.uncertainty import (  # noqa: E402
    CheckedErrors,
    EnergySpread,
    Estimator,
    ForceSpread,
    LastLayerCovariance,
    LastLayerDistance,
    SpreadAndDistance,
)
from alflow.report.curves import number_of, pull_folders, reference_folders  # noqa: E402
from alflow.runs.directory import RunDirectory, load_dataset, load_members, load_segment  # noqa: E402
from alflow.runs.environment import environment  # noqa: E402
from alflow.runs.records import IterationRecord  # noqa: E402
from alflow.structures import fragments  # noqa: E402
from alflow.types import (  # noqa: E402
    Dataset,
    FloatArray,
    Frames,
    Group,
    IntArray,
    Labels,
    concatenate_frames,
)

BoolArray = npt.NDArray[np.bool_]
QUANTITIES = {"energy": "meV", "largest force": "meV/Å", "force along": "meV/Å"}
PARTS = ("all", "whole", "broken", "next")
CALIBRATIONS = ("none", "validation", "fresh", "audit", "power", "own", "own power")
POWERS, APART = ("power", "own power"), ("audit", "power")
"""Calibrations with an exponent; those judged on other pulls than they were taken from."""
STEP_ANGSTROM = 1e-4
NEXT_FRAMES = 136
"""Drawn at random from the pulls of the next iteration."""
AUDIT_FRAMES = 36
"""Drawn at random from every other pull; a tenth of the labels of an iteration of configs/hexane.toml."""
FEWEST_ROWS = 20
"""A calibration on fewer rows is left out."""
QUICK = """
name = "uncertainty"
iterations = 2
[system]
carbons = [2]
[labels]
engine = "ase"
[labels.settings]
calculator = "ase.calculators.emt.EMT"
[first_data.md]
temperature_k = 300.0
steps = 400
stride = 2
[split]
members = 2
train_fraction = 0.5
[potential.ani]
other_layers = [16, 12]
[potential.ani.hidden_layers]
H = [16, 12]
C = [16, 12]
[training]
epochs = 4
[sampling.relax]
langevin_steps = 20
berendsen_steps = 20
[sampling.pull]
steps = 60
segment_steps = 60
rate_angstrom_per_ps = 20.0
[selection]
first_steps = 20
cap = 4
similarity_energy_ev = 0.0
"""


@dataclass(frozen=True)
class Row:
    """One estimator, quantity and calibration in one iteration of one run. Numbers that there are not are None."""

    run: str
    iteration: int
    labels: int
    """That the members learnt from."""
    estimator: str
    quantity: str
    part: str
    """Of the path: all, or where the molecule is whole, or broken; or frames of the next iteration's pulls."""
    calibration: str
    frames: int
    error: float
    """Root mean square, in meV or meV/Å."""
    rank: float | None
    ratio: float | None
    covered_68: float | None
    covered_95: float | None
    conformal_68: float | None
    conformal_95: float | None
    ms: float
    """Processor time a frame for this quantity."""


@dataclass(frozen=True)
class Checked:
    """Labelled frames of one composition, and the direction (F, A, 3) whose force F · d is along the coordinate."""

    frames: Frames
    labels: Labels
    directions: FloatArray


def directions_of(spec: PullSpec, frames: Frames) -> FloatArray:
    """Return d = ∇ξ / |∇ξ|², (F, A, 3), so that F · d is the force along ξ; by central differences, frame by frame."""
    steering = spec.steering.bind(spec.settings)
    size = frames.positions.shape[1] * 3
    steps = STEP_ANGSTROM * np.eye(size).reshape(size, -1, 3)
    gradients = np.stack([steering.value(place + steps) - steering.value(place - steps) for place in frames.positions])
    gradients /= 2.0 * STEP_ANGSTROM
    directions: FloatArray = gradients / (gradients**2).sum(axis=1, keepdims=True)
    return directions.reshape(frames.positions.shape)


def path_frames(run: RunDirectory, specs: Sequence[PullSpec], most: int) -> list[Checked]:
    """Return about `most` frames of all reference pulls together, evenly along each.

    Raises:
        InputError: the run has no reference pulls with forces.
    """
    found: list[tuple[PullSpec, Frames, Labels]] = []
    for folder in reference_folders(run):
        spec = specs[number_of(folder)]
        segments = [load_segment(path) for path in sorted(folder.glob("segment-*.npz"))]
        kept = [(s.frames, s.energy, s.forces) for s in segments if s.forces is not None and len(s.steps)]
        if kept:
            labels = Labels(np.concatenate([e for _, e, _ in kept]), np.concatenate([f for _, _, f in kept]))
            found.append((spec, concatenate_frames([frames for frames, _, _ in kept]), labels))
    if not found:
        raise InputError(f"A run is judged along its reference pulls; {run.path} has none with forces.")
    stride = max(1, round(sum(len(frames) for _, frames, _ in found) / most))
    parts = [(spec, frames.take(slice(None, None, stride)), labels) for spec, frames, labels in found]
    return [
        Checked(frames, labels.take(slice(None, None, stride)), directions_of(spec, frames))
        for spec, frames, labels in parts
    ]


def is_whole(numbers: IntArray, positions: FloatArray) -> bool:
    """Say whether a structure, (A, 3) Å, is one molecule."""
    return len(np.unique(fragments(numbers, positions))) == 1


def draw(run: RunDirectory, specs: Sequence[PullSpec], iteration: int, count: int) -> list[Checked]:
    """Label frames of an iteration's pulls at random; each recorded frame is as likely as any other."""
    settings, found = run.settings(), []
    engine = make_engine(settings.labels.engine, settings.labels.settings)
    folders = pull_folders(run, iteration)
    pulls = [
        concatenate_frames([load_segment(path).frames for path in sorted(folder.glob("segment-*.npz"))])
        for folder in folders
    ]
    of_pull = np.repeat(np.arange(len(pulls)), [len(frames) for frames in pulls])
    row = np.concatenate([np.arange(len(frames)) for frames in pulls])
    drawn = np.random.default_rng(iteration).permutation(len(row))[:count]
    for pull in np.unique(of_pull[drawn]):
        frames = pulls[pull].take(row[drawn[of_pull[drawn] == pull]])
        labels = [engine.compute(frames.composition, positions) for positions in frames.positions]
        energies, forces = np.array([one.energy for one in labels]), np.stack([one.forces for one in labels])
        found.append(Checked(frames, Labels(energies, forces), directions_of(specs[number_of(folders[pull])], frames)))
    return found


def rows_of(dataset: Dataset, rows: IntArray) -> list[Group]:
    """Return some rows of a dataset, group by group; groups without any are left out."""
    found, first = [], 0
    for group in dataset.groups:
        own = rows[(rows >= first) & (rows < first + len(group.frames))] - first
        first += len(group.frames)
        if len(own):
            found.append(Group(group.frames.take(own), group.labels.take(own)))
    return found


def fresh_rows(before: Dataset, after: Dataset) -> IntArray:
    """Return the rows of a dataset that an earlier one does not have."""
    known = {key for _, key in keys(before)}
    return np.array([row for row, key in keys(after) if key not in known], dtype=np.int64)


def keys(dataset: Dataset) -> Iterator[tuple[int, bytes]]:
    """Yield each row with what tells it from all others: composition, positions."""
    row = 0
    for group in dataset.groups:
        for positions in group.frames.positions:
            yield row, group.frames.composition.key + positions.tobytes()
            row += 1


def stated(estimator: Estimator, sets: Sequence[Checked]) -> dict[str, tuple[FloatArray, float]]:
    """Return what an estimator states of each quantity, and its processor time for a frame, ms."""
    found = {}
    for quantity in QUANTITIES:
        started = time.process_time()
        if quantity == "energy":
            parts = [estimator.energy(one.frames) for one in sets]
        elif quantity == "largest force":
            parts = [estimator.largest_force(one.frames) for one in sets]
        else:
            parts = [estimator.force_along(one.frames, one.directions) for one in sets]
        joined = np.concatenate(parts) if parts else np.empty(0)
        found[quantity] = joined, 1e3 * (time.process_time() - started) / max(len(joined), 1)
    return found


def errors_of(potential: Ensemble, sets: Sequence[Checked]) -> dict[str, FloatArray]:
    """Return the errors of the mean of the members, eV and eV/Å; the largest force's is a length."""
    parts: dict[str, list[FloatArray]] = {quantity: [np.empty(0)] for quantity in QUANTITIES}
    for one in sets:
        energies, forces = potential.evaluate(one.frames)
        gap = forces.mean(axis=0) - one.labels.forces
        parts["energy"].append(energies.mean(axis=0) - one.labels.energies)
        parts["largest force"].append(np.linalg.norm(gap, axis=-1).max(axis=-1))
        parts["force along"].append(np.einsum("fax,fax->f", gap, one.directions))
    return {quantity: np.concatenate(arrays) for quantity, arrays in parts.items()}


def estimators_of(
    potential: Ensemble, trained: Sequence[Group], validation: Sequence[Checked], force_weight: float
) -> list[Estimator]:
    """Return all estimators, fitted."""
    found: list[Estimator] = [EnergySpread(potential), ForceSpread(potential)]
    if not isinstance(potential, ANIEnsemble):
        return found
    layer, frames = ANILastLayer(potential), [group.frames for group in trained]
    unseen = []
    for one in validation:
        energies, forces = (predicted.mean(axis=0) for predicted in potential.evaluate(one.frames))
        unseen.append(CheckedErrors(one.frames, energies - one.labels.energies, forces - one.labels.forces))
    if sum(len(one.frames) for one in unseen) >= FEWEST_ROWS:
        found.append(LastLayerCovariance.fit(layer, frames, unseen, name="covariance"))
        found.append(LastLayerCovariance.fit(layer, frames, unseen, force_weight, name="covariance with forces"))
    distance = LastLayerDistance.fit(layer, frames)
    return [*found, distance, SpreadAndDistance(found[1], distance)]


def measures(
    errors: FloatArray, deviations: FloatArray, known: tuple[FloatArray, FloatArray] | None, *, rescaled: bool = True
) -> dict[str, float]:
    """Return rank, ratio and coverages.

    Args:
        errors: (F,).
        deviations: (F,) as stated.
        known: errors and stated deviations that a scale and conformal factors are taken from; None for neither.
        rescaled: take the scale; otherwise the deviations are left as they are.
    """
    scale = error_ratio(*known) if known is not None and rescaled else 1.0
    found = {
        "rank": rank_correlation(errors, deviations),
        "ratio": error_ratio(errors, scale * deviations),
        "covered_68": coverage(errors, normal_factor(0.68) * scale * deviations),
        "covered_95": coverage(errors, normal_factor(0.95) * scale * deviations),
        "conformal_68": math.nan,
        "conformal_95": math.nan,
    }
    if known is not None:
        for level in (0.68, 0.95):
            found[f"conformal_{100 * level:.0f}"] = coverage(errors, conformal_factor(*known, level) * deviations)
    return found


@dataclass(frozen=True)
class PulledPath:
    """Frames of the reference pulls, F in all, pull after pull."""

    sets: Sequence[Checked]
    """One a pull."""
    parts: Mapping[str, BoolArray]
    """(F,) which frames are of each part."""
    other: BoolArray
    """(F,) which are of every second pull: those that an audit is judged on."""
    audit: IntArray
    """Frames of the other pulls, at random; none where there is one pull only."""

    @classmethod
    def of(cls, sets: Sequence[Checked]) -> PulledPath:
        """Tell the frames apart."""
        whole = np.concatenate([[is_whole(one.frames.numbers, at) for at in one.frames.positions] for one in sets])
        other = np.repeat(np.arange(len(sets)) % 2 == 1, [len(one.frames) for one in sets])
        drawn = np.random.default_rng(0).permutation(np.flatnonzero(~other))[: AUDIT_FRAMES if other.any() else 0]
        parts = {"all": np.full(len(whole), fill_value=True), "whole": whole, "broken": ~whole}
        return cls(sets, parts, other, np.sort(drawn))


def judge(run: RunDirectory, iterations: Sequence[int] | None, most: int, *, label: bool) -> list[Row]:
    """Return the rows of one run."""
    specs = make_plan(run.settings()).pulls
    path = PulledPath.of(path_frames(run, specs, most))
    chosen = [record for record in run.records() if iterations is None or record.iteration in iterations]
    return [row for record in chosen for row in judge_iteration(run, specs, path, record, label=label)]


def judge_iteration(
    run: RunDirectory, specs: Sequence[PullSpec], path: PulledPath, record: IterationRecord, *, label: bool
) -> Iterator[Row]:
    """Yield the rows of one iteration."""
    folder, following = run.iteration(record.iteration), run.iteration(record.iteration + 1) / "dataset.npz"
    potential, dataset = load_potential(folder / "ensemble.pt"), load_dataset(folder / "dataset.npz")
    unseen = validation_of_all([member.split for member in load_members(folder / "members.json")])
    trained = rows_of(dataset, np.setdiff1d(np.arange(len(dataset)), unseen))
    sets = {"path": path.sets, "validation": checked(specs, rows_of(dataset, unseen))}
    if following.exists():
        after = load_dataset(following)
        sets["fresh"] = checked(specs, rows_of(after, fresh_rows(dataset, after)))
    if label:
        sets["own"] = sets["own power"] = draw(run, specs, record.iteration, AUDIT_FRAMES)
        if record.iteration + 1 < len(run.records()):
            sets["next"] = draw(run, specs, record.iteration + 1, NEXT_FRAMES)
    own = run.settings().potential.settings
    weight = own.training.force_weight if isinstance(own, ANIPotentialSettings) else 0.0
    errors = {name: errors_of(potential, one) for name, one in sets.items()}
    for estimator in estimators_of(potential, trained, sets["validation"], weight):
        said = {name: stated(estimator, one) for name, one in sets.items()}
        for quantity, part in product(QUANTITIES, PARTS):
            head: dict[str, Any] = {
                "run": run.path.name,
                "iteration": record.iteration,
                "labels": record.labels,
                "estimator": estimator.name,
                "quantity": quantity,
                "part": part,
                "ms": said["path"][quantity][1],
            }
            pairs = {name: (errors[name][quantity], said[name][quantity][0]) for name in sets}
            pairs["audit"] = pairs["power"] = pairs["path"][0][path.audit], pairs["path"][1][path.audit]
            if part == "next":
                if "next" in sets:
                    pairs = {name: pair for name, pair in pairs.items() if name not in APART} | {"path": pairs["next"]}
                    frames = np.full(len(pairs["path"][0]), fill_value=True)
                    yield from (Row(**head, **found) for found in calibrated(pairs, frames, frames))
                continue
            frames = path.parts[part]
            yield from (Row(**head, **found) for found in calibrated(pairs, frames, frames & path.other))


def checked(specs: Sequence[PullSpec], groups: Sequence[Group]) -> list[Checked]:
    """Return the groups whose composition is pulled, with the directions of the first pull of it."""
    of_composition = {spec.molecule.composition: spec for spec in reversed(specs)}
    return [
        Checked(group.frames, group.labels, directions_of(of_composition[group.frames.composition], group.frames))
        for group in groups
        if group.frames.composition in of_composition
    ]


def calibrated(
    pairs: Mapping[str, tuple[FloatArray, FloatArray]], part: BoolArray, apart: BoolArray
) -> Iterator[dict[str, Any]]:
    """Yield what is measured on a part of the path, for each calibration that there is data for.

    Args:
        pairs: errors and stated deviations along the path, and of what calibrates.
        part: (F,) which frames of the path.
        apart: (F,) those of them that are of other pulls than the audit.
    """
    for calibration in CALIBRATIONS:
        known = pairs.get(calibration)
        if calibration != "none" and (known is None or len(known[0]) < FEWEST_ROWS):
            continue
        true, deviations = (array[apart if calibration in APART else part] for array in pairs["path"])
        if len(true) < FEWEST_ROWS:
            continue
        if calibration in POWERS and known is not None:
            model = fit_error_model(known[0], np.log(known[1])[:, None], rising=1)
            deviations, known = model(np.log(deviations)[:, None]), (known[0], model(np.log(known[1])[:, None]))
        numbers = {
            name: number if math.isfinite(number) else None
            for name, number in measures(true, deviations, known, rescaled=calibration not in POWERS).items()
        }
        error = 1e3 * float(np.sqrt(np.mean(true**2)))
        yield {"calibration": calibration, "frames": len(true), "error": error, **numbers}


def table(rows: Sequence[Row]) -> str:
    """Return one table for each quantity and part."""
    by_key: dict[tuple[str, str, str, int, str], dict[str, Row]] = {}
    for row in rows:
        key = row.quantity, row.part, row.run, row.iteration, row.estimator
        by_key.setdefault(key, {})[row.calibration] = row
    lines: list[str] = []
    for (quantity, unit), part in product(QUANTITIES.items(), PARTS):
        found = [rows_of_key for key, rows_of_key in by_key.items() if key[:2] == (quantity, part)]
        if not found:
            continue
        shown = [name for name in CALIBRATIONS if any(name in one for one in found)]
        titles = "".join(f"{name:>12}: ratio   68   95{'  q95' if name != 'none' else ''}" for name in shown)
        lines.append(f"{quantity}, {part} frames of the path: {found[0]['none'].frames}")
        lines.append(
            f"{'run':<14}{'it':>3}{'labels':>7}{'error, ' + unit:>14}  {'estimator':<24}{'rank':>5}{titles}{'ms':>9}"
        )
        lines += [*(_line(one, shown) for one in found), ""]
    return "\n".join(lines)


def _line(found: Mapping[str, Row], shown: Sequence[str]) -> str:
    row = found["none"]
    text = f"{row.run:<14}{row.iteration:3d}{row.labels:7d}{row.error:14.1f}  {row.estimator:<24}{_number(row.rank):>5}"
    for calibration in shown:
        one = found.get(calibration)
        if one is None:
            text += f"{'-':>19}{'':>15}"
            continue
        text += f"{_number(one.ratio):>19}{_percent(one.covered_68):>5}{_percent(one.covered_95):>5}"
        text += f"{_percent(one.conformal_95):>5}" if calibration != "none" else ""
    return f"{text}{row.ms:9.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def quick_run(folder: Path) -> Path:
    """Run a campaign that takes seconds."""
    campaign = folder / "uncertainty.toml"
    campaign.write_text(QUICK)
    command = [str(Path(sys.executable).with_name("alflow")), "run", str(campaign), "--run-dir", str(folder / "quick")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the arguments are this script's own
    return folder / "quick"


def main() -> None:
    """Read the runs, print the tables, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--quick", action="store_true", help="on a run of seconds that it makes itself")
    parser.add_argument("--iterations", type=int, nargs="+", help="these alone")
    parser.add_argument("--frames", type=int, default=400, help="frames of the reference pulls, about")
    parser.add_argument("--label", action="store_true", help="label frames of the iterations' own pulls, too")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not (arguments.runs or arguments.quick):
        parser.error("name the directory of a finished run, or --quick")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = [*arguments.runs, *([quick_run(Path(folder))] if arguments.quick else [])]
        rows = [
            row
            for run in runs
            for row in judge(RunDirectory(run), arguments.iterations, arguments.frames, label=arguments.label)
        ]
    print(table(rows))
    if arguments.json:
        ratios = {
            f"error/{row.estimator}, {row.quantity}, {row.run} iteration {row.iteration}": row.ratio
            for row in rows
            if (row.calibration, row.part) == ("none", "all") and row.ratio is not None
        }
        content = {"machine": environment(), "rows": [asdict(row) for row in rows], "ratios": ratios}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
