"""Train MACE ensembles: steps, loss, optimiser and running average are MACE's; splits, seeds and schedule alflow's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alflow.errors import TrainingError
from alflow.potentials.bounds import check_elements
from alflow.potentials.devices import device_named
from alflow.potentials.evaluation import Predictions, predict
from alflow.potentials.mace.architecture import Architecture, Weights, architecture_of, weights_of
from alflow.potentials.mace.dataset import configurations, elements_of, force_scale, mean_neighbours, rows_of
from alflow.potentials.mace.ensemble import MACEEnsemble, join
from alflow.potentials.mace.foundation import read_foundation
from alflow.potentials.mace.library import (
    DataLoader,
    WeightedEnergyForcesL1L2Loss,
    WeightedEnergyForcesLoss,
    evaluate,
    making,
    same_bits,
    train_one_epoch,
)
from alflow.potentials.mace.settings import MACESettings
from alflow.potentials.mace.state import Checkpoint, TrainingState, check_finite, fingerprint
from alflow.potentials.selfenergies import fit_self_energies
from alflow.potentials.threads import torch_threads
from alflow.types import Dataset, FloatArray, IntArray, Member, MemberErrors, Split

WANTED = {"energy": True, "forces": True, "virials": False, "stress": False, "dipoles": False}
LOSSES = {"squares": WeightedEnergyForcesLoss, "l1l2": WeightedEnergyForcesL1L2Loss}
LARGE_BATCH = 32
"""Frames at once where nothing is learnt."""
SCALE = "scale_shift.scale"


@dataclass(frozen=True)
class Start:
    """Where a member starts."""

    architecture: Architecture
    weights: Weights
    self_energies: FloatArray
    """(E,) eV."""
    fresh: torch.nn.Module | None = None
    """The network that fresh weights were drawn with: making one takes a second."""

    def module(self) -> torch.nn.Module:
        """Return a network with the weights, to be trained."""
        return self.architecture.module(self.weights) if self.fresh is None else self.fresh


def train_mace_ensemble(
    dataset: Dataset,
    splits: Sequence[Split],
    settings: MACESettings,
    *,
    seed: Sequence[int],
    members: Sequence[int] | None = None,
    initial: MACEEnsemble | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[MACEEnsemble, tuple[Member, ...]]:
    """Train one member for each split, one after the other.

    A member depends on the data, its split, the settings, the seed, its index, its initial weights and, in the last
    bits, on the number of threads and the device; not on the other members.

    Args:
        dataset: labelled frames.
        splits: for each member of the whole ensemble, its rows.
        settings: of network and training.
        seed: words of the seed.
        members: which members to train; all if not given.
        initial: the whole ensemble to start from; fresh weights, or those of the foundation model, if None.
        checkpoint: stem of files to go on from after a kill, if they are of this very training; removed at the end.
        threads: threads of torch.
        progress: called with the epochs done, a mean over the members, and the epochs in all.

    Raises:
        TrainingError: no data, or a loss that is not finite.
        StructureError: `initial` does not know an element of the dataset.
        InputError: the foundation model is not to be had, or the GPU.
    """
    indices = list(range(len(splits)) if members is None else members)
    _check(dataset, splits, indices, initial)
    device = device_named(settings.device, "potential.mace.device")
    epochs, rate = settings.for_start(carried_over=initial is not None)
    trained, reports = [], []

    def count(position: int, done: int) -> None:
        if progress is not None:
            progress((position * epochs + done) // len(indices), epochs)

    with torch_threads(threads), same_bits():
        shared = None
        if settings.foundation is not None and initial is None:
            shared = _from_foundation(dataset, settings, Path(settings.foundation))
        for position, index in enumerate(indices):
            start = _start(dataset, settings, (*seed, index), initial, index) if shared is None else shared
            state = TrainingState(start.module().to(device), settings, epochs, rate)
            labels = [label for group in dataset.groups for label in (group.labels.energies, group.labels.forces)]
            key = fingerprint(settings, start.architecture, (*seed, index), splits[index], labels, start.weights)
            store = Checkpoint(checkpoint, index, settings.checkpoint_every_s, key)
            store.restore(state)
            trainer = Trainer(dataset, splits[index], settings, start, device, (*seed, index))
            trainer.run(state, store, lambda done, position=position: count(position, done))  # type: ignore[misc]
            one = MACEEnsemble(start.architecture, (state.best,), start.self_energies[None], settings.device)
            trained.append(one)
            reports.append(_report(one, dataset, index, splits[index], state))
    for index in indices:
        Checkpoint(checkpoint, index).remove()
    return join(trained), tuple(reports)


def _start(
    dataset: Dataset, settings: MACESettings, seed: Sequence[int], initial: MACEEnsemble | None, index: int
) -> Start:
    """Return a member's start: carried over, or fresh with energies of atoms by a fit."""
    elements = elements_of(dataset)
    if initial is not None:
        check_elements(elements, initial.elements)
        return Start(initial.architecture, initial.weights[index], initial.self_energies[index])
    architecture = architecture_of(settings, elements, mean_neighbours(dataset, settings.cutoff_angstrom))
    word = int(np.random.SeedSequence([*seed]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    module = architecture.module(seed=word)
    module.state_dict()[SCALE].fill_(force_scale(dataset))
    energies = np.concatenate([group.labels.energies for group in dataset.groups])
    return Start(architecture, weights_of(module), _energies_of_atoms(dataset, energies), module)


def _from_foundation(dataset: Dataset, settings: MACESettings, path: Path) -> Start:
    """Return the start of every member: the foundation model, with energies of atoms that fit what it leaves."""
    elements = elements_of(dataset)
    architecture, weights = read_foundation(path, settings.foundation_head, elements, settings.precision)
    before = MACEEnsemble(architecture, (weights,), np.zeros((1, len(elements))), settings.device)
    return Start(architecture, weights, _energies_of_atoms(dataset, -_gaps(before, dataset)))


def _gaps(ensemble: MACEEnsemble, dataset: Dataset) -> FloatArray:
    found = predict(ensemble, dataset)
    return np.asarray(found.energies - found.reference_energies, dtype=np.float64)


def _energies_of_atoms(dataset: Dataset, energies: FloatArray) -> FloatArray:
    """Return (E,) eV that fit (F,) energies best."""
    counts = [[np.count_nonzero(group.frames.numbers == z) for z in elements_of(dataset)] for group in dataset.groups]
    rows = np.repeat(np.array(counts), [len(group.frames) for group in dataset.groups], axis=0)
    return fit_self_energies(rows, energies)


class Trainer:
    """Trains one member."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        settings: MACESettings,
        start: Start,
        device: torch.device,
        seed: Sequence[int],
    ) -> None:
        """Bind to data; `seed` fixes the order of the batches of every epoch."""
        precision = start.architecture.precision
        with making(precision):
            self._data = configurations(dataset, start.architecture, start.self_energies)
            self._losses = {
                weight: LOSSES[settings.loss](energy_weight=weight, forces_weight=settings.force_weight).to(device)
                for weight in (settings.energy_weight, settings.stage_two_energy_weight)
            }
        self._split, self._settings, self._device, self._seed = split, settings, device, tuple(seed)

    def run(self, state: TrainingState, store: Checkpoint, report: Callable[[int], None]) -> None:
        """Train to the last epoch."""
        while state.epoch < state.epochs:
            state.begin_epoch()
            loss = self._losses[self._settings.energy_weight_at(state.epoch, state.epochs)]
            self._epoch(state, loss)
            with state.averaged():
                error, _ = evaluate(
                    model=state.module,
                    loss_fn=loss,
                    data_loader=self._loader(self._split.valid, LARGE_BATCH),
                    output_args=WANTED,
                    device=self._device,
                )
            state.end_epoch(float(error))
            store.keep(state, now=state.epoch == state.epochs)
            report(state.epoch)

    def _epoch(self, state: TrainingState, loss: torch.nn.Module) -> None:
        order = np.random.default_rng([*self._seed, state.epoch]).permutation(self._split.train)
        batches = -(-len(order) // self._settings.batch_size)
        train_one_epoch(
            model=state.module,
            loss_fn=loss,
            data_loader=self._loader(order, -(-len(order) // batches)),
            optimizer=state.optimizer,
            epoch=state.epoch,
            output_args=WANTED,
            max_grad_norm=self._settings.clip,
            ema=state.average,
            logger=_Finite(state),
            device=self._device,
            distributed=False,
        )

    def _loader(self, rows: IntArray, size: int) -> Any:
        """Return batches in the order of the rows. The loader draws numbers of its own, which are not the process's."""
        return DataLoader([self._data[row] for row in rows], size, generator=torch.Generator())


class _Finite:
    """Stands where MACE logs each step, and ends a training whose loss is not finite."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def log(self, found: dict[str, Any]) -> None:
        rate = float(self._state.optimizer.param_groups[0]["lr"])
        check_finite(float(found["loss"]), "training", self._state.epoch + 1, rate)


def _report(ensemble: MACEEnsemble, dataset: Dataset, index: int, split: Split, state: TrainingState) -> Member:
    found, frame_of = predict(ensemble, dataset), rows_of(dataset)
    errors = [_errors(found, rows, frame_of) for rows in (split.train, split.valid, np.arange(len(dataset)))]
    return Member(index, split, errors[0], errors[1], errors[2], state.best_epoch, state.epoch)


def _errors(found: Predictions, rows: IntArray, frame_of: IntArray) -> MemberErrors:
    atoms = np.isin(frame_of, rows)
    return Predictions(
        found.energies[rows],
        found.reference_energies[rows],
        found.forces[atoms],
        found.reference_forces[atoms],
        found.spread[rows],
    ).errors()


def _check(dataset: Dataset, splits: Sequence[Split], indices: Sequence[int], initial: MACEEnsemble | None) -> None:
    most = len(splits) if initial is None else min(len(splits), initial.members)
    if not indices or not 0 <= min(indices) <= max(indices) < most:
        raise TrainingError(
            f"A member to be trained needs a split, and weights if they are carried over: members {list(indices)} were "
            f"asked for, there are {len(splits)} splits and "
            f"{'fresh weights' if initial is None else f'weights of {initial.members} members'}. Count from 0."
        )
    for index in indices:
        split = splits[index]
        if not len(split.train) or not len(split.valid):
            raise TrainingError(
                f"A member needs frames to train on and frames to validate: member {index} has {len(split.train)} "
                f"and {len(split.valid)} of {len(dataset)}. Give more data, or change the split."
            )
