"""How many labels does a potential need? ANI and MACE on the same labels, judged along reference pulls they never saw.

``python benchmarks/label_efficiency.py RUN [--labels 50 100 200 400 800] [--seeds 1 2 3] [--foundation FILE]
[--json FILE] [--figure FILE]``
``python benchmarks/label_efficiency.py --quick [--json FILE]``

Labels are drawn from those that the run's last iteration learnt from, the smaller sets within the larger. ANI is
trained as `configs/hexane.toml` says, MACE as `configs/hexane-mace.toml`, each from fresh weights and with as many
members as its file has; with --foundation MACE is fine-tuned from that file as well. With fewer labels there are more
epochs, at most ten times as many, so that steps are as many. What is judged is the mean of the members, by the
energies and forces that the run's label engine gave along its reference pulls: energies against their own, and
against that of the pull's first frame, which is what a barrier is made of.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator, Mapping, Sequence  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from alflow.acquisition.splits import random_split  # noqa: E402
from alflow.config.base import Settings  # noqa: E402
from alflow.config.load import load_campaign  # noqa: E402
from alflow.config.plugins import POTENTIALS, find_installed  # noqa: E402
from alflow.errors import InputError  # noqa: E402
from alflow.potentials import Ensemble, Training  # noqa: E402
from alflow.potentials.mace.settings import NETWORK, MACESettings  # noqa: E402
from alflow.report.curves import reference_folders  # noqa: E402
from alflow.runs.directory import RunDirectory, load_dataset, load_segment  # noqa: E402
from alflow.runs.environment import environment  # noqa: E402
from alflow.types import Dataset, Group, IntArray, Labels, concatenate_frames  # noqa: E402

CONFIGS = Path(__file__).parent.parent / "configs"
MOST_EPOCHS = 10
"""Times the epochs of a file, at most."""
QUICK = """
name = "efficiency"
iterations = 2
[system]
carbons = [2]
[labels]
engine = "ase"
[labels.settings]
calculator = "ase.calculators.emt.EMT"
[first_data.md]
temperature_k = 300.0
steps = 100
stride = 2
[split]
members = 2
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
QUICK_LABELS = (16, 32)


@dataclass(frozen=True)
class Contender:
    """A potential and how it is trained."""

    name: str
    kind: str
    settings: Settings
    members: int


@dataclass(frozen=True)
class Row:
    """What one training gave."""

    potential: str
    labels: int
    seed: int
    epochs: int
    energy_mae_mev: float
    relative_energy_mae_mev: float
    """Of energies less that of the pull's first frame."""
    force_mae_mev_per_angstrom: float
    seconds: float


def contenders(foundation: Path | None) -> Iterator[Contender]:
    """Yield what is compared."""
    for name in ("hexane", "hexane-mace"):
        campaign = load_campaign(CONFIGS / f"{name}.toml")
        kind, settings = campaign.potential.kind, campaign.potential.settings
        yield Contender(kind, kind, settings, campaign.split.members)
    if foundation is not None:
        own = {key: value for key, value in settings.model_dump().items() if key not in NETWORK}
        given = MACESettings.model_validate({**own, "foundation": str(foundation), "learning_rate": None})
        yield Contender(f"mace from {foundation.name}", "mace", given, campaign.split.members)


def quick_contenders() -> Iterator[Contender]:
    """Yield the smallest of each kind that is installed."""
    yield Contender("ani", "ani", find_installed(POTENTIALS, "ani").settings.model_validate(QUICK_ANI), 2)
    mace = find_installed(POTENTIALS, "mace")
    yield Contender("mace", "mace", mace.settings.model_validate(mace.example), 2)


QUICK_ANI = {"hidden_layers": {"H": [16, 12], "C": [16, 12]}, "other_layers": [16, 12], "training": {"epochs": 4}}


def references(run: RunDirectory, most: int) -> list[Group]:
    """Return about `most` frames of all reference pulls together, evenly along each, from its first.

    Raises:
        InputError: the run has no reference pulls with forces.
    """
    found = []
    for folder in reference_folders(run):
        segments = [load_segment(path) for path in sorted(folder.glob("segment-*.npz"))]
        kept = [(s.frames, s.energy, s.forces) for s in segments if s.forces is not None and len(s.steps)]
        if kept:
            labels = Labels(np.concatenate([e for _, e, _ in kept]), np.concatenate([f for _, _, f in kept]))
            found.append(Group(concatenate_frames([frames for frames, _, _ in kept]), labels))
    if not found:
        raise InputError(f"Potentials are judged along reference pulls; {run.path} has none with forces.")
    stride = max(1, round(sum(len(group.frames) for group in found) / most))
    every = slice(None, None, stride)
    return [Group(group.frames.take(every), group.labels.take(every)) for group in found]


def learnt(run: RunDirectory) -> Dataset:
    """Return the labels that the last iteration learnt from.

    Raises:
        InputError: the run has trained nothing.
    """
    files = sorted(run.path.glob("iteration-*/dataset.npz"))
    if not files:
        raise InputError(f"Labels are drawn from those that a run learnt from; {run.path} has trained nothing.")
    return load_dataset(files[-1])


def some(dataset: Dataset, rows: IntArray) -> Dataset:
    """Return some rows of a dataset, group by group."""
    found, first = [], 0
    for group in dataset.groups:
        own = rows[(rows >= first) & (rows < first + len(group.frames))] - first
        first += len(group.frames)
        if len(own):
            found.append(Group(group.frames.take(own), group.labels.take(own)))
    return Dataset(tuple(found))


def epochs_of(contender: Contender, labels: int, most: int) -> int:
    """Return the epochs with so many labels, of `most`."""
    own = int(find_installed(POTENTIALS, contender.kind).epochs(contender.settings, carried_over=False))
    return min(MOST_EPOCHS * own, round(own * most / labels))


def measure(contender: Contender, dataset: Dataset, groups: Sequence[Group], seed: int, epochs: int) -> Row:
    """Train on a dataset, and judge by labelled pulls."""
    kind = find_installed(POTENTIALS, contender.kind)
    rng = np.random.default_rng([seed, len(dataset)])
    splits = [random_split(len(dataset), 0.9, rng) for _ in range(contender.members)]
    started = time.perf_counter()
    ensemble, _ = kind.train(dataset, splits, kind.with_epochs(contender.settings, epochs), Training(seed=(seed,)))
    seconds = time.perf_counter() - started
    return Row(contender.name, len(dataset), seed, epochs, *errors(ensemble, groups), round(seconds, 1))


def errors(ensemble: Ensemble, groups: Sequence[Group]) -> tuple[float, float, float]:
    """Return mean absolute errors of the mean of the members: energies, relative energies, meV; forces, meV/Å."""
    gaps, relative, forces = [], [], []
    for group in groups:
        energies, found = (values.mean(axis=0) for values in ensemble.evaluate(group.frames))
        gap = energies - group.labels.energies
        gaps.append(gap)
        relative.append(gap[1:] - gap[0])
        forces.append((found - group.labels.forces).ravel())
    energy, barrier, force = (float(np.abs(np.concatenate(part)).mean()) * 1e3 for part in (gaps, relative, forces))
    return energy, barrier, force


def table(rows: Sequence[Row]) -> str:
    """Return means over the seeds as a table in Markdown."""
    lines = [
        "| labels | potential | epochs | energy / meV | from the start / meV | force / meV/Å | training / s |",
        "|---|---|---|---|---|---|---|",
    ]
    for labels in sorted({row.labels for row in rows}):
        for name in dict.fromkeys(row.potential for row in rows):
            own = [row for row in rows if (row.labels, row.potential) == (labels, name)]
            if own:
                shown = (
                    np.mean([row.energy_mae_mev for row in own]),
                    np.mean([row.relative_energy_mae_mev for row in own]),
                    np.mean([row.force_mae_mev_per_angstrom for row in own]),
                    np.mean([row.seconds for row in own]),
                )
                cells = " | ".join(f"{value:.1f}" for value in shown)
                lines.append(f"| {labels} | {name} | {own[0].epochs} | {cells} |")
    return "\n".join(lines)


def ratios(rows: Sequence[Row]) -> Mapping[str, float]:
    """Return force errors of each potential over those of the first."""
    means = {
        (row.labels, row.potential): float(
            np.mean(
                [r.force_mae_mev_per_angstrom for r in rows if (r.labels, r.potential) == (row.labels, row.potential)]
            )
        )
        for row in rows
    }
    first = rows[0].potential
    return {
        f"force error, {name} / {first}, {labels} labels": value / means[labels, first]
        for (labels, name), value in means.items()
        if name != first
    }


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw errors against labels."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only for this

    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    columns = (
        ("relative_energy_mae_mev", "energy from the start / meV"),
        ("force_mae_mev_per_angstrom", "force / meV/Å"),
    )
    for axes, (column, label) in zip(figure.subplots(1, 2), columns, strict=True):
        for name in dict.fromkeys(row.potential for row in rows):
            counts = sorted({row.labels for row in rows if row.potential == name})
            values = [
                np.mean([getattr(row, column) for row in rows if (row.potential, row.labels) == (name, count)])
                for count in counts
            ]
            axes.loglog(counts, values, "o-", label=name)
        axes.set_xlabel("labels")
        axes.set_ylabel(f"mean absolute error of the {label}")
    axes.legend()
    figure.savefig(path, dpi=150)


def quick_run(folder: Path) -> Path:
    """Run a campaign that takes seconds."""
    campaign = folder / "efficiency.toml"
    campaign.write_text(QUICK)
    program = str(Path(sys.executable).with_name("alflow"))
    command = [program, "run", str(campaign), "--run-dir", str(folder / "quick"), "-o", "kind=threads"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the arguments are this script's own
    return folder / "quick"


def judge(
    run: RunDirectory, found: Sequence[Contender], counts: Sequence[int], seeds: Sequence[int], frames: int
) -> list[Row]:
    """Train every contender on every number of labels with every seed; tell each row as it comes.

    Raises:
        InputError: the run has no labels, or no reference pulls with forces.
    """
    dataset, groups, rows = learnt(run), references(run, frames), []
    counts = sorted({min(count, len(dataset)) for count in counts})
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(dataset))
        for count in counts:
            chosen = some(dataset, np.sort(order[:count]))
            for contender in found:
                rows.append(measure(contender, chosen, groups, seed, epochs_of(contender, count, counts[-1])))
                print(f"# {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Read the run, print the table, write one JSON file and a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="directory of a finished run of hexane")
    parser.add_argument("--quick", action="store_true", help="on a run of seconds that it makes itself")
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 200, 400, 800], help="numbers of labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="a draw of labels and a training for each")
    parser.add_argument("--foundation", type=Path, help="file of a foundation model, or of a MACE trained before")
    parser.add_argument("--frames", type=int, default=400, help="frames of the reference pulls, about")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--figure", type=Path, help="file to draw to")
    arguments = parser.parse_args()
    if not (arguments.run or arguments.quick):
        parser.error("name the directory of a finished run, or --quick")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(quick_run(Path(folder)) if arguments.quick else arguments.run)
        found = list(quick_contenders() if arguments.quick else contenders(arguments.foundation))
        rows = judge(
            run, found, QUICK_LABELS if arguments.quick else arguments.labels, arguments.seeds, arguments.frames
        )
    print(table(rows))
    if arguments.json:
        content = {"machine": environment(), "rows": [asdict(row) for row in rows], "ratios": dict(ratios(rows))}
        arguments.json.write_text(json.dumps(content, indent=1))
    if arguments.figure:
        draw(rows, arguments.figure)


if __name__ == "__main__":
    main()
