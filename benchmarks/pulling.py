"""How long a step of a pull takes, LAMMPS included: alflow beside TorchANI's automatic derivatives.

    python benchmarks/pulling.py [--quick] [--json FILE]

Hexane, one core. Every driver pulls the same molecule with the same random networks through the same LAMMPS callback;
they take turns, so that a change of the machine's speed meets all of them. Figures are medians over the rounds of the
processor time of the process (one thread), which other work on the machine disturbs least.
`--sizes` adds one call of each side for longer alkanes.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from alflow.config.sampling import PullSettings  # noqa: E402
from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: E402
from alflow.potentials.ani.interop import to_torchani  # noqa: E402
from alflow.potentials.ani.network import fresh_networks  # noqa: E402
from alflow.potentials.ani.settings import ANISettings  # noqa: E402
from alflow.potentials.ani.symmetry import SymmetryFunctions  # noqa: E402
from alflow.sampling.coordinates.distance import Distance  # noqa: E402
from alflow.sampling.steered import pull_segment, start_pull  # noqa: E402
from alflow.structures import alkane  # noqa: E402
from alflow.types import Evaluation, FloatArray, ForceModel, Frames, IntArray, MDState  # noqa: E402
from alflow.units import HARTREE_IN_EV  # noqa: E402

STIFFNESS = 1e-3
"""Weights are made this much smaller than fresh ones, so that the molecule keeps its shape during the measurement."""


class SinglePrecisionTorchANI:
    """TorchANI as it is commonly called: its own forward in single precision and automatic derivatives."""

    def __init__(self, ensemble: ANIEnsemble, numbers: IntArray) -> None:
        """Bind to (A,) atomic numbers."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = to_torchani(ensemble).float().to(self._device)
        self._numbers = torch.from_numpy(numbers)[None].to(self._device)

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy and forces at (A, 3) Å."""
        place = torch.tensor(positions[None], dtype=torch.float, device=self._device, requires_grad=True)
        energy = self._model((self._numbers, place)).energies.sum()
        forces = -torch.autograd.grad(energy, place)[0][0]
        return Evaluation(
            float(energy.detach()) * HARTREE_IN_EV, forces.double().cpu().numpy() * HARTREE_IN_EV, start=start
        )


def random_ensemble(members: int) -> ANIEnsemble:
    """Return networks of the paper's size that pull the molecule gently."""
    functions = SymmetryFunctions.like_2x((1, 6))
    hidden = [ANISettings().layers("H"), ANISettings().layers("C")]
    generators = [np.random.default_rng(member) for member in range(members)]
    networks = fresh_networks(functions.length, hidden, "gelu", generators)
    small = tuple((*element[:-1], element[-1] * np.float32(STIFFNESS)) for element in networks.weights)
    return ANIEnsemble(functions, type(networks)(small, networks.biases), np.zeros((members, 2)))


def pull(model: ForceModel, molecule: Frames, steps: int) -> float:
    """Return the seconds that a step of a pull takes, LAMMPS included."""
    settings = PullSettings(record_stride=10)
    velocities = np.random.default_rng(1).normal(0.0, 1e-4, molecule.positions[0].shape)
    state = MDState(0, molecule.positions[0], velocities)
    carbons = np.flatnonzero(molecule.numbers == 6)
    pair = (int(carbons[0]), int(carbons[-1]))
    spring = Distance(molecule.numbers, pair, settings)
    state = start_pull(state, spring)
    began = time.process_time()
    segment = pull_segment(model, molecule.numbers, state, spring, settings, steps=steps)
    seconds = time.process_time() - began
    if segment.stopped:
        raise RuntimeError(f"The pull of the benchmark must go to its end: {segment.stopped}")
    return seconds / steps


def nothing(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
    """Give no force: what LAMMPS and its callback take by themselves."""
    return Evaluation(0.0, np.zeros_like(positions), start=start)


def side_by_side(models: Mapping[str, ForceModel], rounds: int, steps: int, slow_steps: int) -> dict[str, float]:
    """Return the median seconds a step of each driver; they take turns."""
    molecule = alkane(6)
    times: dict[str, list[float]] = {name: [] for name in models}
    for name, model in models.items():
        pull(model, molecule, 5)  # compiles, and wakes caches
        times[name] = []
    for _ in range(rounds):
        for name, model in models.items():
            times[name].append(pull(model, molecule, slow_steps if name.startswith("torchani") else steps))
    return {name: float(np.median(values)) for name, values in times.items()}


def calls(sizes: list[int], repeats: int) -> list[dict[str, float | str]]:
    """Return one row for each alkane: a call of alflow and of TorchANI, three members."""
    rows: list[dict[str, float | str]] = []
    ensemble = random_ensemble(3)
    for carbons in sizes:
        molecule = alkane(carbons)
        compiled = ensemble.force_model(molecule.numbers)
        other = SinglePrecisionTorchANI(ensemble, molecule.numbers)
        found = {name: best(model, molecule.positions[0], repeats) for name, model in (("c", compiled), ("t", other))}
        rows.append(
            {
                "what": f"one call, C{carbons}, mean of 3",
                "milliseconds": 1e3 * found["c"],
                "torchani milliseconds": 1e3 * found["t"],
                "torchani/alflow": found["t"] / found["c"],
            }
        )
    return rows


def best(model: Callable[[FloatArray], Evaluation], positions: FloatArray, repeats: int) -> float:
    """Return the least seconds of a call."""
    model(positions)
    times = []
    for _ in range(repeats):
        began = time.process_time()
        model(positions)
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    parser.add_argument("--sizes", action="store_true", help="longer alkanes too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    numbers = alkane(6).numbers
    one, three = random_ensemble(1), random_ensemble(3)
    models: dict[str, ForceModel] = {
        "LAMMPS alone": nothing,
        "alflow, one member": one.force_model(numbers),
        "alflow, mean of 3 and spread": three.force_model(numbers),
        "alflow, one drives, spread of 3": three.force_model(numbers, 0),
        "torchani, one member": SinglePrecisionTorchANI(one, numbers),
        "torchani, mean of 3": SinglePrecisionTorchANI(three, numbers),
    }
    times = side_by_side(models, *((3, 200, 20) if options.quick else (9, 400, 40)))
    rows: list[dict[str, float | str]] = [{"what": name, "milliseconds": 1e3 * t} for name, t in times.items()]
    if options.sizes:
        rows += calls([6, 20, 60, 150], 5)
    ratios = {
        "torchani/alflow": times["torchani, one member"] / times["alflow, one member"],
        "torchani/alflow, mean of 3": times["torchani, mean of 3"] / times["alflow, mean of 3 and spread"],
        "mean of 3/one": times["alflow, mean of 3 and spread"] / times["alflow, one member"],
    }
    for row in rows:
        rest = "  ".join(f"{key} {value:.2f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:34s} {rest}")
    for name, ratio in ratios.items():
        print(f"{name:34s} {ratio:.2f}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 0}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
