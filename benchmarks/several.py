"""How much of the label workers' time is used: several campaigns in one allocation beside the same ones, each alone.

    python benchmarks/several.py [--quick] [--json FILE] [--campaigns 8] [--workers 64] [--iterations 10]

The engine is `sleep` with lognormal label times: labels keep no core busy, all else (driver, Parsl, ledgers, training,
pulls) is real. What was held counts from the connection of the first worker to the end of the driver: first data, all
pauses and the end included; the last five minutes are told apart. Every ledger and every barrier must equal that of the
campaign run alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as on a worker: sums of several threads differ in their last bits

import argparse
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from alflow.allocation.allocation import run_allocation
from alflow.allocation.requests import Request, make_requests
from alflow.campaign.launch import launch
from alflow.config.sweeps import parse_sweep
from alflow.display.several import PlainSeveral, SilentSeveral
from alflow.display.view import Silent
from alflow.ledger import LedgerReader
from alflow.report.utilisation import Utilisation, utilisation
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events

END_SECONDS = 300.0
"""The end of a run, told apart: campaigns end one after another there."""
CAMPAIGN = """
name = "several"
iterations = {iterations}
[system]
carbons = [2]
[labels]
engine = "sleep"
guard = false
frames_per_task = 1
[labels.settings]
seconds_per_label = {seconds}
log_spread = 0.5
[first_data]
segment_steps = 10
[first_data.md]
steps = 20
temperature_k = 300.0
[split]
members = 2
[potential.ani]
other_layers = [16, 12]
[potential.ani.hidden_layers]
H = [16, 12]
C = [16, 12]
[training]
epochs = 4
[sampling]
relax_with = "potential"
reference = false
[sampling.relax]
langevin_steps = 100
berendsen_steps = 100
[sampling.pull]
steps = 600
segment_steps = 100
rate_angstrom_per_ps = 20.0
[selection]
threshold = "first-steps"
first_steps = 100
sigmas = 0.0
cap = {cap}
similarity_distance_angstrom = 0.0
similarity_energy_ev = 0.0
[augmentation]
copies = {copies}
"""


@dataclass(frozen=True)
class Row:
    """One way of running campaigns."""

    way: str
    campaigns: int
    wall_s: float
    labels: int
    held_s: float
    """Worker-seconds of label workers."""
    use: float
    """Busy over held, the whole run."""
    use_before_end: float
    """The same without the last five minutes; of a run that is shorter, the whole."""


def main() -> None:
    """Run, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small campaigns on eight threads: a minute")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--campaigns", type=int, default=8)
    parser.add_argument("--workers", type=int, default=64, help="label workers")
    parser.add_argument("--gpu-workers", type=int, default=2, help="workers for training and pulls")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.5, help="median time of a label")
    parser.add_argument("--labels", type=int, default=1200, help="labels of an iteration, about")
    parser.add_argument("--alone", type=int, help="so many of them are also run alone; all if not given")
    parser.add_argument("--folder", type=Path, help="where the runs are kept; a temporary folder if not given")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.campaigns, arguments.workers, arguments.iterations = 2, 8, 2
        arguments.seconds, arguments.labels = 0.05, 60
    with tempfile.TemporaryDirectory() as temporary:
        rows, equal = compare(arguments, arguments.folder or Path(temporary))
    report(rows, equal, arguments.json)
    if not equal:
        sys.exit("A campaign did not give what it gives alone.")


def compare(arguments: argparse.Namespace, folder: Path) -> tuple[list[Row], bool]:
    """Run the campaigns together and alone; say whether each gave the same."""
    folder.mkdir(parents=True, exist_ok=True)
    file, cap = folder / "several.toml", max(2, arguments.labels // 30)
    copies = max(1, arguments.labels // cap - 1)
    numbers = {"iterations": arguments.iterations, "seconds": arguments.seconds, "cap": cap, "copies": copies}
    file.write_text(CAMPAIGN.format(**numbers), encoding="utf-8")
    options = {"workers": str(arguments.workers), "gpu_workers": str(arguments.gpu_workers), "gpu_threads": "1"}
    options |= {"kind": "threads"} if arguments.quick else {}
    sweep = [parse_sweep(f"seed=1..{arguments.campaigns}")]
    requests = make_requests([str(file)], sweeps=sweep, folder=folder / "together")
    display = SilentSeveral() if arguments.quick else PlainSeveral()
    run_allocation(requests, "local", options, folder / "together" / "allocation", display)
    rows = [measure("together", requests, folder / "together" / "allocation" / "events.jsonl")]
    equal = True
    for request in make_requests([str(file)], sweeps=sweep, folder=folder / "alone")[: arguments.alone]:
        launch(request.settings, "local", options, request.run, Silent())
        rows.append(measure(request.name, [request], request.run / "events.jsonl"))
        equal = equal and content(request.run) == content(folder / "together" / request.name)
    return rows, equal


def measure(way: str, requests: list[Request], events: Path) -> Row:
    """Read from an event log how the label workers were used."""
    (found,) = (one for one in utilisation(read_events(events)) if one.executor == "cpu")
    begin, end = float(found.held.begin.min()), float(found.held.end.max())
    cut = max(end - END_SECONDS, begin)
    before = use_between(found, begin, cut) if cut > begin else found.share
    labels = sum(count_labels(request.run) for request in requests)
    return Row(way, len(requests), end - begin, labels, found.held.seconds, found.share, before)


def use_between(found: Utilisation, begin: float, end: float) -> float:
    """Return busy over held between two instants."""
    edges = np.array([begin, end])
    return float(found.busy.mean_in(edges)[0] / found.held.mean_in(edges)[0])


def count_labels(run: Path) -> int:
    """Return the labels of a run."""
    with LedgerReader.open(run / "ledger.sqlite") as ledger:
        return ledger.counts().labelled


def content(run: Path) -> tuple[str, list[Any]]:
    """Return what must be the same: the digest of the ledger, and the barriers."""
    with LedgerReader.open(run / "ledger.sqlite") as ledger:
        return ledger.digest(), [record.barrier_ev for record in RunDirectory(run).records()]


def report(rows: list[Row], equal: bool, target: Path | None) -> None:
    """Print the table, and write the numbers."""
    together, alone = rows[0], rows[1:]
    ratios = {"use, together / alone": together.use / statistics.mean(row.use for row in alone)} if alone else {}
    shown = Table(title="Use of label workers")
    shown.add_column("campaign")
    for heading in ("wall / s", "labels", "held / worker-s", "use", "use before the last 5 min"):
        shown.add_column(heading, justify="right")
    for row in rows:
        numbers = (f"{row.wall_s:.0f}", str(row.labels), f"{row.held_s:.0f}", f"{row.use:.1%}")
        shown.add_row(row.way, *numbers, f"{row.use_before_end:.1%}")
    console = Console()
    console.print(shown)
    console.print(f"Each ledger and barrier equals that of the campaign alone: {'yes' if equal else 'NO'}")
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.2f}")
    if target is not None:
        machine = {"machine": platform.platform(), "python": platform.python_version(), "time": time.strftime("%F")}
        content_ = {"machine": machine, "equal": equal, "rows": [asdict(row) for row in rows], "ratios": ratios}
        assert all(math.isfinite(row.use) for row in rows)
        target.write_text(json.dumps(content_, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
