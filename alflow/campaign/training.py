"""The stage that trains: an ensemble on all labels of the earlier iterations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from alflow.acquisition.seeds import generator
from alflow.acquisition.splits import inherited_split_of_rows, random_split
from alflow.campaign.campaign import Campaign
from alflow.campaign.difference import to_be_learnt
from alflow.campaign.late import late_keys
from alflow.campaign.plan import seed_words
from alflow.errors import CampaignError, InputError
from alflow.potentials import join_files, load_potential
from alflow.potentials.protocol import Shiftable
from alflow.potentials.selfenergies import shifts_between
from alflow.runs.directory import load_dataset, load_members, save_dataset, save_members
from alflow.runs.startdata import StartFolder
from alflow.types import Dataset, IntArray, Member, Split
from alflow.workers.result import Outcome
from alflow.workers.tasks import TRAIN


@dataclass(frozen=True)
class Trained:
    """The ensemble of an iteration."""

    path: Path
    """Its file of weights."""
    members: tuple[Member, ...]
    dataset: Dataset
    """What it learnt from."""

    @property
    def best(self) -> Member:
        """The member with the lowest force error on all data."""
        return best_member(self.members)


def best_member(members: tuple[Member, ...]) -> Member:
    """Return the member with the lowest force error on all data."""
    return min(members, key=lambda member: member.all_errors.force_mae_ev_per_angstrom)


def train(campaign: Campaign, iteration: int) -> Trained:
    """Train the ensemble of this iteration on all labels of the earlier ones; what an earlier run trained is kept.

    Raises:
        CampaignError: a training failed.
        InputError: it needs what its worker's machine does not have.
    """
    campaign.enter(iteration, "training")
    started = time.monotonic()
    folder = campaign.run.iteration(iteration)
    folder.mkdir(exist_ok=True)
    dataset = to_be_learnt(campaign, iteration, _dataset(campaign, iteration))
    target, report = folder / "ensemble.pt", folder / "members.json"
    if not (target.exists() and report.exists()):
        _start_anew_where_changed(folder, dataset)
        save_dataset(folder / "dataset.npz", dataset)
        members = _train_members(campaign, iteration, dataset, folder)
        save_members(report, members)
        for part in folder.glob("members-*"):
            part.unlink()
    trained = Trained(target, load_members(report), dataset)
    campaign.seconds["train"] = time.monotonic() - started
    return trained


def _start_anew_where_changed(folder: Path, dataset: Dataset) -> None:
    """Forget members that an earlier run trained on other labels: some have been taken out since."""
    stored = folder / "dataset.npz"
    if stored.exists() and list(_keys(load_dataset(stored))) != list(_keys(dataset)):
        for part in (*folder.glob("members-*"), *folder.glob("base.pt*")):
            part.unlink()


def _dataset(campaign: Campaign, iteration: int) -> Dataset:
    """Return what the members of an iteration learn from: first data, and what earlier iterations got in time."""
    theory = campaign.farm.theory
    if iteration == 0:
        return campaign.ledger.dataset(theory, 0, kinds=("import", "first-data"))[0]
    late = late_keys(campaign.run, iteration - 1, theory)
    return campaign.ledger.dataset(theory, iteration - 1, without=late)[0]


def _train_members(campaign: Campaign, iteration: int, dataset: Dataset, folder: Path) -> tuple[Member, ...]:
    """Train all members, in tasks of `members_per_task`, and join them."""
    settings, results = campaign.settings, list[Outcome[tuple[Member, ...]] | BaseException]()
    splits = [_split(campaign, iteration, dataset, member) for member in range(settings.split.members)]
    before = _weights_to_start_from(campaign, iteration, dataset, folder)
    initial = None if before is None else str(before)
    share = settings.training.members_per_task or settings.split.members
    groups = [list(range(first, min(first + share, len(splits)))) for first in range(0, len(splits), share)]
    files = [folder / f"members-{number}.pt" for number in range(len(groups))]
    missing = [(group, file) for group, file in zip(groups, files, strict=True) if not file.exists()]
    for group, file in missing:
        data, seed = str(folder / "dataset.npz"), seed_words(settings, iteration, "training")
        call = TRAIN(data, splits, group, settings.potential, seed, initial, str(file))
        campaign.graph.submit(call, results.append, iteration=iteration, members=len(group))
    campaign.graph.run_until(lambda: len(results) == len(missing))
    for result in results:
        if isinstance(result, InputError):  # what the worker's machine does not have: a GPU, a file
            raise result
        if isinstance(result, BaseException):
            raise CampaignError(f"Training failed: {type(result).__name__}: {result}") from result
    join_files(files, folder / "ensemble.pt")
    return tuple(member for file in files for member in load_members(file.with_suffix(".json")))


def _weights_to_start_from(campaign: Campaign, iteration: int, dataset: Dataset, folder: Path) -> Path | None:
    """Return the ensemble that members start from: of the iteration before, of a file or of the base; None: fresh."""
    if iteration and campaign.settings.training.start == "carried-over":
        return campaign.run.iteration(iteration - 1) / "ensemble.pt"
    base, start, target = campaign.settings.base, StartFolder.of(campaign.run), folder / "base.pt"
    if campaign.settings.training.weights is not None:
        source = start.weights
    elif base is not None and base.use == "transfer":
        source = start.base_ensemble
    else:
        return None
    if not target.exists():
        _move_to_labels(source, dataset, campaign.settings.split.members, target)
    return target


def _move_to_labels(source: Path, dataset: Dataset, members: int, target: Path) -> None:
    """Write an ensemble of another theory with self-energies by which it fits labels on average."""
    ensemble = load_potential(source).select(range(members))
    predicted = np.concatenate([ensemble.evaluate(group.frames)[0] for group in dataset.groups], axis=1)
    moved = cast("Shiftable", ensemble).shifted(shifts_between(dataset, predicted))
    moved.save(target)


def _split(campaign: Campaign, iteration: int, dataset: Dataset, member: int) -> Split:
    settings = campaign.settings
    shared = settings.selection.threshold == "conformal"  # calibrated on rows that no member trained on
    rng = generator(settings.seed, iteration, "split", 0 if shared else member)
    fraction = settings.split.train_fraction
    if iteration == 0 or settings.split.kind == "random":
        return random_split(len(dataset), fraction, rng)
    last = campaign.run.iteration(iteration - 1)
    best = best_member(load_members(last / "members.json"))
    return inherited_split_of_rows(best.split, _carried(last, dataset), len(dataset), fraction, rng)


def _carried(folder: Path, dataset: Dataset) -> IntArray:
    """Return where each row of an earlier iteration's dataset stands now; -1 for one that was taken out."""
    now = {key: row for row, key in enumerate(_keys(dataset))}
    return np.array([now.get(key, -1) for key in _keys(load_dataset(folder / "dataset.npz"))], dtype=np.int64)


def _keys(dataset: Dataset) -> Iterator[bytes]:
    """Yield what tells each row from all others: composition, positions."""
    for group in dataset.groups:
        head = group.frames.composition.key
        yield from (head + positions.tobytes() for positions in group.frames.positions)
