"""Does a campaign converge on every seed? One campaign a seed; the paired barrier error by iteration.

``python benchmarks/convergence.py [--quick] [--campaign configs/hexane.toml] [--seeds 1 2 3] [--folder DIR]
[--figure FILE] [--json FILE]``

Campaigns lie in `--folder`, as NAME-seed-N, and are gone on with; one that is finished there is only read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from alflow.runs.environment import environment
from alflow.runs.events import read_events
from alflow.units import KCAL_PER_MOL_IN_EV


@dataclass(frozen=True)
class Row:
    """One iteration of one campaign."""

    seed: int
    iteration: int
    labels: int
    """That its members learnt from."""
    error_ev: float
    """Mean over the starts of the barrier minus the reference barrier."""
    ci95_ev: float
    starts: int
    unseen_energy_mae_ev: float
    minutes: float
    """Since the campaign began."""


def run(campaign: str, seed: int, target: Path, overrides: Sequence[str]) -> None:
    """Run, go on with, or find a campaign."""
    command = [str(Path(sys.executable).with_name("alflow")), "run", campaign, "--run-dir", str(target)]
    command += [word for override in (f"seed={seed}", *overrides) for word in ("--set", override)]
    subprocess.run(command, check=True)  # noqa: S603 - the arguments are this script's own


def read(run_dir: Path, seed: int) -> list[Row]:
    """Read the iterations of a campaign."""
    events = list(read_events(run_dir / "events.jsonl"))
    began = min(event["time"] for event in events)
    ended: dict[int, float] = {}
    for event in events:
        if event.get("iteration") is not None and "ended" in event:
            ended[event["iteration"]] = max(event["ended"], ended.get(event["iteration"], 0.0))
    rows = []
    for line in (run_dir / "iterations.jsonl").read_text().splitlines():
        record = json.loads(line)
        error = record["barrier_error_ev"]
        rows.append(
            Row(
                seed=seed,
                iteration=record["iteration"],
                labels=record["labels"],
                error_ev=error["mean"],
                ci95_ev=error["ci95"],
                starts=len(error["values"]),
                unseen_energy_mae_ev=record["unseen_energy_mae_ev"],
                minutes=(ended[record["iteration"]] - began) / 60.0,
            )
        )
    return rows


def settled(rows: Sequence[Row]) -> int | None:
    """Return the first iteration from which on the mean error stays within 1 kcal/mol; None if there is none."""
    first = None
    for row in rows:
        within = abs(row.error_ev) <= KCAL_PER_MOL_IN_EV
        first = (row.iteration if first is None else first) if within else None
    return first


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the errors of all seeds with their intervals."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-KCAL_PER_MOL_IN_EV, KCAL_PER_MOL_IN_EV, color="tab:green", alpha=0.15, label="±1 kcal/mol")
    seeds = sorted({row.seed for row in rows})
    for place, seed in enumerate(seeds):
        own = [row for row in rows if row.seed == seed]
        at = [row.iteration + 0.12 * (place - (len(seeds) - 1) / 2) for row in own]
        axes.errorbar(at, [r.error_ev for r in own], [r.ci95_ev for r in own], fmt="o-", ms=4, label=f"seed {seed}")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_xlabel("iteration")
    axes.set_ylabel("paired barrier error (eV), mean and 95 %")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=140)


def main() -> None:
    """Run, print one table, write one JSON file and one figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two iterations")
    parser.add_argument("--campaign", default="configs/hexane.toml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", nargs="+", default=[], dest="overrides", help="settings as of alflow run")
    parser.add_argument("--folder", type=Path, default=Path("runs/convergence"))
    parser.add_argument("--figure", type=Path, help="figure to write")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    overrides = [*arguments.overrides, *(["iterations=2"] if arguments.quick else [])]
    rows: list[Row] = []
    for seed in seeds:
        target = arguments.folder / f"{Path(arguments.campaign).stem}-seed-{seed}"
        run(arguments.campaign, seed, target, overrides)
        rows += read(target, seed)
    print("seed  iteration  labels  starts  barrier error, eV   unseen E MAE, eV  minutes")
    for row in rows:
        print(
            f"{row.seed:4d} {row.iteration:10d} {row.labels:7d} {row.starts:7d} {row.error_ev:+12.3f} ± "
            f"{row.ci95_ev:.3f} {row.unseen_energy_mae_ev:15.4f} {row.minutes:10.1f}"
        )
    for seed in seeds:
        first = settled([row for row in rows if row.seed == seed])
        print(f"seed {seed}: mean within 1 kcal/mol {'at no end' if first is None else f'from iteration {first} on'}")
    if arguments.figure:
        draw(rows, arguments.figure)
    if arguments.json:
        last = [row for row in rows if row.iteration == max(r.iteration for r in rows)]
        ratios = {f"error/1 kcal/mol, seed {row.seed}": row.error_ev / KCAL_PER_MOL_IN_EV for row in last}
        content = {"machine": environment(), "rows": [asdict(row) for row in rows], "ratios": ratios}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
