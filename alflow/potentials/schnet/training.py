"""Train SchNet ensembles: the loss of the paper's eq. 4, Adam, and its plateau schedule or a cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from alflow.errors import TrainingError
from alflow.potentials.bounds import check_elements
from alflow.potentials.schnet.ensemble import SchNetEnsemble, join
from alflow.potentials.schnet.graphs import Graphs, graphs_of
from alflow.potentials.schnet.network import (
    Architecture,
    GridTensors,
    Parameters,
    energies_and_forces,
    fresh_parameters,
    grid_tensors,
)
from alflow.potentials.schnet.repulsion import repulsion
from alflow.potentials.schnet.settings import SchNetSettings
from alflow.potentials.schnet.state import Checkpoint, TrainingState, fingerprint
from alflow.potentials.threads import torch_threads
from alflow.types import Dataset, FloatArray, IntArray, Member, MemberErrors, Split

LARGE_BATCH = 64
"""Frames at once where nothing is differentiated with respect to the weights."""


@dataclass(frozen=True)
class Prepared:
    """A dataset as the network sees it."""

    graphs: Graphs
    energies: torch.Tensor
    """(F,) eV, what the network must give: self-energies and repulsion taken off."""
    forces: torch.Tensor
    """(n, 3) eV/Å, repulsion taken off."""
    grid: GridTensors


def train_schnet_ensemble(
    dataset: Dataset,
    splits: Sequence[Split],
    settings: SchNetSettings,
    *,
    seed: Sequence[int],
    members: Sequence[int] | None = None,
    initial: SchNetEnsemble | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SchNetEnsemble, tuple[Member, ...]]:
    """Train one member for each split.

    A member depends on the data, its split, the settings, the seed, its index and its initial weights; not on the
    other members, nor on the number of threads.

    Args:
        dataset: labelled frames.
        splits: for each member of the whole ensemble, its rows.
        settings: of network and training.
        seed: words of the seed.
        members: which members to train; all if not given.
        initial: the whole ensemble to start from; fresh weights if None.
        checkpoint: stem of files to go on from after a kill, if they are of this very training; removed at the end.
        threads: members trained side by side.
        progress: called with the epochs done, a mean over the members, and the epochs in all.

    Raises:
        TrainingError: no data, or a loss that is not finite.
        StructureError: `initial` does not know an element of the dataset.
    """
    indices = list(range(len(splits)) if members is None else members)
    _check(dataset, splits, indices, initial)
    architecture = initial.architecture if initial else architecture_of(settings)
    elements = tuple(int(z) for z in np.unique(np.concatenate([group.frames.numbers for group in dataset.groups])))
    if initial is not None:
        check_elements(elements, initial.elements)
        elements = initial.elements
    report = _Progress(progress, len(indices))

    def train(position: int) -> tuple[SchNetEnsemble, Member]:
        torch.set_num_threads(1)
        index = indices[position]
        split = splits[index]
        shift = _self_energies(dataset, elements) if initial is None else initial.self_energies[index]
        prepared = prepare(dataset, architecture, dict(zip(elements, shift, strict=True)))
        start = fresh_parameters(architecture, _word(seed, index)) if initial is None else initial.parameters[index]
        key = fingerprint(settings, architecture, [*seed, index], split, prepared.energies, start)
        store = Checkpoint(checkpoint, index, settings.checkpoint_every_s, key)
        trainer = Trainer(prepared, split, settings, architecture, (*seed, index))
        weights, best_epoch, epochs = trainer.run(start, carried_over=initial is not None, store=store, report=report)
        everything = np.arange(len(dataset))
        errors = [trainer.errors(weights, rows) for rows in (split.train, split.valid, everything)]
        ensemble = SchNetEnsemble(architecture, elements, (weights,), np.asarray(shift)[None])
        return ensemble, Member(index, split, errors[0], errors[1], errors[2], best_epoch, epochs)

    workers = max(1, min(threads, len(indices)))
    with torch_threads(1), ThreadPoolExecutor(workers, thread_name_prefix="alflow-schnet") as pool:
        results = list(pool.map(train, range(len(indices))))
    for index in indices:
        Checkpoint(checkpoint, index).remove()
    return join([ensemble for ensemble, _ in results]), tuple(member for _, member in results)


def architecture_of(settings: SchNetSettings) -> Architecture:
    """Return the network that the settings ask for."""
    return Architecture(
        features=settings.features,
        gaussians=settings.gaussians,
        interactions=settings.interactions,
        cutoff=settings.cutoff_angstrom,
        smooth_cutoff=settings.smooth_cutoff,
        repulsion_reach=settings.repulsion_reach if settings.short_range_repulsion else 0.0,
    )


def prepare(dataset: Dataset, architecture: Architecture, self_energies: dict[int, float]) -> Prepared:
    """Find the pairs, and take off what the network need not learn."""
    energies, forces = [], []
    for group in dataset.groups:
        numbers, positions = group.frames.numbers, group.frames.positions
        energy = group.labels.energies - sum(self_energies[int(number)] for number in numbers)
        force = group.labels.forces
        if architecture.repulsion_reach:
            known = repulsion(numbers, positions, architecture.repulsion_reach)
            energy, force = energy - known[0], force - known[1]
        energies.append(energy)
        forces.append(force.reshape(-1, 3))
    return Prepared(
        graphs_of(architecture.grid, [group.frames for group in dataset.groups]),
        torch.as_tensor(np.concatenate(energies), dtype=torch.float32),
        torch.as_tensor(np.concatenate(forces), dtype=torch.float32),
        grid_tensors(architecture.grid),
    )


class Trainer:
    """Trains one member on prepared data."""

    def __init__(
        self, data: Prepared, split: Split, settings: SchNetSettings, architecture: Architecture, seed: Sequence[int]
    ) -> None:
        """Bind to data; `seed` fixes the order of the batches of every epoch."""
        self._data, self._split, self._settings, self._seed = data, split, settings, tuple(seed)
        self._interactions = architecture.interactions

    def run(
        self, start: Parameters, *, carried_over: bool, store: Checkpoint, report: _Progress
    ) -> tuple[Parameters, int, int]:
        """Return the weights to keep, the epoch that they are of, and how many epochs were run."""
        settings = self._settings
        epochs, learning_rate = settings.for_start(carried_over=carried_over)
        state = TrainingState(start, settings, epochs, learning_rate)
        store.restore(state)
        while state.epoch < epochs and not state.finished:
            self._epoch(state)
            state.epoch += 1
            state.judge(self._validation_loss(state.averaged))
            store.keep(state)
            report.epoch_done(epochs)
        if settings.criterion == "last":
            return state.averaged, state.epoch, state.epoch
        return state.best, state.best_epoch, state.epoch

    def _epoch(self, state: TrainingState) -> None:
        order = np.random.default_rng([*self._seed, state.epoch]).permutation(self._split.train)
        batches = -(-len(order) // self._settings.batch_size)
        for part in np.array_split(order, batches):
            state.optimizer.zero_grad(set_to_none=True)
            loss = self._loss(state.parameters, part, differentiable=True)
            loss.backward()  # type: ignore[no-untyped-call]
            state.step(1 / batches)

    def _loss(self, parameters: Parameters, rows: IntArray, *, differentiable: bool) -> torch.Tensor:
        """Return the paper's eq. 4: rho · MSE(energies) + (1 - rho) · MSE(force components)."""
        energy, force = self._residuals(parameters, rows, differentiable=differentiable)
        rho = self._settings.rho
        return rho * energy.square().mean() + (1 - rho) * force.square().mean()

    def _residuals(
        self, parameters: Parameters, rows: IntArray, *, differentiable: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        data = self._data
        batch = data.graphs.batch(rows)
        energies, forces = energies_and_forces(
            parameters, self._interactions, data.grid, batch, differentiable=differentiable
        )
        atoms = torch.from_numpy(data.graphs.atoms(rows))
        return energies - data.energies[torch.from_numpy(rows)], forces - data.forces[atoms]

    def _validation_loss(self, parameters: Parameters) -> float:
        parts = _parts(self._split.valid)
        losses = [float(self._loss(parameters, part, differentiable=False).detach()) * len(part) for part in parts]
        return sum(losses) / len(self._split.valid)

    def errors(self, parameters: Parameters, rows: IntArray) -> MemberErrors:
        """Return the errors of the network on some rows."""
        results = [self._residuals(parameters, part, differentiable=False) for part in _parts(rows)]
        energy = torch.cat([result[0].detach() for result in results]).double()
        force = torch.cat([result[1].detach() for result in results]).double()
        return MemberErrors(
            float(energy.abs().mean()),
            float(energy.square().mean().sqrt()),
            float(force.abs().mean()),
            float(force.square().mean().sqrt()),
        )


class _Progress:
    """Counts the epochs of all members."""

    def __init__(self, show: Callable[[int, int], None] | None, members: int) -> None:
        self._show, self._members, self._done, self._lock = show, members, 0, Lock()

    def epoch_done(self, epochs: int) -> None:
        with self._lock:
            self._done += 1
            if self._show is not None:
                self._show(self._done // self._members, epochs)


def _parts(rows: IntArray) -> list[IntArray]:
    return np.array_split(rows, -(-len(rows) // LARGE_BATCH))


def _self_energies(dataset: Dataset, elements: Sequence[int]) -> FloatArray:
    """Return the energies of the elements (E,) eV that fit all labels best by least squares."""
    counts = np.array(
        [[np.count_nonzero(group.frames.numbers == z) for z in elements] for group in dataset.groups], dtype=np.float64
    )
    share = np.sqrt([len(group.frames) for group in dataset.groups])
    means = np.array([group.labels.energies.mean() for group in dataset.groups])
    return np.asarray(np.linalg.lstsq(counts * share[:, None], means * share, rcond=None)[0], dtype=np.float64)


def _word(seed: Sequence[int], index: int) -> int:
    return int(np.random.SeedSequence([*seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _check(dataset: Dataset, splits: Sequence[Split], indices: Sequence[int], initial: SchNetEnsemble | None) -> None:
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
