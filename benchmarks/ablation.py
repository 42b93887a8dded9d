"""Which choice of the loop matters, and by how much: small campaigns that differ in one setting from a common one.

``python benchmarks/ablation.py [--quick] [--seeds 1 2 3] [--only NAME ...] [--jobs 2] [--folder DIR] [--json FILE]``

n-butane, pulled at 2 Å/ps: four starts, each with its reference pull, five iterations. Campaigns lie in `--folder` and
are gone on with; a campaign that is finished there is only read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from alflow.runs.environment import environment

CAMPAIGN = """
name = "ablation"
iterations = 5
[system]
carbons = [4]
[first_data.md]
steps = 1000
stride = 4
[training]
epochs = 40
epochs_carried_over = 25
[split]
members = 3
[sampling]
replicas = 4
[sampling.pull]
steps = 2600
rate_angstrom_per_ps = 2.0
record_stride = 2
segment_steps = 1300
[selection]
cap = 40
cap_order = "progress"
audit = 0.0
[augmentation]
copies = 1
"""
TOGETHER = (
    "selection.threshold=calibrated",
    "selection.tolerance_ev=1e-4",
    "selection.tolerance_ev_per_angstrom=1e-3",
    "selection.cap=72",
    "selection.audit=0.11",
    "augmentation.copies=0",
)
"""As many labels as the common setting, a tenth of them for the audit, and no frame beyond doubt."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "common setting": (),
    "driver: best member": ("potential.driver=best-member",),
    "threshold: first steps": ("selection.threshold=first-steps",),
    "threshold: validation": ("selection.threshold=validation",),
    "threshold: conformal": ("selection.threshold=conformal",),
    "cap: first": ("selection.cap_order=first",),
    "cap: spread over steps": ("selection.cap_order=spread",),
    "cap: most uncertain": ("selection.cap_order=most-uncertain",),
    "split: random": ("split.kind=random",),
    "start: fresh weights": ("training.start=fresh",),
    "spread: of forces": ("selection.spread_of=forces",),
    "early stop at 10 x": ("stop.pull_spread_factor=10.0",),
    "no plausibility filter": ("selection.largest_nearest_angstrom=1e6", "selection.smallest_nearest_angstrom=0.0"),
    "no jittered copies, twice the frames": ("augmentation.copies=0", "selection.cap=80"),
    "force weight 0.1": ("training.force_weight=0.1",),
    "all pulls together: diverse": (*TOGETHER, "selection.cap_order=diverse"),
    "all pulls together: random": (*TOGETHER, "selection.cap_order=random"),
    "every frame in order": (
        "selection.cap_order=first",
        "selection.cap=80",
        "selection.sigmas=0.0",
        "selection.similarity_energy_ev=0.0",
        "selection.similarity_distance_angstrom=0.0",
        "augmentation.copies=0",
    ),
}
QUICK = ("common setting", "cap: spread over steps")


@dataclass(frozen=True)
class Row:
    """One variant over its seeds."""

    variant: str
    seeds: int
    mean_error_ev: float
    """Absolute mean paired error of the barrier at the last iteration, mean over the seeds."""
    mean_error_sd_ev: float
    """Its standard deviation over the seeds; 0 for one."""
    single_error_ev: float
    """Root mean square of the single paired errors at the last iteration."""
    worst_later_error_ev: float
    """Largest absolute mean error of the last three iterations, mean over the seeds."""
    unseen_energy_mae_ev: float
    """Of the last ensemble along the reference pulls, mean over the seeds."""
    unseen_energy_mae_sd_ev: float
    unseen_force_mae_ev_per_angstrom: float
    unseen_force_mae_sd_ev_per_angstrom: float
    labels: float
    failed: int
    """Campaigns that did not reach their end."""


def run(folder: Path, variant: str, seed: int, iterations: int) -> Path:
    """Run, go on with, or find one campaign; return its run directory."""
    name = "".join(letter if letter.isalnum() else "-" for letter in variant)
    target = folder / f"{name}-seed-{seed}"
    alflow = str(Path(sys.executable).with_name("alflow"))
    command = [alflow, "run", str(folder / "ablation.toml"), "--run-dir", str(target)]
    options = ("kind=threads", "workers=1", "gpu_workers=1")
    overrides = (f"seed={seed}", f"iterations={iterations}", *VARIANTS[variant])
    command += [word for option in options for word in ("-o", option)]
    command += [word for override in overrides for word in ("--set", override)]
    with (folder / f"{target.name}.log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=False)  # noqa: S603 - one that fails is a finding
    return target


def summarise(variant: str, runs: Sequence[Path], iterations: int) -> Row:
    """Read what the campaigns of one variant left."""
    ended = []
    for path in runs:
        file = path / "iterations.jsonl"
        records = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        if len(records) == iterations:
            ended.append(records)
    if not ended:
        unknown = float("nan")
        numbers = {name: unknown for name in Row.__annotations__ if name not in ("variant", "seeds", "failed")}
        return Row(variant=variant, seeds=len(runs), failed=len(runs), **numbers)
    last = [abs(records[-1]["barrier_error_ev"]["mean"]) for records in ended]
    energy = [records[-1]["unseen_energy_mae_ev"] for records in ended]
    force = [records[-1]["unseen_force_mae_ev_per_angstrom"] for records in ended]
    single = [value**2 for records in ended for value in records[-1]["barrier_error_ev"]["values"]]
    return Row(
        variant=variant,
        seeds=len(runs),
        mean_error_ev=mean(last),
        mean_error_sd_ev=_sd(last),
        single_error_ev=mean(single) ** 0.5,
        worst_later_error_ev=mean(max(abs(r["barrier_error_ev"]["mean"]) for r in records[-3:]) for records in ended),
        unseen_energy_mae_ev=mean(energy),
        unseen_energy_mae_sd_ev=_sd(energy),
        unseen_force_mae_ev_per_angstrom=mean(force),
        unseen_force_mae_sd_ev_per_angstrom=_sd(force),
        labels=mean(records[-1]["labels"] for records in ended),
        failed=len(runs) - len(ended),
    )


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    heading = (
        "variant                   unseen E MAE ± sd, meV   unseen F MAE ± sd, meV/Å  |mean error| ± sd, eV  single  "
        "worst of last 3  labels  failed"
    )
    lines = [heading]
    lines += [
        f"{row.variant:<25} {1e3 * row.unseen_energy_mae_ev:13.1f} ± {1e3 * row.unseen_energy_mae_sd_ev:<8.1f} "
        f"{1e3 * row.unseen_force_mae_ev_per_angstrom:14.1f} ± {1e3 * row.unseen_force_mae_sd_ev_per_angstrom:<8.1f} "
        f"{row.mean_error_ev:14.3f} ± {row.mean_error_sd_ev:.3f} {row.single_error_ev:7.3f} "
        f"{row.worst_later_error_ev:16.3f} {row.labels:7.0f} {row.failed:7d}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Run, print one table, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two variants, one seed, two iterations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), help="these variants")
    parser.add_argument("--jobs", type=int, default=2, help="campaigns at a time, one core each")
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    chosen = arguments.only or (QUICK if arguments.quick else tuple(VARIANTS))
    seeds, iterations = (arguments.seeds[:1], 2) if arguments.quick else (arguments.seeds, 5)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "ablation.toml").write_text(CAMPAIGN)
    started = time.monotonic()
    tasks = [(variant, seed) for seed in seeds for variant in chosen]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = dict(
            zip(tasks, pool.map(lambda task: run(arguments.folder, task[0], task[1], iterations), tasks), strict=True)
        )
    rows = [summarise(name, [runs[name, seed] for seed in seeds], iterations) for name in chosen]
    print(table(rows))
    base = rows[0].unseen_energy_mae_ev
    ratios = {f"{row.variant}/{rows[0].variant}": row.unseen_energy_mae_ev / base for row in rows[1:]}
    if arguments.json:
        content = {
            "machine": environment(),
            "seconds": time.monotonic() - started,
            "rows": [asdict(row) for row in rows],
            "ratios": ratios,
        }
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
