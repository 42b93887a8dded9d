"""What an accelerator gives beside the cores of the same machine: trainings, batched evaluations, batched pulls.

    python benchmarks/accelerator.py [--device auto|cpu|cuda] [--quick] [--json FILE] [--table FILE] [--budget SECONDS]

`benchmarks/accelerator.sh` runs the tests that need a device first. Each figure is written to the JSON file as soon as
it is there; a measurement that fails or overruns is written down with the reason, and the rest goes on. Nothing here
needs LAMMPS. Networks are of the paper's size with random weights; the labels that trainings learn are those of another
random network, which changes no time. The cores take the compiled kernels, as trainings and pulls on a CPU do: all
cores at once are as many processes, one force model each. With `--device cpu` the batched route runs there.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse  # noqa: E402
import json  # noqa: E402
import multiprocessing  # noqa: E402
import platform  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Literal  # noqa: E402

import numba  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, whose `benchmarks` is no installed package

from alflow.config.sampling import PullSettings  # noqa: E402
from alflow.cudagraph import captured  # noqa: E402
from alflow.potentials.ani.batched import BatchedForceModel  # noqa: E402
from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: E402
from alflow.potentials.ani.network import fresh_networks  # noqa: E402
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings  # noqa: E402
from alflow.potentials.ani.symmetry import SymmetryFunctions  # noqa: E402
from alflow.potentials.ani.training.data import TrainingData, prepare  # noqa: E402
from alflow.potentials.ani.training.trainer import Trainer  # noqa: E402
from alflow.potentials.sharing import sharing  # noqa: E402
from alflow.potentials.threads import torch_threads  # noqa: E402
from alflow.sampling.batched import BatchedRunner  # noqa: E402
from alflow.sampling.coordinates.distance import Distance  # noqa: E402
from alflow.sampling.steered import start_pull  # noqa: E402
from alflow.structures import alkane, end_carbons  # noqa: E402
from alflow.types import Dataset, Frames, Group, Labels, MDState, Split  # noqa: E402
from benchmarks.accelerator_table import Row, tables  # noqa: E402

STIFFNESS, COLD_K = 1e-6, 1e-3
"""Weights of the last layers beside fresh ones, and K: a molecule stays whole, for next to nothing moves its atoms."""
CORES = len(os.sched_getaffinity(0))
ROUNDS = 5
LONGEST = 300
"""Carbons of a molecule that is evaluated but not pulled; and of all replicas together in the longer pulls."""


def random_ensemble(members: int) -> ANIEnsemble:
    """Return networks of the paper's size that act gently."""
    functions = SymmetryFunctions.like_2x((1, 6))
    hidden = [ANISettings().layers("H"), ANISettings().layers("C")]
    networks = fresh_networks(functions.length, hidden, "gelu", [np.random.default_rng(m) for m in range(members)])
    small = tuple((*element[:-1], element[-1] * np.float32(STIFFNESS)) for element in networks.weights)
    return ANIEnsemble(functions, type(networks)(small, networks.biases), np.zeros((members, 2)))


def shaken(carbons: int, count: int) -> Frames:
    """Return frames of an alkane whose atoms are some hundredths of an Å off."""
    molecule = alkane(carbons)
    noise = np.random.default_rng(carbons).normal(0.0, 0.03, (count, *molecule.positions.shape[1:]))
    return Frames(molecule.composition, molecule.positions + noise)


@dataclass
class Results:
    """What was measured so far, printed and written as it comes."""

    target: Path | None
    device: torch.device
    ends: float
    """Of the whole script, on the clock `time.monotonic`."""
    limit: float
    """Seconds for one measurement."""
    rows: list[Row] = field(default_factory=list)
    machine: Row = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Print a row, and write all."""
        self.rows.append(row)
        rest = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, float))
        why = "".join(f"  {row[key]}" for key in ("note", "failed") if key in row)
        print(f"{row['what']:46s} {row['side']:24s} {rest}{why}", flush=True)
        self.write()

    def write(self) -> None:
        """Write the JSON."""
        if self.target is not None:
            found = {"machine": self.machine, "rows": self.rows, "ratios": self.ratios()}
            self.target.write_text(json.dumps(found, indent=1))

    def measure(self, what: str, side: str, measurement: Callable[[], Row]) -> None:
        """Do one measurement within its time, and write down what it gave or why it gave nothing."""
        seconds = min(self.limit, self.ends - time.monotonic())
        if seconds < 1.0:
            self.add({"what": what, "side": side, "failed": "The time of the whole script is over."})
            return
        row: Row = {"what": what, "side": side}
        on_gpu = self.device.type == "cuda" and not side.startswith("cores")
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_reserved()
        try:
            with time_limit(seconds):
                row |= measurement()
            if on_gpu:
                row["gigabytes"] = (torch.cuda.max_memory_reserved() - before) / 1e9
        except Exception as error:  # noqa: BLE001 - whatever it is, it is written down and the rest goes on
            row["failed"] = f"{type(error).__name__}: {str(error)[:300]}"
        self.add(row)

    def ratios(self) -> dict[str, float]:
        """Return how many times quicker each side is than the cores in the same work: one or all, whichever is best."""
        cores: dict[str, float] = {}
        for row in self.rows:
            if str(row["side"]).startswith("cores") and "per second" in row:
                cores[str(row["what"])] = max(cores.get(str(row["what"]), 0.0), float(row["per second"]))
        return {
            f"{row['what']}: {row['side']}": float(row["per second"]) / cores[str(row["what"])]
            for row in self.rows
            if row["what"] in cores and "per second" in row and not str(row["side"]).startswith("cores")
        }


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise after so many seconds."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"It took longer than {seconds:.0f} s.")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def wait(device: torch.device) -> None:
    """Wait until the device has done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(function: Callable[[], object], device: torch.device, least: float) -> float:
    """Return the median seconds of a call over a few rounds, each of several calls and at least so long together."""
    function()
    wait(device)
    began = time.perf_counter()
    function()
    wait(device)
    calls = max(1, int(least / (time.perf_counter() - began) / ROUNDS))
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(calls):
            function()
        wait(device)
        found.append((time.perf_counter() - began) / calls)
    return float(np.median(found))


def calls_a_second(ensemble: ANIEnsemble, frames: Frames, seconds: float, _process: int = 0) -> float:
    """Return how many energies with forces one core works out by the compiled kernels."""
    model, places = ensemble.force_model(frames.composition), frames.positions
    model(places[0])
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        model(places[calls % len(places)])
        calls += 1
    return calls / (time.perf_counter() - began)


def on_cores(ensemble: ANIEnsemble, frames: Frames, processes: int, seconds: float) -> Row:
    """Return the evaluations a second of so many processes together."""
    work = partial(calls_a_second, ensemble, frames, seconds)
    if processes == 1:
        rate = work()
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            rate = float(sum(pool.map(work, range(processes), chunksize=1)))
    return {"per second": rate, "milliseconds": 1e3 * processes / rate}


@dataclass(frozen=True)
class Variant:
    """How the batched route is run."""

    name: str
    graph: bool = True
    compiled: bool = False
    tf32: bool = False
    precision: torch.dtype = torch.float32


def model_of(ensemble: ANIEnsemble, frames: Frames, device: torch.device, variant: Variant) -> BatchedForceModel:
    """Return the batched force model with room for the frames."""
    torch.backends.cuda.matmul.allow_tf32 = variant.tf32
    model = BatchedForceModel(
        ensemble, frames.composition, device, precision=variant.precision, compiled=variant.compiled
    )
    model.make_room(frames.positions)
    return model


def evaluation(ensemble: ANIEnsemble, frames: Frames, device: torch.device, variant: Variant, least: float) -> Row:
    """Return the time of one batched evaluation, and how far its forces are from those of the kernels."""
    model, places = model_of(ensemble, frames, device, variant), torch.from_numpy(frames.positions).to(device)
    began = time.perf_counter()
    outputs = [value.clone() for value in model(places)]
    wait(device)
    first = time.perf_counter() - began

    def evaluate() -> None:
        for output, value in zip(outputs, model(places), strict=True):
            output.copy_(value)

    call, eager = captured(evaluate, device) if variant.graph else (evaluate, "")
    seconds = seconds_of(call, device, least)
    few = frames.take(slice(2))
    expected = ensemble.evaluate(few)[1].mean(axis=0)
    error = np.abs(outputs[1][:2].cpu().numpy() - expected).max() / np.abs(expected).max()
    row: Row = {"milliseconds": 1e3 * seconds, "per second": len(frames) / seconds, "force error": float(error)}
    if variant.compiled:
        row["first call, s"] = first
    return row | ({"note": eager} if eager else {})


def pull(ensemble: ANIEnsemble, carbons: int, replicas: int, device: torch.device, variant: Variant, steps: int) -> Row:
    """Return steps times replicas a second of pulls that advance together."""
    molecule, settings = alkane(carbons), PullSettings(record_stride=10, temperature_k=COLD_K)
    spring = Distance(molecule.numbers, end_carbons(molecule.numbers), settings)
    rng, place = np.random.default_rng(1), molecule.positions[0]
    states = [start_pull(MDState(0, place, rng.normal(0.0, 1e-5, place.shape)), spring) for _ in range(replicas)]
    model = model_of(ensemble, molecule, device, variant)
    runner = BatchedRunner(model, molecule.composition, states, spring, settings, steps=steps)
    runner.begin()
    wait(device)
    began = time.perf_counter()
    runner.advance()
    wait(device)
    seconds = (time.perf_counter() - began) / steps
    faults = [segment.stopped for segment in runner.segments() if segment.stopped]
    if faults:
        raise RuntimeError(f"All pulls of the benchmark must go to their end: {len(faults)} did not. {faults[0]}")
    row: Row = {"milliseconds": 1e3 * seconds, "per second": replicas / seconds}
    return row | ({"note": runner.eager} if runner.eager and device.type == "cuda" else {})


def labelled(frames: int) -> TrainingData:
    """Return hexane with the labels of a random network, descriptors worked out."""
    structures = shaken(6, frames)
    (energies,), (forces,) = random_ensemble(1).evaluate(structures, CORES)
    dataset = Dataset((Group(structures, Labels(energies, forces)),))
    return prepare(dataset, SymmetryFunctions.like_2x((1, 6)), 8.0, CORES)


def epoch(data: TrainingData, members: int, batch: int, side: str, device: torch.device, least: float) -> Row:
    """Return the time of an epoch over all frames.

    Args:
        data: what is learnt.
        members: trained together.
        batch: frames a step.
        side: one core or all with the compiled passes; or the device, whole steps as graphs or one operation after the
            other.
        device: for the passes of torch.
        least: s, how long to measure.
    """
    on_cores = side.startswith("cores")
    where: Literal["cpu", "gpu"] = "cpu" if on_cores or device.type == "cpu" else "gpu"
    settings = ANITrainingSettings(epochs=1000, batch_size=batch, device=where)
    orders = [np.random.default_rng(member).permutation(len(data)) for member in range(members)]
    splits = [Split(order, order[:0]) for order in orders]
    networks = random_ensemble(members).networks
    with torch_threads(1), sharing(1 if side == "cores, one" else CORES) as share:
        trainer = Trainer(data, splits, settings, networks, np.zeros((members, 2)), share)
        if not on_cores and where == "cpu":
            trainer.run_on(device, whole_steps=side == "graph")
        elif side == "eager":
            trainer.steps = None
        trainer.train_epoch(orders if side == "graph" else [order[:batch] for order in orders], 1000, 1e-5)
        found: list[float] = []
        while not found or (sum(found) < least and len(found) < ROUNDS):
            wait(device)
            began = time.perf_counter()
            trainer.train_epoch(orders, 1000, 1e-5)
            wait(device)
            found.append(time.perf_counter() - began)
    seconds = float(np.median(found))
    row: Row = {"milliseconds": 1e3 * seconds, "per second": members * len(data) / seconds}
    why = trainer.steps.eager if trainer.steps is not None and device.type == "cuda" else ""
    return row | ({"note": why} if why else {})


def machine_of(device: torch.device) -> Row:
    """Return what the figures were measured on."""
    versions: Row = {"python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__}
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    row: Row = {**versions, "numpy": np.__version__, "processor": model.partition(": ")[2] or platform.machine()}
    row |= {"cores": float(CORES), "device": str(device)}
    if device.type == "cuda":
        row["device"] = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return row


GRAPH, EAGER = Variant("graph"), Variant("eager", graph=False)
DOUBLE = Variant("eager, double precision", graph=False, precision=torch.float64)
GRAPHS = (
    Variant("graph, TF32", tf32=True),
    Variant("graph, double precision", precision=torch.float64),
)
COMPILED = Variant("graph, torch.compile", compiled=True)


@dataclass(frozen=True)
class Plan:
    """Sizes of what is measured."""

    molecules: dict[int, tuple[int, ...]]
    """Carbons of an alkane, and how many frames or replicas of it there are together."""
    members: int
    frames: int
    """Of a training."""
    batches: tuple[int, ...]
    steps: int
    """Of the shorter pulls."""
    least: float
    """Seconds of a measurement."""


FULL = Plan({6: (1, 10, 80, 1000), 60: (1, 10, 80), 300: (1,)}, 8, 1600, (8, 64, 512), 300, 0.6)
QUICK = Plan({6: (1, 10), 60: (1,)}, 2, 64, (8, 32), 20, 0.1)


def run(results: Results, plan: Plan) -> None:
    """Measure all, what matters most first."""
    many, one = random_ensemble(plan.members), random_ensemble(1)
    ensembles = {f"{plan.members} members": many, "one member": one}
    for carbons in plan.molecules:  # processes are forked before the device is touched
        for name, ensemble in ensembles.items():
            for side, processes in (("cores, one", 1), ("cores, all", CORES)):
                measure = partial(on_cores, ensemble, shaken(carbons, 4), processes, plan.least)
                results.measure(f"force evaluations, C{carbons}, {name}", side, measure)
    for carbons, counts in plan.molecules.items():
        for name, ensemble in ensembles.items():
            for count in counts:
                what = f"force evaluations, C{carbons}, {name}"
                run_batched(results, plan, what, ensemble, (carbons, count))
    run_trainings(results, plan)
    on_gpu = results.device.type == "cuda"
    for variant in (*GRAPHS, COMPILED) if on_gpu else (DOUBLE,):
        for count in plan.molecules[6][:0:-1]:
            run_variant(results, plan, many, count, variant)


def run_variant(results: Results, plan: Plan, ensemble: ANIEnsemble, count: int, variant: Variant) -> None:
    """Measure evaluations of hexane in another way, and pulls where it is compiled."""
    what = f"force evaluations, C6, {ensemble.members} members"
    measure = partial(evaluation, ensemble, shaken(6, count), results.device, variant, plan.least)
    results.measure(what, f"{count} frames, {variant.name}", measure)
    if variant.compiled:
        measure = partial(pull, ensemble, 6, count, results.device, variant, plan.steps)
        results.measure(what, f"pull of {count}, {variant.name}", measure)


def run_batched(results: Results, plan: Plan, what: str, ensemble: ANIEnsemble, size: tuple[int, int]) -> None:
    """Measure evaluations and pulls of (carbons, structures together)."""
    carbons, count = size
    plain = GRAPH if results.device.type == "cuda" else EAGER
    for variant in (GRAPH, EAGER) if plain == GRAPH and ensemble.members > 1 else (plain,):
        measure = partial(evaluation, ensemble, shaken(carbons, count), results.device, variant, plan.least)
        results.measure(what, f"{count} frames, {variant.name}", measure)
    if carbons < LONGEST:
        steps = plan.steps * (5 if count * carbons < LONGEST else 1)
        measure = partial(pull, ensemble, carbons, count, results.device, plain, steps)
        results.measure(what, f"pull of {count}, {plain.name}", measure)


def run_trainings(results: Results, plan: Plan) -> None:
    """Measure epochs of one member and of all."""
    data = labelled(plan.frames)
    for members in (1, plan.members):
        for batch in plan.batches:
            what = f"epoch of {len(data)} frames, {members} member(s), batches of {batch}"
            for side in ("cores, one", "cores, all", "eager", "graph")[members > 1 :]:
                measure = partial(epoch, data, members, batch, side, results.device, plan.least)
                results.measure(what, side, measure)


def main() -> None:
    """Measure, print, and write JSON and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, shorter rounds")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--table", type=Path, help="where to write a table in Markdown")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds for all measurements")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds for one measurement")
    options = parser.parse_args()
    there = torch.cuda.is_available() if options.device == "auto" else options.device == "cuda"
    device = torch.device("cuda" if there else "cpu")
    torch.set_num_threads(1)
    results = Results(options.json, device, time.monotonic() + options.budget, options.limit)
    print({"torch": torch.__version__, "numba": numba.__version__, "numpy": np.__version__, "cores": CORES}, flush=True)
    try:
        run(results, QUICK if options.quick else FULL)
    finally:
        results.machine = machine_of(device)
        results.write()
        if options.table:
            options.table.write_text(tables(results.rows, results.machine))
    for name, ratio in results.ratios().items():
        print(f"{name:72s} {ratio:.3f} times the cores")


if __name__ == "__main__":
    main()
