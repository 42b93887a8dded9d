"""Train an ensemble on energies and forces: all members together, each on its own split and random streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols

from alflow.errors import TrainingError
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import Networks, fresh_networks
from alflow.potentials.ani.scaling import descriptor_scaling
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training import checkpoint as checkpoints
from alflow.potentials.ani.training.compiled_optimiser import CompiledOptimiser
from alflow.potentials.ani.training.compiled_passes import CompiledPasses
from alflow.potentials.ani.training.contraction import ResidentJacobians, contraction_of
from alflow.potentials.ani.training.data import TrainingData, lay_out, prepare
from alflow.potentials.ani.training.device_optimiser import DeviceOptimiser
from alflow.potentials.ani.training.device_steps import DeviceSteps, ResidentFrames
from alflow.potentials.ani.training.parameters import Parameters, from_networks
from alflow.potentials.ani.training.passes import DevicePasses, Errors
from alflow.potentials.ani.training.schedule import Optimiser, Plateau, average_into, scheduled_rate
from alflow.potentials.ani.training.targets import gather_targets
from alflow.potentials.devices import device_named
from alflow.potentials.selfenergies import fit_self_energies
from alflow.potentials.sharing import Share, sharing
from alflow.potentials.threads import torch_threads
from alflow.types import Dataset, FloatArray, IntArray, Member, MemberErrors, Split

VALIDATION_BATCH = 64
"""Frames at a time without a step."""


def train_ensemble(
    dataset: Dataset,
    splits: Sequence[Split],
    settings: ANITrainingSettings,
    network: ANISettings,
    *,
    seed: Sequence[int],
    members: Sequence[int] | None = None,
    initial: ANIEnsemble | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ANIEnsemble, tuple[Member, ...]]:
    """Train members on a dataset and return them with their errors.

    The loss is the paper's eq. 3 (Digital Discovery 2024, 3, 514): Σ (E - E_ref)² / (N √A) + w Σ |F - F_ref|² / (N A),
    over the N frames of a batch, A atoms each, with w the force weight. The random streams of a member are seeded by
    (*seed, its index), so a member gets the same numbers whichever others it trains with. On one machine, with one
    number of threads and the same members together, the weights are the same to the last bit.

    Args:
        dataset: labelled frames.
        splits: for each member of the whole ensemble, its rows.
        settings: how to train.
        network: hidden layers and activation; those of `initial` if weights are carried over.
        seed: of the random streams.
        members: which members to train; all if not given.
        initial: the whole ensemble to start from; fresh weights if None.
        checkpoint: file to write now and then, and to go on from if it is there and of this very training.
        threads: number of threads that share the passes; torch itself has one during the call.
        progress: called after each epoch with (epochs done, epochs in all).

    Raises:
        TrainingError: there is nothing to train on, or the loss is not finite.
        StructureError: `initial` does not know an element of the dataset.
    """
    chosen = list(range(len(splits))) if members is None else list(members)
    _check(dataset, splits, settings, chosen)
    functions = initial.functions if initial is not None else SymmetryFunctions.like_2x(_elements(dataset))
    fingerprint = checkpoints.fingerprint(dataset, splits, settings, network, seed, chosen, initial)
    key = f"{checkpoints.FORMAT} {_device(settings).type} {fingerprint}"
    with torch_threads(1), sharing(threads) as share:  # those of torch are slow to start on arrays this small
        data = prepare(dataset, functions, settings.memory_limit_gb, threads)
        start, self_energies = _start(data, network, seed, chosen, initial)
        chosen_splits = [splits[member] for member in chosen]
        carried_over = initial is not None
        trainer = Trainer(data, chosen_splits, settings, start, self_energies, share, carried_over=carried_over)
        trainer.resume(checkpoint, key)
        _run(trainer, [[*seed, member] for member in chosen], carried_over, checkpoint, key, progress)
        ensemble = ANIEnsemble(functions, trainer.returned(), self_energies)
        return ensemble, trainer.report(chosen)


class Trainer:
    """Weights, optimiser and what is best so far of the members that train together."""

    def __init__(
        self,
        data: TrainingData,
        splits: Sequence[Split],
        settings: ANITrainingSettings,
        start: Networks,
        self_energies: FloatArray,
        share: Share,
        *,
        carried_over: bool = False,
    ) -> None:
        """Start from the given networks; `self_energies` are (M, E) eV.

        Fresh networks are taken as networks of scaled descriptors, networks that are carried over as what they are.
        """
        self.data, self.splits, self.settings, self.share = data, splits, settings, share
        self.members = len(splits)
        self.device = _device(settings)
        self.references = data.energies - (self_energies @ data.counts.T)
        self.scaling = descriptor_scaling(data, settings.descriptor_floor)
        shift, scale = self.scaling.tensors(self.device)
        self.parameters = from_networks(self.scaling.apply(start) if carried_over else start, self.device)
        self.gradient = self.parameters.like(torch.zeros_like(self.parameters.flat))
        flat = self.parameters.flat.detach()
        self.average, self.best = flat.clone(), flat.clone()
        self.steps: DeviceSteps | None = None
        if self.device.type == "cpu":
            self.passes: CompiledPasses | DevicePasses = CompiledPasses(
                self.parameters, shift, scale, share, data.threads
            )
            self.optimiser: CompiledOptimiser | DeviceOptimiser | Optimiser = CompiledOptimiser(
                settings, self.parameters, self.gradient, share
            )
        else:
            self.run_on(self.device)
        self.plateau = Plateau.of(self.members)
        self.best_error, self.best_epoch = [float("inf")] * self.members, [0] * self.members
        self.epoch = self.step_count = 0

    def run_on(self, device: torch.device, *, whole_steps: bool = True) -> None:
        """Take the passes of torch, and whole steps at once where the Jacobians stay on the device."""
        shift, scale = self.scaling.tensors(device)
        contraction = contraction_of(self.data, device, self.settings.memory_limit_gb)
        self.passes = DevicePasses(self.parameters.activation, shift, scale, contraction)
        self.optimiser = DeviceOptimiser(self.settings, self.parameters, self.gradient)
        self.steps = None
        if whole_steps and isinstance(contraction, ResidentJacobians):
            frames = ResidentFrames(self.data, self.references, contraction, shift, scale)
            changed = self.parameters, self.gradient, self.optimiser, self.average
            self.steps = DeviceSteps(frames, self.settings, *changed)

    @torch.no_grad()
    def train_epoch(self, permutations: Sequence[IntArray], epochs: int, largest_rate: float) -> None:
        """Go once through the training rows of every member, in the order given."""
        steps = -(-max(len(rows) for rows in permutations) // self.settings.batch_size)
        batches = list(zip(*(np.array_split(rows, steps) for rows in permutations), strict=True))
        progress = [(self.step_count + step) / (epochs * steps) for step in range(steps)]
        schedule = [scheduled_rate(self.settings, largest_rate, share) for share in progress]
        rates = [[rate * factor for factor in self.plateau.factors] for rate in schedule]
        run = self._step_by_step if self.steps is None else self.steps.run
        loss = run(batches, rates, self.step_count)
        self.step_count += steps
        if not bool(torch.isfinite(loss).all()):
            raise TrainingError(
                f"The loss must stay finite: it was not after epoch {self.epoch + 1} at a learning rate of "
                f"{schedule[-1]:.1e}. Lower training.learning_rate, or look for absurd labels in the dataset."
            )
        self.epoch += 1

    def _step_by_step(
        self, batches: Sequence[Sequence[IntArray]], rates: Sequence[list[float]], done: int
    ) -> torch.Tensor:
        """Do the steps of an epoch; see `DeviceSteps.run`."""
        for step, frames_of in enumerate(batches):
            errors = self._run(list(frames_of), self.parameters, train=True)
            self.optimiser.step(rates[step])
            if self.settings.averaging:
                average_into(self.average, self.parameters.flat, self.settings.averaging, done + step)
        return errors.loss

    @torch.no_grad()
    def keep_best(self, *, last: bool) -> None:
        """Validate if the settings ask for it, and keep the weights of the best epoch of each member."""
        settings = self.settings
        flat = self.average if settings.averaging else self.parameters.flat
        if settings.criterion != "last" or settings.schedule == "plateau":
            errors = self._validation_errors(self.parameters.like(flat), forces=settings.criterion == "loss")
            if settings.schedule == "plateau":
                self.plateau.update(errors)
            if settings.criterion != "last":
                self._take_better(flat, errors)
        if settings.criterion == "last" and last:
            self.best.copy_(flat)
            self.best_epoch = [self.epoch] * self.members

    @torch.no_grad()
    def report(self, indices: Sequence[int]) -> tuple[Member, ...]:
        """Return each member's errors with the weights that are returned."""
        everything = np.arange(len(self.data))
        chunks = np.array_split(everything, -(-len(everything) // VALIDATION_BATCH))
        parameters = self.parameters.like(self.best)
        found = [self._run([chunk] * self.members, parameters, train=False, forces=True) for chunk in chunks]
        energies = [errors.energies.cpu().numpy().reshape(self.members, -1) for errors in found]
        forces = [_by_member(errors, self.members) for errors in found]
        energy, force = np.concatenate(energies, axis=1), np.concatenate(forces, axis=1)
        frame_of = np.repeat(everything, self.data.atoms)
        return tuple(
            Member(
                index=index,
                split=split,
                train_errors=_summary(energy[m], force[m], split.train, frame_of),
                valid_errors=_summary(energy[m], force[m], split.valid, frame_of),
                all_errors=_summary(energy[m], force[m], everything, frame_of),
                best_epoch=self.best_epoch[m],
                epochs=self.epoch,
            )
            for m, (index, split) in enumerate(zip(indices, self.splits, strict=True))
        )

    def returned(self) -> Networks:
        """Return the networks of the best epoch of each member."""
        return self.scaling.fold(self.parameters.like(self.best).to_networks())

    def save(self, path: Path, key: str) -> None:
        """Write a checkpoint."""
        plateau = (self.plateau.factors, self.plateau.best, self.plateau.waited)
        checkpoints.write(
            path,
            key,
            checkpoints.Progress(
                epoch=self.epoch,
                step=self.step_count,
                flat=self.parameters.flat.detach(),
                average=self.average,
                best=self.best,
                best_error=self.best_error,
                best_epoch=self.best_epoch,
                plateau=plateau,
                optimiser=self.optimiser.state(),
            ),
        )

    @torch.no_grad()
    def resume(self, path: Path | None, key: str) -> None:
        """Go on from a checkpoint of this training, if there is one."""
        saved = checkpoints.read(path, key, self.device)
        if saved is None:
            return
        self.epoch, self.step_count = saved.epoch, saved.step
        self.parameters.flat.copy_(saved.flat)
        self.average.copy_(saved.average)
        self.best = saved.best
        self.best_error, self.best_epoch = saved.best_error, saved.best_epoch
        self.plateau = Plateau(*saved.plateau)
        self.optimiser.restore(saved.optimiser)

    def _run(
        self, frames_of: list[IntArray], parameters: Parameters, *, train: bool, forces: bool | None = None
    ) -> Errors:
        """Run one batch; the force part is left out where it has no weight."""
        with_forces = self.settings.force_weight > 0 if forces is None else forces
        batch = lay_out(self.data, frames_of, self.share)
        targets = gather_targets(self.data, self.references, self.settings.force_weight, batch)
        return self.passes.run(parameters, batch, targets, self.gradient if train else None, forces=with_forces)

    def _validation_errors(self, parameters: Parameters, *, forces: bool) -> list[float]:
        """Return each member's mean squared energy error, or its loss, on its own validation rows."""
        sizes = [len(split.valid) for split in self.splits]
        batches = max(1, -(-max(sizes) // VALIDATION_BATCH))
        chunks = zip(*(np.array_split(split.valid, batches) for split in self.splits), strict=True)
        totals = [0.0] * self.members
        for frames_of in chunks:
            errors = self._run(list(frames_of), parameters, train=False, forces=forces)
            bounds = np.cumsum([0, *map(len, frames_of)]).tolist()
            for member, (start, stop) in enumerate(pairwise(bounds)):
                one = errors.loss[start:stop] * (stop - start) if forces else errors.energies[start:stop] ** 2
                totals[member] += float(one.sum())
        return [total / max(1, size) for total, size in zip(totals, sizes, strict=True)]

    def _take_better(self, flat: torch.Tensor, errors: list[float]) -> None:
        """Keep the weights of the members whose error is the least so far."""
        kept, now = self.parameters.like(self.best), self.parameters.like(flat)
        for member, error in enumerate(errors):
            if error < self.best_error[member]:
                self.best_error[member], self.best_epoch[member] = error, self.epoch
                for old, new in zip((kept.weights, kept.biases), (now.weights, now.biases), strict=True):
                    for old_element, new_element in zip(old, new, strict=True):
                        for old_layer, new_layer in zip(old_element, new_element, strict=True):
                            old_layer[member].copy_(new_layer[member])


@dataclass
class _Clock:
    """Says when the next checkpoint is due."""

    interval_s: float
    last: float

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.interval_s:
            return False
        self.last = now
        return True


def _run(
    trainer: Trainer,
    seeds: list[list[int]],
    carried_over: bool,
    checkpoint: Path | None,
    key: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train all epochs that are left."""
    epochs, rate = trainer.settings.for_start(carried_over=carried_over)
    clock = _Clock(trainer.settings.checkpoint_every_s, time.monotonic())
    while trainer.epoch < epochs:
        # One stream an epoch: a training that is resumed shuffles as if it had not been killed.
        streams = [np.random.default_rng([*seed, 1, trainer.epoch]) for seed in seeds]
        rows = [rng.permutation(split.train) for rng, split in zip(streams, trainer.splits, strict=True)]
        trainer.train_epoch(rows, epochs, rate)
        trainer.keep_best(last=trainer.epoch == epochs)
        if checkpoint is not None and clock.due():
            trainer.save(checkpoint, key)
        if progress is not None:
            progress(trainer.epoch, epochs)


def _start(
    data: TrainingData, network: ANISettings, seed: Sequence[int], members: list[int], initial: ANIEnsemble | None
) -> tuple[Networks, FloatArray]:
    """Return the networks to start from, and the self-energies (M, E) of the members."""
    if initial is not None:
        chosen = initial.select(members)
        return chosen.networks, chosen.self_energies
    functions = data.functions
    generators = [np.random.default_rng([*seed, member, 0]) for member in members]
    hidden = [network.layers(chemical_symbols[element]) for element in functions.elements]
    fitted = fit_self_energies(data.counts, data.energies)
    networks = fresh_networks(functions.length, hidden, network.activation, generators)
    return networks, np.tile(fitted, (len(members), 1))


def _check(dataset: Dataset, splits: Sequence[Split], settings: ANITrainingSettings, members: list[int]) -> None:
    for member in members:
        if not 0 <= member < len(splits):
            raise TrainingError(
                f"Each member needs a split: member {member} was asked for, {len(splits)} splits were given. "
                "Give one split for each member of the ensemble."
            )
        split = splits[member]
        if len(split.train) == 0:
            raise TrainingError(
                f"A member needs at least one frame to train on: the split of member {member} has none."
            )
        if len(split.valid) == 0 and (settings.criterion != "last" or settings.schedule == "plateau"):
            raise TrainingError(
                f"training.criterion {settings.criterion!r} and training.schedule {settings.schedule!r} look at "
                f"validation frames: the split of member {member} has none. Give it some, or set the criterion to "
                "'last' and the schedule to 'cosine'."
            )
        rows = np.concatenate([split.train, split.valid])
        if rows.min() < 0 or rows.max() >= len(dataset):
            raise TrainingError(
                f"A split counts the rows of the dataset from 0 to {len(dataset) - 1}: that of member {member} goes "
                f"from {rows.min()} to {rows.max()}. Make the splits anew for this dataset."
            )


def _elements(dataset: Dataset) -> tuple[int, ...]:
    return tuple(sorted({int(number) for group in dataset.groups for number in group.frames.numbers}))


def _device(settings: ANITrainingSettings) -> torch.device:
    return device_named(settings.device, "training.device")


def _by_member(errors: Errors, members: int) -> FloatArray:
    if errors.forces is None:
        raise TrainingError("A report of force errors was asked of a batch without forces: this is a fault of alflow.")
    return errors.forces.cpu().numpy().reshape(members, -1, 3)


def _summary(energy: FloatArray, force: FloatArray, rows: IntArray, frame_of: IntArray) -> MemberErrors:
    """Return errors over some rows, from (F,) eV and (n, 3) eV/Å."""
    if len(rows) == 0:
        return MemberErrors(float("nan"), float("nan"), float("nan"), float("nan"))
    chosen = energy[rows].astype(np.float64)
    components = force[np.isin(frame_of, rows)].astype(np.float64)
    return MemberErrors(
        energy_mae_ev=float(np.abs(chosen).mean()),
        energy_rmse_ev=float(np.sqrt((chosen**2).mean())),
        force_mae_ev_per_angstrom=float(np.abs(components).mean()),
        force_rmse_ev_per_angstrom=float(np.sqrt((components**2).mean())),
    )
