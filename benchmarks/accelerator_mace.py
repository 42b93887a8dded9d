"""What an accelerator gives MACE beside the cores of the same machine: trainings, and forces of many structures.

    python benchmarks/accelerator_mace.py [--device auto|cpu|cuda] [--quick] [--json FILE] [--budget SECONDS]

One member of `channels` channels with vectors, hexane, single precision; labels are those of a random ANI network,
which changes no time. The cores: one process of one thread, and as many as there are cores at once. Each figure is
printed, and written to the JSON file, as soon as it is there; one that fails is written down with the reason.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, whose `benchmarks` is no installed package

from alflow.potentials import Training
from alflow.potentials.mace.ensemble import MACEEnsemble
from alflow.potentials.mace.kind import KIND
from alflow.potentials.mace.settings import MACESettings
from alflow.types import Composition, Dataset, Frames, Group, Labels, Split
from benchmarks.accelerator import CORES, Results, machine_of, random_ensemble, seconds_of, shaken, wait
from benchmarks.accelerator_table import Row


def settings_for(channels: int, device: torch.device | str, batch: int = 8) -> MACESettings:
    """Return the network and how it is trained."""
    place = "gpu" if str(device).startswith("cuda") else "cpu"
    return MACESettings.model_validate(
        {"channels": channels, "batch_size": batch, "device": place, "checkpoint_every_s": 0.0}
    )


def labelled(frames: int) -> Dataset:
    """Return hexane with the labels of a random network."""
    structures = shaken(6, frames)
    (energies,), (forces,) = random_ensemble(1).evaluate(structures)
    return Dataset((Group(structures, Labels(energies, forces)),))


def trained(dataset: Dataset, settings: MACESettings, epochs: int) -> MACEEnsemble:
    """Train one member for so many epochs."""
    rows = np.arange(len(dataset))
    split = Split(rows[: -len(rows) // 8], rows[-len(rows) // 8 :])
    ensemble, _ = KIND.train(dataset, [split], KIND.with_epochs(settings, epochs), Training(seed=(1,), members=(0,)))
    assert isinstance(ensemble, MACEEnsemble)
    return ensemble


def training_step(dataset: Dataset, settings: MACESettings, epochs: int) -> Row:
    """Return the time of a step: that of a longer training less that of a short one, over the steps between."""
    trained(dataset, settings, 1)
    times = []
    for number in (1, 1 + epochs):
        began = time.perf_counter()
        trained(dataset, settings, number)
        times.append(time.perf_counter() - began)
    learnt = len(dataset) - len(dataset) // 8
    seconds = (times[1] - times[0]) / epochs
    steps = -(-learnt // settings.batch_size)
    return {"milliseconds": 1e3 * seconds / steps, "per second": learnt / seconds}


def evaluations_a_second(ensemble: MACEEnsemble, frames: Frames, seconds: float, _process: int = 0) -> float:
    """Return how many energies with forces one core works out."""
    model = ensemble.force_model(frames.composition)
    model(frames.positions[0])
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        model(frames.positions[calls % len(frames)])
        calls += 1
    return calls / (time.perf_counter() - began)


def on_cores(ensemble: MACEEnsemble, frames: Frames, processes: int, seconds: float) -> Row:
    """Return the evaluations a second of so many processes together; each is started anew, as a worker is."""
    work = partial(evaluations_a_second, ensemble, frames, seconds)
    if processes == 1:
        rate = work()
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            rate = float(sum(pool.map(work, range(processes), chunksize=1)))
    return {"per second": rate, "milliseconds": 1e3 * processes / rate}


def together(ensemble: MACEEnsemble, composition: Composition, count: int, device: torch.device, least: float) -> Row:
    """Return the time of one batched evaluation of `count` structures on a device."""
    model = ensemble.batched_force_model(composition, "mean", device)
    places = torch.from_numpy(shaken(6, count).positions).to(device)
    seconds = seconds_of(lambda: model(places), device, least)
    wait(device)
    return {"milliseconds": 1e3 * seconds, "per second": count / seconds}


def run(results: Results, channels: int, counts: tuple[int, ...], frames: int, least: float) -> None:
    """Measure all: the cores first, whose processes are forked before the device is touched."""
    dataset, what = labelled(frames), f"MACE, {channels} channels: "
    ensemble = trained(labelled(16), settings_for(channels, "cpu"), 1)
    few = shaken(6, 4)
    for side, processes in (("cores, one", 1), ("cores, all", CORES)):
        measure: Callable[[], Row] = partial(on_cores, ensemble, few, processes, least)
        results.measure(what + "force evaluations, C6", side, measure)
    on_core = partial(training_step, dataset, settings_for(channels, "cpu"), 1)
    results.measure(what + "training, batches of 8", "cores, one", on_core)
    for count in counts:
        measure = partial(together, ensemble, few.composition, count, results.device, least)
        results.measure(what + "force evaluations, C6", f"{count} frames", measure)
    for batch in (8, 64):
        measure = partial(training_step, dataset, settings_for(channels, results.device, batch), 2)
        results.measure(what + f"training, batches of {batch}", "device", measure)


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="a smaller network, shorter rounds")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--budget", type=float, default=150.0, help="seconds for all measurements")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds for one measurement")
    options = parser.parse_args()
    there = torch.cuda.is_available() if options.device == "auto" else options.device == "cuda"
    device = torch.device("cuda" if there else "cpu")
    torch.set_num_threads(1)
    results = Results(options.json, device, time.monotonic() + options.budget, options.limit)
    if options.quick:
        run(results, 4, (1, 4), 32, 0.2)
    else:
        run(results, 32, (1, 10, 80, 320), 256, 1.0)
    results.machine = machine_of(device)
    results.write()
    sys.stdout.write(json.dumps(results.ratios(), indent=1) + "\n")


if __name__ == "__main__":
    main()
