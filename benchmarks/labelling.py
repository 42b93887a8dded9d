"""How long a label takes: the embedded DFTB3 beside GFN2-xTB (tblite) and DFTB+, on one core, in one run.

    python benchmarks/labelling.py [--quick] [--json FILE]

Hexane near equilibrium, stretched and broken, mixed. The engines take turns, frame by frame, so that a change of the
machine's speed meets all of them; figures are medians over the rounds. Every label starts from neutral atoms.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from alflow.dftb.coulomb import charge_interactions  # noqa: E402
from alflow.dftb.energy import solve  # noqa: E402
from alflow.dftb.hamiltonian import add_matrix_gradient, build_matrices  # noqa: E402
from alflow.dftb.molecule import WARMTH, Molecule  # noqa: E402
from alflow.dftb.scc import self_consistency  # noqa: E402
from alflow.labeling import make_engine  # noqa: E402
from alflow.labeling.engines.dftb3 import DFTB3Engine  # noqa: E402
from alflow.labeling.kinds.dftb import DFTB3Settings, DFTBPlusSettings  # noqa: E402
from alflow.labeling.kinds.xtb import XTBSettings  # noqa: E402
from alflow.labeling.protocol import LabelEngine  # noqa: E402
from alflow.structures import alkane  # noqa: E402
from alflow.types import Composition, FloatArray, IntArray  # noqa: E402
from alflow.units import BOHR_IN_ANGSTROM, BOLTZMANN_EV_PER_K, HARTREE_IN_EV  # noqa: E402

TEMPERATURE_K = 1000.0
JITTER_ANGSTROM = 0.05
FIRST_LABEL = """
import time
began = time.perf_counter()
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.structures import alkane
atoms = alkane(6)
DFTB3Engine(DFTB3Settings()).compute(atoms.numbers, atoms.positions[0])
print(time.perf_counter() - began)
"""


def stretched_alkane(carbons: int, extension: float, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Return numbers (A,) and positions (A, 3) Å of an alkane whose middle bond is longer, with noise."""
    atoms = alkane(carbons)
    positions = atoms.positions[0].copy()
    chain = positions[atoms.numbers == 6]
    left, right = chain[carbons // 2 - 1], chain[carbons // 2]
    axis = (right - left) / np.linalg.norm(right - left)
    positions[(positions - 0.5 * (left + right)) @ axis > 0] += extension * axis
    return atoms.numbers, positions + rng.uniform(-JITTER_ANGSTROM, JITTER_ANGSTROM, positions.shape)


def hexane_frames(each: int) -> tuple[IntArray, list[FloatArray]]:
    """Return frames of hexane: equal numbers at rest, stretched and broken."""
    rng = np.random.default_rng(0)
    extensions = np.concatenate([np.zeros(each), np.linspace(0.2, 0.9, each), np.linspace(1.5, 4.0, each)])
    frames = [stretched_alkane(6, extension, rng) for extension in extensions]
    return frames[0][0], [positions for _, positions in frames]


def seconds_of(call: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def side_by_side(
    engines: dict[str, LabelEngine], numbers: IntArray, frames: list[FloatArray], rounds: int
) -> dict[str, float]:
    """Return each engine's median over rounds of its mean time per label, s."""
    for engine in engines.values():
        for positions in frames[:2]:
            engine.compute(Composition(numbers), positions)
    times = np.zeros((rounds, len(engines)))
    for row in times:
        for positions in frames:
            for column, engine in enumerate(engines.values()):
                row[column] += seconds_of(partial(engine.compute, Composition(numbers), positions)) / len(frames)
    return dict(zip(engines, np.median(times, axis=0).tolist(), strict=True))


def engines_here() -> dict[str, LabelEngine]:
    """Return the engines that this machine has."""
    warm = TEMPERATURE_K
    engines = {
        "dftb3": make_engine("dftb3", DFTB3Settings(electronic_temperature_k=warm)),
        "gfn2-xtb": make_engine("gfn2-xtb", XTBSettings(accuracy=1.0, electronic_temperature_k=warm)),
        "gfn2-xtb, accuracy 0.1": make_engine("gfn2-xtb", XTBSettings(accuracy=0.1, electronic_temperature_k=warm)),
    }
    if shutil.which("dftb+"):
        engines["dftb+ kept alive"] = make_engine("dftbplus", DFTBPlusSettings(electronic_temperature_k=warm))
    return engines


def first_labels() -> dict[str, float]:
    """Return seconds from the start of Python to the first label, with and without compiled code on disk."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", FIRST_LABEL]
        found = {}
        for name in ("first label ever (compiles)", "first label of a process"):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
            found[name] = float(done.stdout)
    return found


def parts(molecule: Molecule, positions: FloatArray, repeats: int) -> dict[str, float]:
    """Return the best time of each part of one label, s."""
    tables, x = molecule.tables, positions / BOHR_IN_ANGSTROM
    atoms, size = len(x), tables.onsite.size
    kt = TEMPERATURE_K * BOLTZMANN_EV_PER_K / HARTREE_IN_EV
    hamiltonian, overlap = np.empty((2, size, size))
    charges = np.empty((4, atoms, atoms))
    neutral, gradient = np.zeros(atoms), np.zeros((atoms, 3))
    whole = (tables, x, molecule.electrons, kt, neutral, 1e-7, 60, 1.0, WARMTH)

    def interactions() -> None:
        charge_interactions(tables.species, tables.hubbard, tables.hubbard_derivative, tables.short_range, x, *charges)

    def cycles() -> object:
        return self_consistency(hamiltonian, overlap, *charges[:2], tables.first_orbital, tables.valence, *whole[2:])

    calls: dict[str, Callable[[], object]] = {
        "matrices": lambda: build_matrices(tables, x, hamiltonian, overlap),
        "charge interactions": interactions,
        "self-consistency": cycles,
        "matrix gradient": lambda: add_matrix_gradient(tables, x, hamiltonian, overlap, gradient),
        "whole": lambda: solve(*whole),
    }
    return {name: min(seconds_of(call) for _ in range(repeats)) for name, call in calls.items()}


def growth(chains: list[int], repeats: int) -> tuple[list[dict[str, float | str]], float]:
    """Return a row with the shares of the work for each chain, and the exponent of the growth with the atoms."""
    engine, rng = DFTB3Engine(DFTB3Settings(electronic_temperature_k=TEMPERATURE_K)), np.random.default_rng(1)
    rows: list[dict[str, float | str]] = []
    for carbons in chains:
        numbers, positions = stretched_alkane(carbons, 0.0, rng)
        details = engine.details(Composition(numbers), positions)
        times = parts(engine.molecule(Composition(numbers)), positions, repeats)
        whole = times.pop("whole")
        shares = {name: seconds / whole for name, seconds in times.items()}
        rows.append(
            {
                "what": f"C{carbons}",
                "milliseconds": 1e3 * whole,
                "atoms": len(numbers),
                "cycles": details.cycles,
                **shares,
            }
        )
    logs = np.log([[float(row["atoms"]), float(row["milliseconds"])] for row in rows])
    return rows, float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def print_rows(rows: list[dict[str, float | str]]) -> None:
    """Print one table: what, milliseconds, and the rest of each row."""
    for row in rows:
        rest = {key: value for key, value in row.items() if key not in ("what", "milliseconds")}
        text = "  ".join(
            f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in rest.items()
        )
        print(f"{row['what']:28s} {row['milliseconds']:10.3f} ms  {text}")


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer frames, rounds and chains; no compilation")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    numbers, frames = hexane_frames(4 if options.quick else 20)
    times = side_by_side(engines_here(), numbers, frames, rounds=3 if options.quick else 7)
    rows: list[dict[str, float | str]] = [{"what": f"hexane, {k}", "milliseconds": 1e3 * t} for k, t in times.items()]
    if not options.quick:
        rows += [{"what": name, "milliseconds": 1e3 * seconds} for name, seconds in first_labels().items()]
    chains, exponent = growth([2, 6, 10] if options.quick else [2, 4, 6, 8, 10, 12, 16, 20], 5 if options.quick else 15)
    rows += chains
    ratios = {f"dftb3/{name}": times["dftb3"] / seconds for name, seconds in times.items() if name != "dftb3"}
    print_rows(rows)
    for name, ratio in ratios.items():
        print(f"{name:28s} {ratio:10.3f}")
    print(f"time grows as atoms^{exponent:.2f}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 0}
        content = {"machine": machine, "rows": rows, "ratios": {**ratios, "growth exponent": exponent}}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
