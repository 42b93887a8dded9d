"""Many labels, some of which hang, crash or do not converge: how they fare, and how long it takes.

python tests/faults/labelfaults.py    with and without failures, side by side
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alflow.config.campaign import LabelSettings
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.farm.farm import LabelFarm
from alflow.labeling.engines.sleep import SleepEngine, fate_of
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.ledger import Ledger, Origin
from alflow.runs.events import EventLog
from alflow.structures import alkane
from alflow.types import Frames
from alflow.workers.models import EngineModel

REASONS = {
    "hang": "timeout",
    "crash": "engine-crash",
    "not_converged": "not-converged",
    "nan": "not-finite",
    "error": "engine-error",
    "eat_memory": "out-of-memory",
}
ETHANE = alkane(2)


@dataclass(frozen=True)
class Outcome:
    """How many labels fared."""

    expected: dict[str, int]
    """Failures by reason that the structures are due."""
    failures: dict[str, int]
    labelled: int
    paid_again: int
    seconds: float
    """From the request to the last label, the workers being warm."""


def structures(count: int, seed: int = 1) -> Frames:
    """Return jittered ethanes."""
    shifts = np.random.default_rng(seed).uniform(-0.05, 0.05, (count, *ETHANE.positions[0].shape))
    return Frames.of(ETHANE.numbers, ETHANE.positions[0] + shifts)


def origins(count: int, first: int = 0) -> list[Origin]:
    """Return where they come from."""
    return [Origin("selected", 0, 0, first + step) for step in range(count)]


def label(
    folder: Path, count: int, settings: dict[str, Any], options: dict[str, str], timeout_s: float, **labels: Any
) -> Outcome:
    """Label many structures on the local site.

    Args:
        folder: for ledger, events and Parsl.
        count: structures.
        settings: of the engine.
        options: of the site.
        timeout_s: longest time of a label; 0 for no guard.
        labels: further settings of labelling.
    """
    engine = SleepSettings(**settings)
    chosen = LabelSettings(engine="sleep", settings=engine.model_dump(), max_failed_share=1.0, **labels)
    frames = structures(count)
    fates = Counter(fate_of(engine, positions) for positions in frames.positions)
    events, ledger = EventLog(folder / "events.jsonl"), Ledger.open(folder / "ledger.sqlite")
    graph = TaskGraph(load_site(find_site("local"), folder, options), events)
    try:
        model = EngineModel("sleep", engine.model_dump(mode="json"), timeout_s)
        farm = LabelFarm(graph, ledger, model, chosen, SleepEngine(engine).theory)
        warm_up(graph, farm, engine, int(options["workers"]))
        began = time.monotonic()
        farm.request(frames, origins(count))
        graph.run_until(farm.idle)
        seconds = time.monotonic() - began
        ledger.commit()
        failures, counts = ledger.failures_by_reason(), ledger.counts()
        expected = {REASONS[fate]: number for fate, number in fates.items() if fate}
        return Outcome(
            expected, failures, counts.labelled - WARM * int(options["workers"]), ledger.paid_again(), seconds
        )
    finally:
        graph.close()
        ledger.close()
        events.close()


WARM = 4


def warm_up(graph: TaskGraph, farm: LabelFarm, engine: SleepSettings, workers: int) -> None:
    """Label structures that do not fail until every worker has its engine."""
    pool = structures(20 * WARM * workers, seed=2)
    healthy = [row for row, positions in enumerate(pool.positions) if not fate_of(engine, positions)]
    frames = pool.take(np.array(healthy[: WARM * workers]))
    farm.request(frames, origins(len(frames), first=10**6))
    graph.run_until(farm.idle)


SHARES = {"hang_share": 0.05, "crash_share": 0.05, "not_converged_share": 0.05}
ROUNDS = 2


def main() -> None:
    """Label in turns without and with failures, and print how long the labels of each took."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    options = {"kind": "threads", "workers": "16", "gpu_workers": "1"}
    walls: dict[str, list[float]] = {"all healthy": [], "15 % fail": []}
    for _ in range(ROUNDS):
        for name, faults in (("all healthy", {}), ("15 % fail", SHARES)):
            with tempfile.TemporaryDirectory() as folder:
                found = label(Path(folder), 1000, {"seconds_per_label": 0.5, **faults}, options, 2.0, task_seconds=2.0)
            walls[name].append(found.seconds)
            right = "right" if found.failures == found.expected else f"WRONG, expected {found.expected}"
            sys.stdout.write(f"{name:<12} {found.seconds:6.1f} s  {found.labelled} labels, failures {found.failures}: ")
            sys.stdout.write(f"{right}; {found.paid_again} paid twice\n")
            sys.stdout.flush()
    ratio = min(walls["15 % fail"]) / min(walls["all healthy"])
    sys.stdout.write(f"wall time with failures / without: {ratio:.2f} (shortest of {ROUNDS} each)\n")


if __name__ == "__main__":
    main()
