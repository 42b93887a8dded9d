"""Does the calibrated uncertainty of a campaign tell the truth? Finished runs, judged by what they did not learn from.

``python benchmarks/audits.py RUN... [--from 3] [--frames 600] [--json FILE]``
``python benchmarks/audits.py --quick [--json FILE]``

Two sets of frames are judged, for each iteration of each run:

    next   the audit of the iteration, expected errors by the audits of the iterations before: what the records hold
    path   frames of the reference pulls, evenly, expected errors by this iteration's audits: nobody learnt from them

of the energy from the start of the pull and of the force on the worst atom. Printed are Spearman's rank correlation of
error and expected error, and of error and spread of the energy (path alone), the ratio of root mean squares, and the
share of errors, in per cent, within the intervals that are to hold 68 and 95. Last, the same of all iterations from
`--from` on: means of ranks and ratios, shares of all frames together.
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
from collections.abc import Iterator, Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from alflow.acquisition.audit import (  # noqa: E402
    Calibration,
    Verdict,
    calibrate,
    predictors,
    verdict,
    verdicts,
)
from alflow.acquisition.calibration import rank_correlation  # noqa: E402
from alflow.acquisition.progress import advance, start_progress  # noqa: E402
from alflow.campaign.plan import PullSpec, make_plan  # noqa: E402
from alflow.potentials.uncertainty import stated_uncertainties  # noqa: E402
from alflow.report.curves import number_of, reference_folders, stored_segments  # noqa: E402
from alflow.runs.audits import load_audits  # noqa: E402
from alflow.runs.directory import RunDirectory, load_dataset  # noqa: E402
from alflow.runs.environment import environment  # noqa: E402
from alflow.structures import heavy_bonds  # noqa: E402
from alflow.types import FloatArray, Frames, Labels  # noqa: E402
from alflow.workers.models import EnsembleModel  # noqa: E402
from alflow.workers.tasks import assess  # noqa: E402

QUANTITIES = ("energy", "largest force")


@dataclass(frozen=True)
class Row:
    """One quantity on one set of frames in one iteration of a run."""

    run: str
    iteration: int
    labels: int
    """That the members learnt from."""
    of: str
    """"next" or "path"."""
    quantity: str
    frames: int
    error: float
    """Root mean square, meV or meV/Å."""
    rank: float | None
    rank_of_spread: float | None
    """Of the spread of the energy."""
    ratio: float
    covered_68: float
    covered_95: float


@dataclass(frozen=True)
class Stretch:
    """Labelled frames along a reference pull."""

    frames: Frames
    labels: Labels
    progress: FloatArray
    """(F,) Å."""


def reference_paths(run: RunDirectory, specs: Sequence[PullSpec], most: int) -> list[Stretch]:
    """Return about `most` frames of all reference pulls together, evenly along each."""
    found = []
    for folder in reference_folders(run):
        spec, segments = specs[number_of(folder)], stored_segments(folder)
        kept = [one for one in segments if one.forces is not None and len(one.steps)]
        if not kept:
            continue
        positions = np.concatenate([one.frames.positions for one in kept])
        coordinate = np.concatenate([one.coordinate for one in kept])
        labels = Labels(
            np.concatenate([one.energy for one in kept]),
            np.concatenate([one.forces for one in kept if one.forces is not None]),
        )
        bonds = heavy_bonds(spec.molecule.numbers, spec.molecule.positions)
        _, progress = advance(start_progress(bonds, float(coordinate[0]), positions[0]), coordinate, positions)
        found.append(Stretch(Frames(spec.molecule.composition, positions), labels, progress))
    stride = max(1, round(sum(len(one.frames) for one in found) / most))
    every = slice(None, None, stride)
    return [Stretch(one.frames.take(every), one.labels.take(every), one.progress[every]) for one in found]


def judge(run: RunDirectory, most: int) -> Iterator[Row]:
    """Yield the rows of a run."""
    records = run.records()
    audits, paths = load_audits(run, len(records)), reference_paths(run, make_plan(run.settings()).pulls, most)
    for record in records:
        head = run.path.name, record.iteration, record.labels
        before, now = calibrate(audits[: record.iteration]), calibrate(audits[: record.iteration + 1])
        audit = audits[record.iteration]
        if before is not None and audit:
            errors = [[getattr(row, name) for row in audit] for name in ("energy_error", "force_error")]
            for quantity, found, array in zip(QUANTITIES, verdicts(before, audit), errors, strict=True):
                yield _row((*head, "next", quantity), np.array(array), found, None)
        if now is not None and paths:
            yield from along_paths(run, (*head, "path"), now, paths)


def along_paths(
    run: RunDirectory, head: tuple[str, int, int, str], calibration: Calibration, paths: Sequence[Stretch]
) -> Iterator[Row]:
    """Yield the rows of one iteration along the reference pulls."""
    folder = run.iteration(head[1])
    model = EnsembleModel(str(folder / "ensemble.pt"), "mean")
    known = {
        group.frames.composition: assess(model, group.frames.composition, group.frames.positions).value.features
        for group in load_dataset(folder / "dataset.npz").groups
    }
    parts: dict[str, list[FloatArray]] = {"energy": [], "largest force": [], "spread": [], "u": [], "v": [], "s": []}
    for one in paths:
        found = assess(model, one.frames.composition, one.frames.positions).value
        start = assess(model, one.frames.composition, one.frames.positions[:1]).value
        energy, force = stated_uncertainties(found, known[one.frames.composition], start)
        gap = found.forces.mean(axis=0) - one.labels.forces
        errors = found.energies.mean(axis=0) - one.labels.energies
        parts["energy"].append(errors - errors[0])
        parts["largest force"].append(np.linalg.norm(gap, axis=-1).max(axis=-1))
        parts["spread"].append(found.energies.std(axis=0))
        parts["u"].append(energy)
        parts["v"].append(force)
        parts["s"].append(one.progress)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    models = calibration.energy, calibration.force
    known_before = predictors(joined["u"], joined["s"]), predictors(joined["v"], joined["s"])
    for quantity, one_model, x in zip(QUANTITIES, models, known_before, strict=True):
        errors = joined[quantity]
        yield _row((*head, quantity), errors, verdict(errors, one_model(x), one_model), joined["spread"])


def _row(head: tuple[str, int, int, str, str], errors: FloatArray, found: Verdict, spread: FloatArray | None) -> Row:
    of_spread = None if spread is None else rank_correlation(errors, spread)
    known = None if of_spread is None or math.isnan(of_spread) else of_spread
    error = 1e3 * float(np.sqrt(np.mean(errors**2)))
    return Row(*head, found.frames, error, found.rank, known, found.ratio, found.covered_68, found.covered_95)


def summary(rows: Sequence[Row], first: int) -> dict[str, float]:
    """Return means of ranks and ratios, and shares of all frames together, from an iteration on."""
    found = {}
    for of in ("next", "path"):
        for quantity in QUANTITIES:
            chosen = [row for row in rows if (row.of, row.quantity) == (of, quantity) and row.iteration >= first]
            if not chosen:
                continue
            frames = np.array([row.frames for row in chosen])
            ratios = np.array([row.ratio for row in chosen])
            found[f"{of}, {quantity}: frames"] = float(frames.sum())
            found[f"{of}, {quantity}: ratio, geometric mean"] = float(np.exp(np.mean(np.log(ratios))))
            for name in ("rank", "rank_of_spread"):
                known = [value for row in chosen if (value := getattr(row, name)) is not None]
                if known:
                    found[f"{of}, {quantity}: {name.replace('_', ' ')}, mean"] = float(np.mean(known))
                    found[f"{of}, {quantity}: {name.replace('_', ' ')}, least"] = float(np.min(known))
            for name in ("covered_68", "covered_95"):
                shares = np.array([getattr(row, name) for row in chosen])
                found[f"{of}, {quantity}: {name.replace('_', ' ')}, %"] = float(100.0 * shares @ frames / frames.sum())
    return found


def table(rows: Sequence[Row]) -> str:
    """Return one line a row."""
    titles = f"{'run':<12}{'it':>3}{'labels':>7}  {'of':<5}{'quantity':<14}{'frames':>7}{'error':>8}{'rank':>6}"
    lines = [f"{titles}{'spread':>7}{'ratio':>6}{'68':>5}{'95':>5}"]
    for row in rows:
        rank, spread = ("-" if value is None else f"{value:.2f}" for value in (row.rank, row.rank_of_spread))
        lines.append(
            f"{row.run:<12}{row.iteration:3d}{row.labels:7d}  {row.of:<5}{row.quantity:<14}{row.frames:7d}"
            f"{row.error:8.1f}{rank:>6}{spread:>7}{row.ratio:6.2f}"
            f"{100 * row.covered_68:5.0f}{100 * row.covered_95:5.0f}"
        )
    return "\n".join(lines)


def quick_run(folder: Path) -> Path:
    """Run a campaign that takes seconds."""
    campaign = folder / "audits.toml"
    campaign.write_text(import_module("uncertainty").QUICK)  # its neighbour here
    overrides = [
        "selection.threshold=calibrated",
        "selection.cap_order=diverse",
        "selection.cap=20",
        "selection.audit=0.4",
        "augmentation.copies=0",
    ]
    command = [str(Path(sys.executable).with_name("alflow")), "run", str(campaign), "--run-dir", str(folder / "quick")]
    command += [word for override in overrides for word in ("--set", override)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the arguments are this script's own
    return folder / "quick"


def main() -> None:
    """Read the runs, print the table, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--quick", action="store_true", help="on a run of seconds that it makes itself")
    parser.add_argument("--from", type=int, dest="first", default=3, help="first iteration of the summary")
    parser.add_argument("--frames", type=int, default=600, help="frames of the reference pulls, about")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not (arguments.runs or arguments.quick):
        parser.error("name the directory of a finished run, or --quick")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = [*arguments.runs, *([quick_run(Path(folder))] if arguments.quick else [])]
        rows = [row for run in runs for row in judge(RunDirectory(run), arguments.frames)]
    ratios = summary(rows, 1 if arguments.quick else arguments.first)
    print(table(rows))
    print("\n".join(f"{name:<48}{value:8.2f}" for name, value in ratios.items()))
    if arguments.json:
        content = {"machine": environment(), "rows": [asdict(row) for row in rows], "ratios": ratios}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
