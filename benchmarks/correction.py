"""Does the barrier that an audit tells agree with reference pulls? On finished runs that have them.

``python benchmarks/correction.py RUN... [--frames 1 1 1 2] [--groups 4 8] [--across] [--json FILE]``
``python benchmarks/correction.py --quick [--json FILE]``

For each iteration of a run, the run's label engine judges a few frames of each of its pulls, drawn by `audit_rows` from
the four windows of a pull, and `corrected_barrier` states the error of the mean barrier and the barrier under the label
engine. Beside it, what the reference pulls say:

    true            mean of pull minus reference, pair by pair, and its 95 % interval: mostly scatter
    error           as stated; ± inf where the audit cannot tell
    up to, after    its parts: up to the break, and after it
    slack           work after the break, pulls minus references: what "after" estimates, and it scatters little
    shift           of the breaking point, a standard uncertainty
    corrected       the barrier under the label engine, as stated
    reference       the mean of all references, of runs that differ in their seed alone, and its 95 % interval
    holds           whether that mean, with its own uncertainty, lies in the stated interval
    single          share of the references within what is stated for a single trajectory, in per cent

With --groups, the same for every so many pulls in turn: how many groups could be told, and how often it held. With
--across, other errors are judged, too: the ensemble of each iteration of each run takes the part of the label engine
for the pulls of each other one, and its own pulls that of the references.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from alflow.acquisition.correction import (  # noqa: E402
    FRAMES,
    AuditedPull,
    CorrectedBarrier,
    audit_rows,
    corrected_barrier,
    force_apart,
    windows,
)
from alflow.acquisition.seeds import generator  # noqa: E402
from alflow.acquisition.stopping import confidence_interval  # noqa: E402
from alflow.campaign.plan import PullSpec, make_plan  # noqa: E402
from alflow.errors import InputError, LabelError  # noqa: E402
from alflow.labeling import make_engine  # noqa: E402
from alflow.potentials import Ensemble, load_potential  # noqa: E402
from alflow.report.curves import column, number_of, pull_folders, reference_folders  # noqa: E402
from alflow.runs.directory import RunDirectory  # noqa: E402
from alflow.runs.environment import environment  # noqa: E402
from alflow.types import FloatArray, Frames, IntArray, Labels  # noqa: E402

ENGINE = "label engine"
Judge = Callable[[Frames], Labels]
"""Labels frames; not-a-number where there is no label."""


@dataclass(frozen=True)
class Pull:
    """What is read of one pull, F records."""

    spec: PullSpec
    target: FloatArray
    coordinate: FloatArray
    work: FloatArray
    rows: IntArray
    """Of the frames that are judged."""
    window: IntArray
    frames: Frames
    predicted: Labels
    """By the ensemble that drove it."""


def slack(target: FloatArray, coordinate: FloatArray, work: FloatArray) -> tuple[float, float]:
    """Return way of the target and work after the break; not-a-number of a pull that did not break."""
    after = windows(target, coordinate)[3]
    if after.start == after.stop:
        return math.nan, math.nan
    return float(target[-1] - target[after.start]), float(work[-1] - work[after.start])


@dataclass(frozen=True)
class Row:
    """One iteration of one run, judged by one engine; energies in eV. Numbers that there are not are None."""

    run: str
    iteration: int
    judge: str
    pulls: int
    labels: int
    steps: int
    """Of as many reference pulls."""
    true_error: float
    true_half_width: float | None
    error: float | None
    error_half_width: float | None
    up_to_break: float | None
    after_break: float | None
    slack: float | None
    """Work after the break, pulls minus references."""
    shift: float | None
    scatter: float | None
    corrected: float | None
    corrected_half_width: float | None
    reference: float
    reference_half_width: float | None
    told: bool
    holds: bool
    single: float
    groups: dict[int, tuple[int, int, int, float]]
    """By size: groups in all, how many could be told, in how many it held, and the share of single trajectories."""


def read_pulls(run: RunDirectory, iteration: int, frames: tuple[int, int, int, int]) -> list[Pull]:
    """Read the pulls of an iteration, draw the frames to judge, and evaluate them."""
    settings, found = run.settings(), []
    potential = load_potential(run.iteration(iteration) / "ensemble.pt")
    specs = make_plan(settings).pulls
    for folder in pull_folders(run, iteration):
        spec = specs[number_of(folder)]
        target, coordinate = column(folder, "target"), column(folder, "coordinate")
        rng = generator(settings.seed, iteration, "audit", spec.index)
        rows, window = audit_rows(target, coordinate, rng, frames)
        drawn = Frames(spec.molecule.composition, column(folder, "positions")[rows])
        work = column(folder, "work")
        found.append(Pull(spec, target, coordinate, work, rows, window, drawn, mean_of(potential)(drawn)))
    return found


def mean_of(potential: Ensemble) -> Judge:
    """Return what labels frames by the mean of the members."""

    def label(frames: Frames) -> Labels:
        energies, forces = potential.evaluate(frames)
        return Labels(energies.mean(axis=0), forces.mean(axis=0))

    return label


def engine_of(run: RunDirectory) -> Judge:
    """Return what labels frames by the run's own engine."""
    chosen = run.settings().labels
    engine = make_engine(chosen.engine, chosen.settings)

    def label(frames: Frames) -> Labels:
        energies, forces = np.full(len(frames), np.nan), np.full(frames.positions.shape, np.nan)
        for row, positions in enumerate(frames.positions):
            try:
                found = engine.compute(frames.composition, positions)
            except LabelError:
                continue
            energies[row], forces[row] = found.energy, found.forces
        return Labels(energies, forces)

    return label


def audited(pull: Pull, label: Judge) -> AuditedPull:
    """Return a pull that is judged."""
    labels = label(pull.frames)
    gaps = pull.predicted.forces - labels.forces
    left, right = pull.spec.molecule.steered
    numbers = pull.frames.numbers
    along = [force_apart(numbers, x, gap, (left, right)) for x, gap in zip(pull.frames.positions, gaps, strict=True)]
    known = np.isfinite(labels.energies)
    lag, errors = (pull.target - pull.coordinate)[pull.rows], pull.predicted.energies - labels.energies
    way, _ = slack(pull.target, pull.coordinate, pull.work)
    return AuditedPull(pull.window[known], lag[known], errors[known], np.array(along)[known], way)


@dataclass(frozen=True)
class References:
    """Pulls of what judges."""

    work: FloatArray
    """(R,) of those that belong to the judged pulls one by one; empty if none do."""
    every: FloatArray
    """(N,) of all that there are."""
    slack: FloatArray
    """(N,) of their work, what was done after the break."""


def holds(stated: CorrectedBarrier, every: FloatArray) -> bool:
    """Say whether the mean of the references, within its own interval, is within what is stated."""
    mean = confidence_interval(every)
    return abs(stated.barrier.mean - mean.mean) <= math.hypot(stated.barrier.half_width, mean.half_width)


def judged(
    head: tuple[str, int, str], pulls: Sequence[Pull], label: Judge, references: References, sizes: Sequence[int]
) -> Row:
    """Return what the audit of some pulls states beside what the references say."""
    audits, barriers = [audited(pull, label) for pull in pulls], np.array([pull.work[-1] for pull in pulls])
    stated, every = corrected_barrier(barriers, audits), references.every
    slacks = [slack(pull.target, pull.coordinate, pull.work)[1] for pull in pulls]
    reference = confidence_interval(every)
    paired = references.work[: len(pulls)]  # one that searched pulled the first replicas
    errors = barriers - paired if len(paired) else np.empty(0)
    true = confidence_interval(errors)
    if not len(errors):
        half_width = math.hypot(confidence_interval(barriers).half_width, reference.half_width)
        true = type(true)(float(barriers.mean()) - reference.mean, half_width)
    groups = {}
    for size in sizes:
        parts = [slice(first, first + size) for first in range(0, len(pulls) - size + 1, size)]
        each = [corrected_barrier(barriers[part], audits[part]) for part in parts]
        told = [one for one in each if one.told]
        single = float(np.mean([within(one, every) for one in told])) if told else 0.0
        groups[size] = len(each), len(told), sum(holds(one, every) for one in told), single
    return Row(
        *head,
        len(pulls),
        sum(len(pull.rows) for pull in pulls),
        sum(pull.spec.settings.steps for pull in pulls),
        true.mean,
        finite(true.half_width),
        finite(stated.error.mean),
        finite(stated.error.half_width),
        finite(stated.up_to_break),
        finite(stated.after_break),
        finite(float(np.mean(slacks) - references.slack.mean())),
        finite(stated.shift),
        finite(stated.scatter),
        finite(stated.barrier.mean),
        finite(stated.barrier.half_width),
        reference.mean,
        finite(reference.half_width),
        stated.told,
        holds(stated, every),
        within(stated, every),
        groups,
    )


def within(stated: CorrectedBarrier, every: FloatArray) -> float:
    """Return the share of single trajectories within what is stated for one, in per cent."""
    return 100.0 * float(np.mean(np.abs(every - stated.single.mean) <= stated.single.half_width))


def finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return value if math.isfinite(value) else None


def references_of(folders: Sequence[Path]) -> tuple[FloatArray, FloatArray]:
    """Return the barriers of whole pulls, and what of each was done after the break."""
    read = [[column(folder, name) for name in ("target", "coordinate", "work")] for folder in folders]
    return np.array([work[-1] for _, _, work in read]), np.array([slack(*arrays)[1] for arrays in read])


def likeness(run: RunDirectory) -> str:
    """Return what the references of two runs have to have in common to be joined."""
    settings = run.settings()
    return "".join(part.model_dump_json() for part in (settings.system, settings.labels, settings.sampling))


def rows_of(
    runs: Sequence[RunDirectory], frames: tuple[int, int, int, int], sizes: Sequence[int], *, across: bool
) -> Iterator[Row]:
    """Yield the rows of runs that are alike.

    Raises:
        InputError: their pulls are of several molecules or not driven by the mean, or they have no reference pulls.
    """
    own = {run.path: references_of(reference_folders(run)) for run in runs}
    every, slacks = (np.concatenate([own[run.path][part] for run in runs]) for part in (0, 1))
    iterations = [(run, record.iteration) for run in runs for record in run.records()]
    for run in runs:
        settings = run.settings()
        kinds = {(spec.molecule.name, spec.settings.rate_angstrom_per_ps) for spec in make_plan(settings).pulls}
        if not len(own[run.path][0]) or len(kinds) > 1 or settings.potential.driver != "ensemble-mean":
            raise InputError(
                f"A run is judged by reference pulls of one molecule and rate, and driven by the mean of its members; "
                f"{run.path} has {len(own[run.path][0])} references, {len(kinds)} kinds of pulls, and is driven by the "
                f"{settings.potential.driver}."
            )
    for run, iteration in iterations:
        pulls = read_pulls(run, iteration, frames)
        head = run.path.name, iteration
        yield judged((*head, ENGINE), pulls, engine_of(run), References(own[run.path][0], every, slacks), sizes)
        for other, number in iterations if across else ():
            if (other.path, number) != (run.path, iteration):
                barriers, others = references_of(pull_folders(other, number))
                paired = barriers if other.path == run.path else np.empty(0)
                label = mean_of(load_potential(other.iteration(number) / "ensemble.pt"))
                name = f"{other.path.name} {number}"
                yield judged((*head, name), pulls, label, References(paired, barriers, others), sizes)


def table(rows: Sequence[Row]) -> str:
    """Return the table, and below it the counts over all rows of one kind."""
    titles = ("true", "error", "up to", "after", "slack", "shift", "scatter", "corrected", "reference")
    widths = (16, 16, 8, 8, 8, 7, 8, 15, 15)
    head = "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))
    lines = [f"{'run':<12}{'it':>3} {'judge':<13}{'labels':>6}{head}  holds  single"]
    for row in rows:
        cells = (
            _interval(row.true_error, row.true_half_width, "+"),
            _interval(row.error, row.error_half_width, "+"),
            *map(_number, (row.up_to_break, row.after_break, row.slack, row.shift, row.scatter)),
            _interval(row.corrected, row.corrected_half_width),
            _interval(row.reference, row.reference_half_width),
        )
        text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        told = f"{'yes' if row.holds else 'NO':>7}{row.single:8.0f}" if row.told else f"{'-':>7}"
        lines.append(f"{row.run:<12}{row.iteration:3d} {row.judge:<13}{row.labels:6d}{text}{told}")
    kinds = {"the label engine": [row for row in rows if row.judge == ENGINE]}
    kinds["each other"] = [row for row in rows if row.judge != ENGINE]
    return "\n".join([*lines, "", *(_summary(name, found) for name, found in kinds.items() if found)])


def _summary(kind: str, rows: Sequence[Row]) -> str:
    counts = {rows[0].pulls: [(1, int(row.told), int(row.told and row.holds), row.single) for row in rows]}
    counts |= {size: [row.groups[size] for row in rows] for size in rows[0].groups}
    text = f"judged by {kind}:"
    for size, found in counts.items():
        number, told, held = (sum(one[part] for one in found) for part in range(3))
        text += f"\n  {size} pulls: {told} of {number} could be told; held in {held}"
        if told:
            text += f", for single trajectories in {sum(one[1] * one[3] for one in found) / told:.1f} %"
    return text


def _interval(mean: float | None, half_width: float | None, sign: str = "") -> str:
    if mean is None:
        return "-"
    return f"{mean:{sign}.3f} ± {'inf' if half_width is None else f'{half_width:.3f}'}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Read the runs, print the table, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--quick", action="store_true", help="on a run of seconds that it makes itself")
    parser.add_argument("--frames", type=int, nargs=4, default=FRAMES, help="of each pull, in each of its windows")
    parser.add_argument("--groups", type=int, nargs="+", default=(), help="sizes of the groups of pulls")
    parser.add_argument("--across", action="store_true", help="let the ensembles judge each other, too")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not (arguments.runs or arguments.quick):
        parser.error("name the directory of a finished run, or --quick")
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        tiny = [import_module("uncertainty").quick_run(Path(folder))] if arguments.quick else []  # its neighbour here
        paths = [*arguments.runs, *tiny]
        pools: dict[str, list[RunDirectory]] = {}
        for run in map(RunDirectory, paths):
            pools.setdefault(likeness(run), []).append(run)
        for runs in pools.values():
            rows += rows_of(runs, tuple(arguments.frames), arguments.groups, across=arguments.across)
    print(table(rows))
    if arguments.json:
        ratios = {
            f"labels of the audit : of the references, {row.run} iteration {row.iteration}": row.labels / row.steps
            for row in rows
            if row.judge == ENGINE
        }
        content = {"machine": environment(), "rows": [asdict(row) for row in rows], "ratios": ratios}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
