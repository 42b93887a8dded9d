"""Pull hexane apart with DFTB3 for several velocity seeds, beside the pull that the paper's authors made with DFTB+.

``python benchmarks/reference_pull.py [--quick] [--seeds 5] [--figure FILE] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
from scipy.stats import t

from alflow.acquisition.seeds import generator
from alflow.config.sampling import PullSettings, RelaxSettings
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.paper.numbers import dftb_pull
from alflow.report.figures import WorkCurve, draw_work_curves
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.md import relax
from alflow.sampling.steered import pull_segment, start_pull
from alflow.structures import alkane, end_carbons, fragments
from alflow.types import Evaluation, FloatArray, Segment


def pull(seed: int, steps: int) -> Segment:
    """Relax and pull hexane with DFTB3."""
    hexane = alkane(6)
    engine, pair = DFTB3Engine(DFTB3Settings()), end_carbons(hexane.numbers)

    def forces(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        return engine.compute(hexane.composition, positions, start)

    rng = generator(seed, 0, "velocities")
    state = relax(forces, hexane.composition, hexane.positions[0], RelaxSettings(), rng, steered=pair)
    settings = PullSettings(steps=steps)
    spring = Distance(hexane.numbers, pair, settings)
    return pull_segment(forces, hexane.composition, start_pull(state, spring), spring, settings, steps=steps)


def main() -> None:
    """Run, print one table, write one JSON file and one figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figure", type=Path, help="figure to write")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    paper = dftb_pull()
    paper_barrier = float(paper.work[-1])
    rows, curves = [], []
    for seed in range(2 if arguments.quick else arguments.seeds):
        started = time.perf_counter()
        segment = pull(seed, PullSettings().steps)
        seconds = time.perf_counter() - started
        pieces = len(np.unique(fragments(segment.frames.numbers, segment.frames.positions[-1])))
        rows.append({"seed": seed, "barrier_ev": float(segment.work[-1]), "fragments": pieces, "seconds": seconds})
        curves.append(WorkCurve(f"alflow DFTB3, seed {seed}", segment.target, segment.work))
    barriers = np.array([row["barrier_ev"] for row in rows])
    print("seed  barrier eV  fragments  seconds")
    for row in rows:
        print(f"{row['seed']:4d}  {row['barrier_ev']:10.4f}  {row['fragments']:9d}  {row['seconds']:7.1f}")
    spread, count = barriers.std(ddof=1), len(barriers)
    half = t.ppf(0.975, count - 1) * spread * np.sqrt(1 + 1 / count)  # where 95 % of further pulls lie
    print(
        f"mean {barriers.mean():.4f} eV, standard deviation {spread:.4f}, {barriers.min():.4f} to {barriers.max():.4f}"
    )
    inside = abs(paper_barrier - barriers.mean()) <= half
    print(
        f"paper {paper_barrier:.4f}: {'inside' if inside else 'outside'} the 95 % prediction interval, ± {half:.3f} eV"
    )
    if arguments.figure:
        from matplotlib.figure import Figure  # noqa: PLC0415

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        draw_work_curves(figure.subplots(), curves, [paper])
        figure.savefig(arguments.figure, dpi=150)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
        ratios = {"alflow/paper": float(barriers.mean() / paper_barrier)}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
