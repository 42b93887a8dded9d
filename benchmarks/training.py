"""How long training takes: an epoch beside TorchANI's automatic derivatives, and members together beside one.

    python benchmarks/training.py [--data FILE] [--threads N] [--quick] [--json FILE] [--study]

Same data, same loss (eq. 3 of Digital Discovery 2024, 3, 514, force weight 0.1), same batches of 64, same fresh
weights. TorchANI's step is timed on a few batches and an epoch reckoned from it. Sides take turns; figures are medians
over the rounds: of the processor time with one thread, of the wall time with more. `--data` takes an npz file with
numbers, positions, energies and forces; without it hexane at 500 K (Langevin, GFN2-xTB) is made anew. Then both sides
are trained equally long from the same weights, for several seeds, and their validation errors stand side by side.
`--torch` times an epoch with the passes and products of torch instead of compiled ones, and the compiled Jacobian.
`--study` trains three members with the presets `paper` and `fast` and prints their validation errors.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.interop import to_torchani
from alflow.potentials.ani.kernels.jacobian import forces_of_batch, tangents_of_batch
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training.data import Batch, TrainingData, prepare
from alflow.potentials.ani.training.passes import DevicePasses
from alflow.potentials.ani.training.schedule import scheduled_rate
from alflow.potentials.ani.training.trainer import Trainer, train_ensemble
from alflow.potentials.sharing import sharing
from alflow.potentials.threads import torch_threads
from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, IntArray, Labels, Split
from alflow.units import HARTREE_IN_EV, KCAL_PER_MOL_IN_EV

BATCH = 64
FORCE_WEIGHT = 0.1
WEIGHT_DECAY = 0.01
TRAINING_FRAMES = 1600
Row = dict[str, float | str]


def hexane(frames: int) -> Dataset:
    """Return hexane at 500 K: every step of 0.5 fs after 0.5 ps."""
    from ase import Atoms, units  # noqa: PLC0415
    from ase.md.langevin import Langevin  # noqa: PLC0415
    from ase.md.velocitydistribution import thermalize_momenta  # noqa: PLC0415
    from tblite.ase import TBLite  # noqa: PLC0415

    molecule = alkane(6)
    atoms = Atoms(numbers=molecule.numbers, positions=molecule.positions[0])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, temperature_K=500, rng=rng)
    dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=500, friction=0.01 / units.fs, rng=rng)
    dynamics.run(1000)
    positions, energies, forces = [], [], []
    for _ in range(frames):
        dynamics.run(1)
        positions.append(atoms.positions.copy())
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces().copy())
    labels = Labels(np.array(energies), np.array(forces))
    return Dataset((Group(Frames.of(molecule.numbers, np.array(positions)), labels),))


def read(path: Path) -> Dataset:
    """Return the dataset of an npz file."""
    content = np.load(path)
    frames = Frames.of(content["numbers"].astype(np.int64), content["positions"])
    return Dataset((Group(frames, Labels(content["energies"], content["forces"])),))


def splits_of(dataset: Dataset, members: int) -> list[Split]:
    """Return a random split for each member, four fifths for training."""
    splits = []
    for member in range(members):
        order = np.random.default_rng([1, member]).permutation(len(dataset))
        cut = min(TRAINING_FRAMES, len(dataset) * 4 // 5)
        splits.append(Split(order[:cut], order[cut:]))
    return splits


class TorchANIStep:
    """The same step through TorchANI and automatic derivatives, in single precision."""

    def __init__(self, dataset: Dataset, ensemble: ANIEnsemble, force_weight: float = FORCE_WEIGHT) -> None:
        """Take the weights of a fresh ensemble of one, without self-energies; weights decay, biases do not.

        The last layers give eV, not Hartree: Adam's steps have one size whatever the unit, so the unit matters.
        """
        self._group, self._force_weight = dataset.groups[0], force_weight
        self._model = to_torchani(ensemble).float()
        self._model.neural_networks.requires_grad_()
        named = list(self._model.neural_networks.named_parameters())
        for _, leaf in named:
            if leaf.shape[0] == 1:
                leaf.data *= HARTREE_IN_EV
        groups = [
            {"params": [leaf for name, leaf in named if name.endswith("bias") == biases], "weight_decay": decay}
            for biases, decay in ((False, WEIGHT_DECAY), (True, 0.0))
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=1e-3)
        self._mean = self._group.labels.energies.mean()

    def _errors(self, rows: IntArray, *, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return errors of energies (B,) eV and forces (B, A, 3) eV/Å."""
        group = self._group
        species = torch.from_numpy(group.frames.numbers).repeat(len(rows), 1)
        place = torch.from_numpy(group.frames.positions[rows]).float().requires_grad_()
        energies = self._model((species, place)).energies
        forces = -torch.autograd.grad(energies.sum(), place, create_graph=train)[0]
        energy_errors = energies - torch.from_numpy(group.labels.energies[rows] - self._mean).float()
        return energy_errors, forces - torch.from_numpy(group.labels.forces[rows]).float()

    def __call__(self, rows: IntArray, rate: float = 1e-3) -> float:
        """Do one step and return the loss."""
        atoms = len(self._group.frames.numbers)
        energy_errors, force_errors = self._errors(rows, train=True)
        force_part = self._force_weight * (force_errors**2).sum() / len(rows) / atoms
        loss = (energy_errors**2).mean() / np.sqrt(atoms) + force_part
        self._optimiser.zero_grad()
        loss.backward()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        return float(loss.detach())

    def mean_absolute_errors(self, rows: IntArray) -> tuple[float, float]:
        """Return those of energies, eV, and force components, eV/Å."""
        found = [self._errors(part, train=False) for part in np.array_split(rows, -(-len(rows) // BATCH))]
        energies, forces = (torch.cat([part[kind].detach() for part in found]) for kind in (0, 1))
        return float(energies.abs().mean()), float(forces.abs().mean())


def fresh(functions: SymmetryFunctions, members: int, first: int = 0) -> ANIEnsemble:
    """Return networks of the paper's size, seeded from `first` on."""
    hidden = [ANISettings().layers("H"), ANISettings().layers("C")]
    generators = [np.random.default_rng([7, first + member]) for member in range(members)]
    networks = fresh_networks(functions.length, hidden, "gelu", generators)
    return ANIEnsemble(functions, networks, np.zeros((members, 2)))


def measure(
    dataset: Dataset, data: TrainingData, threads: int, rounds: int, torchani_batches: int
) -> tuple[list[Row], dict[str, float]]:
    """Return rows and ratios of the time of an epoch."""
    clock: Callable[[], float] = time.process_time if threads == 1 else time.perf_counter
    counts = data.counts[0]
    mean = float(data.energies.mean())
    found: dict[str, list[float]] = {"torchani, one member": [], "alflow, one member": [], "alflow, three members": []}
    losses: dict[str, float] = {}
    with torch_threads(threads), sharing(threads) as share:
        trainers = {}
        for name, members in (("alflow, one member", 1), ("alflow, three members", 3)):
            settings = ANITrainingSettings(
                epochs=100,
                batch_size=BATCH,
                force_weight=FORCE_WEIGHT,
                averaging=0.0,
                weight_decay=WEIGHT_DECAY,
                device="cpu",
            )
            start = fresh(data.functions, members)
            shared = np.tile(mean / counts.sum() * np.ones(len(counts)), (members, 1))
            trainers[name] = Trainer(data, splits_of(dataset, members), settings, start.networks, shared, share)
        step = TorchANIStep(dataset, fresh(data.functions, 1))
        train = splits_of(dataset, 1)[0].train
        batches = np.array_split(train, -(-len(train) // BATCH))
        step(batches[0])
        for trainer in trainers.values():
            trainer.train_epoch([split.train for split in trainer.splits], 100, 1e-3)
        for turn in range(rounds):
            began = clock()
            for batch in range(torchani_batches):
                losses["torchani"] = step(batches[(turn * torchani_batches + batch) % len(batches)])
            found["torchani, one member"].append((clock() - began) / torchani_batches * len(batches))
            for name, trainer in trainers.items():
                began = clock()
                trainer.train_epoch([split.train for split in trainer.splits], 100, 1e-3)
                found[name].append(clock() - began)
    seconds = {name: float(np.median(values)) for name, values in found.items()}
    rows: list[Row] = [{"what": f"epoch, {name}, {threads} thread(s)", "seconds": t} for name, t in seconds.items()]
    ratios = {
        "torchani/alflow": seconds["torchani, one member"] / seconds["alflow, one member"],
        "three members/one": seconds["alflow, three members"] / seconds["alflow, one member"],
    }
    return rows, ratios


class SparseContraction:
    """Products with the Jacobian for the passes of torch, by the compiled loops over what of it is not 0."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        """Take a batch; the device is the CPU."""
        del device
        self._batch = batch
        self._rows = (batch.jacobian, batch.places, batch.offsets, batch.rows)

    def forces(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) -∂E/∂G · ∂G/∂r from (M, R, L) ∂E/∂G."""
        forces = np.empty((len(self._batch.rows), 3), np.float32)
        forces_of_batch(*self._rows, gradient.view(-1, gradient.shape[2]).numpy(), forces, 0, len(self._batch.places))
        return torch.from_numpy(forces)

    def tangents(self, displacements: torch.Tensor) -> torch.Tensor:
        """Return (M, R, L) ∂G/∂r · δr along (n, 3) displacements δr; 0 in padding."""
        tangents = np.zeros_like(self._batch.vectors)
        lines = tangents.reshape(-1, tangents.shape[2])
        tangents_of_batch(*self._rows, displacements.numpy(), lines, 0, len(self._batch.places))
        return torch.from_numpy(tangents)


def beside_torch(dataset: Dataset, data: TrainingData, rounds: int) -> tuple[list[Row], dict[str, float]]:
    """Return rows and ratios of the time of an epoch with compiled passes and with those of torch, on one thread."""
    counts, mean = data.counts[0], float(data.energies.mean())
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    for batch_size, members in ((8, 1), (8, 3), (64, 1), (64, 3)):
        settings = ANITrainingSettings(
            epochs=100, batch_size=batch_size, force_weight=FORCE_WEIGHT, averaging=0.0, device="cpu"
        )
        shared = np.tile(mean / counts.sum() * np.ones(len(counts)), (members, 1))
        seconds: dict[str, list[float]] = {"compiled passes": [], "torch's passes": []}
        with torch_threads(1), sharing(1) as share:
            trainers = {}
            for name in seconds:
                start = fresh(data.functions, members).networks
                trainer = Trainer(data, splits_of(dataset, members), settings, start, shared, share)
                if name == "torch's passes":
                    scaling = trainer.scaling.tensors(trainer.device)
                    trainer.passes = DevicePasses("gelu", *scaling, contraction=SparseContraction)
                trainers[name] = trainer
                trainer.train_epoch([split.train for split in trainer.splits], 100, 1e-3)
            for _ in range(rounds):
                for name, trainer in trainers.items():
                    began = time.process_time()
                    trainer.train_epoch([split.train for split in trainer.splits], 100, 1e-3)
                    seconds[name].append(time.process_time() - began)
        what = f"batches of {batch_size}, {members} member(s)"
        medians = {name: float(np.median(values)) for name, values in seconds.items()}
        rows += [{"what": f"epoch, {name}, {what}", "seconds": median} for name, median in medians.items()]
        ratios[f"torch's passes/compiled, {what}"] = medians["torch's passes"] / medians["compiled passes"]
    return rows, ratios


def equal_epochs(dataset: Dataset, data: TrainingData, epochs: int, seeds: int) -> tuple[list[Row], dict[str, float]]:
    """Train both sides equally long from the same weights on the same batches; return their validation errors.

    Batches of 8, force weight 5, AdamW, a cosine from 1e-3 to zero, descriptors as they are. The ratios say how far the
    mean errors of the two sides are apart, in standard deviations of TorchANI's over the seeds.
    """
    settings = ANITrainingSettings(
        epochs=epochs, batch_size=8, force_weight=5.0, weight_decay=WEIGHT_DECAY, descriptor_floor=0.0, device="cpu"
    )
    counts, mean = data.counts[0], float(data.energies.mean())
    shared = mean / counts.sum() * np.ones((1, len(counts)))
    errors: dict[str, list[tuple[float, float]]] = {"torchani": [], "alflow": []}
    for seed, split in enumerate(splits_of(dataset, seeds)):
        start = fresh(data.functions, 1, seed)
        orders = [np.random.default_rng([3, seed, epoch]).permutation(split.train) for epoch in range(epochs)]
        with torch_threads(1), sharing(1) as share:
            trainer = Trainer(data, [split], settings, start.networks, shared, share)
            for order in orders:
                trainer.train_epoch([order], epochs, 1e-3)
            trainer.keep_best(last=True)
            (member,) = trainer.report([seed])
            step = TorchANIStep(dataset, start, 5.0)
            parts = [part for order in orders for part in np.array_split(order, -(-len(order) // 8))]
            for done, part in enumerate(parts):
                step(part, scheduled_rate(settings, 1e-3, done / len(parts)))
            errors["torchani"].append(step.mean_absolute_errors(split.valid))
        found = member.valid_errors
        errors["alflow"].append((found.energy_mae_ev, found.force_mae_ev_per_angstrom))
    rows: list[Row] = [
        {
            "what": f"{epochs} epochs, {side}, seed {seed}",
            "valid energy MAE kcal/mol": energy / KCAL_PER_MOL_IN_EV,
            "valid force MAE eV/A": force,
        }
        for side, found in errors.items()
        for seed, (energy, force) in enumerate(found)
    ]
    one, other = (np.array(errors[side]) for side in ("torchani", "alflow"))
    apart = np.abs(one.mean(axis=0) - other.mean(axis=0)) / one.std(axis=0, ddof=1)
    names = ("energy", "force")
    return rows, {
        f"{name} error, apart/spread over seeds": float(value) for name, value in zip(names, apart, strict=True)
    }


def study(dataset: Dataset, threads: int, *, quick: bool) -> list[Row]:
    """Train three members by each preset, and return their validation errors and processor seconds."""
    rows: list[Row] = []
    presets: tuple[Literal["paper", "fast"], ...] = ("paper", "fast")
    for preset in presets:
        settings = ANITrainingSettings(preset=preset, epochs=3) if quick else ANITrainingSettings(preset=preset)
        began = time.process_time()
        _, members = train_ensemble(dataset, splits_of(dataset, 3), settings, ANISettings(), seed=[11], threads=threads)
        seconds = (time.process_time() - began) / 3
        for member in members:
            errors = member.valid_errors
            rows.append(
                {
                    "what": f"{preset}, {member.epochs} epochs, member {member.index}",
                    "processor seconds a member": seconds,
                    "valid energy MAE kcal/mol": errors.energy_mae_ev / KCAL_PER_MOL_IN_EV,
                    "valid energy RMSE kcal/mol": errors.energy_rmse_ev / KCAL_PER_MOL_IN_EV,
                    "valid force MAE eV/A": errors.force_mae_ev_per_angstrom,
                    "best epoch": float(member.best_epoch),
                }
            )
    return rows


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz file; made anew if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer frames and rounds")
    parser.add_argument("--study", action="store_true", help="train by both presets too")
    parser.add_argument("--torch", action="store_true", help="the passes of torch too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    dataset = read(options.data) if options.data else hexane(200 if options.quick else 2000)
    began = time.process_time()
    data = prepare(dataset, SymmetryFunctions.like_2x((1, 6)), 8.0, options.threads)
    rows: list[Row] = [
        {"what": f"descriptors and Jacobian, {len(data)} frames", "seconds": time.process_time() - began}
    ]
    epochs, ratios = measure(dataset, data, options.threads, *((3, 1) if options.quick else (7, 2)))
    rows += epochs
    errors, apart = equal_epochs(dataset, data, *((2, 2) if options.quick else (5, 3)))
    rows, ratios = rows + errors, ratios | apart
    if options.torch:
        epochs, beside = beside_torch(dataset, data, 3 if options.quick else 7)
        rows, ratios = rows + epochs, ratios | beside
    if options.study:
        rows += study(dataset, options.threads, quick=options.quick)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows.append({"what": "most memory of the process", "gigabytes": peak})
    for row in rows:
        rest = "  ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:44s} {rest}")
    for name, ratio in ratios.items():
        print(f"{name:44s} {ratio:.2f}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 0}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
