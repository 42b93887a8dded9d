"""How long a step of a pull takes, LAMMPS included: alflow beside TorchANI's automatic derivatives.

    python benchmarks/pulling.py [--quick] [--json FILE]

Hexane, one core. Every driver pulls the same molecule with the same random networks through the same LAMMPS callback;
they take turns, so that a change of the machine's speed meets all of them. Figures are medians over the rounds of the
processor time of the process (one thread), which other work on the machine disturbs least.
`--products` adds products of the networks by a library. `--sizes` adds one call of each side for longer alkanes.
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
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import numba  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from alflow.config.sampling import PullSettings  # noqa: E402
from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: E402
from alflow.potentials.ani.interop import to_torchani  # noqa: E402
from alflow.potentials.ani.kernels.activations import gelu, sum_of_products  # noqa: E402
from alflow.potentials.ani.kernels.arrays import SingleArray  # noqa: E402
from alflow.potentials.ani.kernels.evaluator import CompiledForceModel, Evaluator  # noqa: E402
from alflow.potentials.ani.kernels.gemm import multiply, packed  # noqa: E402
from alflow.potentials.ani.kernels.geometry import fill_forces  # noqa: E402
from alflow.potentials.ani.kernels.networks import NetworkWorkspace, PackedNetworks  # noqa: E402
from alflow.potentials.ani.network import fresh_networks  # noqa: E402
from alflow.potentials.ani.settings import ANISettings  # noqa: E402
from alflow.potentials.ani.symmetry import SymmetryFunctions  # noqa: E402
from alflow.sampling.coordinates.distance import Distance  # noqa: E402
from alflow.sampling.steered import pull_segment, start_pull  # noqa: E402
from alflow.structures import alkane  # noqa: E402
from alflow.types import Composition, Evaluation, FloatArray, ForceModel, Frames, IntArray, MDState  # noqa: E402
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


@numba.njit(nogil=True, inline="always")
def _layer(networks: PackedNetworks, m: int, e: int, layer: int) -> SingleArray:
    """Return the weights (inputs, outputs) of one layer."""
    wide, narrow = networks.shape[e, layer, 0], networks.shape[e, layer, 1]
    start = networks.weight_start[m, e, layer]
    return networks.weights[start : start + wide * narrow].reshape(wide, narrow)


@numba.njit(nogil=True, error_model="numpy")
def _networks_by_library(  # noqa: C901, PLR0912 - a kernel
    networks: PackedNetworks,
    bounds: IntArray,
    order: IntArray,
    vectors: FloatArray,
    member_weights: FloatArray,
    work: NetworkWorkspace,
    energies: FloatArray,
    gradient: FloatArray,
) -> None:
    """Do what `networks.evaluate_networks` does for GELU, with the products by the BLAS that numba calls."""
    members, elements, layers = networks.weight_start.shape
    length, (inputs, slope, values, slopes) = vectors.shape[1], work
    spare = np.empty(len(order) * length, np.float32)
    energies[:] = 0.0
    slope[:] = np.float32(0.0)
    for row in range(len(order)):
        for n in range(length):
            inputs[row, n] = vectors[order[row], n]
    for e in range(elements):
        rows = bounds[e + 1] - bounds[e]
        for m in range(members if rows > 0 else 0):
            hidden = inputs[bounds[e] : bounds[e + 1]].reshape(rows * length)
            for layer in range(layers - 1):
                weights, start = _layer(networks, m, e, layer), networks.bias_start[m, e, layer]
                wide, narrow = weights.shape
                out = values[layer, : rows * narrow]
                np.dot(hidden.reshape(rows, wide), weights, out.reshape(rows, narrow))
                for row in range(rows):
                    for n in range(narrow):
                        out[row * narrow + n] += networks.biases[start + n]
                gelu(out, slopes[layer, : rows * narrow])
                hidden = out
            wide, start = networks.shape[e, layers - 1, 0], networks.weight_start[m, e, layers - 1]
            energies[m] += rows * np.float64(networks.biases[networks.bias_start[m, e, layers - 1]])
            back = slopes[layers - 2, : rows * wide]
            for row in range(rows):
                energies[m] += sum_of_products(hidden, row * wide, networks.weights, start, wide)
                for n in range(wide):
                    back[row * wide + n] *= np.float32(member_weights[m]) * networks.weights[start + n]
            for layer in range(layers - 2, -1, -1):
                weights = _layer(networks, m, e, layer)
                wide, narrow = weights.shape
                front = spare[: rows * wide] if layer == 0 else values[layer - 1, : rows * wide]
                np.dot(back.reshape(rows, narrow), weights.T, front.reshape(rows, wide))
                if layer > 0:
                    back = slopes[layer - 1, : rows * wide]
                    for n in range(rows * wide):
                        back[n] *= front[n]
            for row in range(rows):
                for n in range(length):
                    slope[bounds[e] + row, n] += spare[row * length + n]
    for row in range(len(order)):
        for n in range(length):
            gradient[order[row], n] = np.float64(slope[row, n])


class TiledInParts(Evaluator):
    """The evaluator as it is, its parts called one by one as those of `LibraryInParts` are."""

    def evaluate(self, positions: FloatArray, member_weights: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return energies and forces; None if the positions are not finite."""
        return self.evaluate_networks(member_weights) if self.fill_descriptors(positions) else None


class LibraryInParts(TiledInParts):
    """The evaluator with the products of its networks by a library."""

    def evaluate_networks(self, member_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return energies (M,) and forces (A, 3), with the descriptors last filled."""
        _networks_by_library(
            self._networks,
            self._atoms.bounds,
            self._atoms.order,
            self._vectors,
            member_weights,
            self._network_work,
            self._energies,
            self._gradient,
        )
        forces = np.empty((len(self._atoms.species), 3))
        fill_forces(self._functions, self._work, self._gradient, forces)
        return self._energies + self._constant, forces


def mean_of(ensemble: ANIEnsemble, numbers: IntArray, kind: type[Evaluator]) -> ForceModel:
    """Return the mean of the members as what drives a trajectory, by a kind of evaluator."""
    functions, members = ensemble.functions, ensemble.members
    evaluator = kind(functions.packed, ensemble.networks.packed(), ensemble.self_energies, functions.species(numbers))
    return CompiledForceModel(evaluator, np.full(members, 1.0 / members))


@numba.njit(nogil=True)
def _dot_again(left: SingleArray, right: SingleArray, out: SingleArray, times: int) -> None:
    for _ in range(times):
        np.dot(left, right, out)


@numba.njit(nogil=True)
def _multiply_again(
    left: SingleArray, rows: int, depth: int, panels: SingleArray, columns: int, out: SingleArray, times: int
) -> None:
    for _ in range(times):
        multiply(False, left, 0, depth, rows, depth, panels, 0, columns, out, 0, False)


def products(rounds: int, times: int = 300) -> dict[str, float]:
    """Return the median seconds of all products of one call (one member, hexane), by tiles and by libraries."""
    rng, networks = np.random.default_rng(0), random_ensemble(1).networks
    seconds: dict[str, float] = {"tiles": 0.0, "numba's np.dot": 0.0, "torch.mm": 0.0}
    for rows, element in ((14, networks.weights[0]), (6, networks.weights[1])):
        for stacked in element[:-1]:
            for transposed in (False, True):
                right = stacked[0].T if transposed else stacked[0]
                depth, columns = right.shape
                left = rng.normal(size=(rows, depth)).astype(np.float32)
                panels = packed(stacked[0].ravel(), *stacked[0].shape, transposed=transposed)
                flat, out = np.empty(rows * columns, np.float32), np.empty((rows, columns), np.float32)
                tensors = torch.from_numpy(left), torch.from_numpy(right)
                sides: dict[str, Callable[[], object]] = {
                    "tiles": partial(_multiply_again, left.ravel(), rows, depth, panels, columns, flat, times),
                    "numba's np.dot": partial(_dot_again, left, right, out, times),
                    "torch.mm": partial(_mm_again, *tensors, torch.empty(rows, columns), times),
                }
                found: dict[str, list[float]] = {name: [] for name in sides}
                for turn in range(rounds + 1):
                    for name, side in sides.items():
                        began = time.process_time()
                        side()
                        if turn > 0:  # the first compiles
                            found[name].append((time.process_time() - began) / times)
                for name, values in found.items():
                    seconds[name] += float(np.median(values))
    return seconds


def _mm_again(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, times: int) -> None:
    for _ in range(times):
        torch.mm(left, right, out=out)


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
    segment = pull_segment(model, molecule.composition, state, spring, settings, steps=steps)
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
        compiled = ensemble.force_model(molecule.composition)
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
    parser.add_argument("--products", action="store_true", help="products by a library too")
    parser.add_argument("--sizes", action="store_true", help="longer alkanes too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    numbers = alkane(6).numbers
    one, three = random_ensemble(1), random_ensemble(3)
    models: dict[str, ForceModel] = {
        "LAMMPS alone": nothing,
        "alflow, one member": one.force_model(Composition(numbers)),
        "alflow, mean of 3 and spread": three.force_model(Composition(numbers)),
        "alflow, one drives, spread of 3": three.force_model(Composition(numbers), 0),
        "torchani, one member": SinglePrecisionTorchANI(one, numbers),
        "torchani, mean of 3": SinglePrecisionTorchANI(three, numbers),
    }
    if options.products:
        models["alflow in parts, one member"] = mean_of(one, numbers, TiledInParts)
        models["products by BLAS, one member"] = mean_of(one, numbers, LibraryInParts)
        models["alflow in parts, mean of 3"] = mean_of(three, numbers, TiledInParts)
        models["products by BLAS, mean of 3"] = mean_of(three, numbers, LibraryInParts)
    times = side_by_side(models, *((3, 200, 20) if options.quick else (9, 400, 40)))
    rows: list[dict[str, float | str]] = [{"what": name, "milliseconds": 1e3 * t} for name, t in times.items()]
    if options.sizes:
        rows += calls([6, 20, 60, 150], 5)
    ratios = {
        "torchani/alflow": times["torchani, one member"] / times["alflow, one member"],
        "torchani/alflow, mean of 3": times["torchani, mean of 3"] / times["alflow, mean of 3 and spread"],
        "mean of 3/one": times["alflow, mean of 3 and spread"] / times["alflow, one member"],
    }
    if options.products:
        for many in ("one member", "mean of 3"):
            name = f"products by BLAS/tiles, {many}"
            ratios[name] = times[f"products by BLAS, {many}"] / times[f"alflow in parts, {many}"]
        alone = products(3 if options.quick else 15)
        rows += [{"what": f"products of one call, {name}", "milliseconds": 1e3 * t} for name, t in alone.items()]
        ratios |= {f"{name}/tiles, products alone": t / alone["tiles"] for name, t in alone.items() if name != "tiles"}
    for row in rows:
        rest = "  ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:34s} {rest}")
    for name, ratio in ratios.items():
        print(f"{name:34s} {ratio:.2f}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 0}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
