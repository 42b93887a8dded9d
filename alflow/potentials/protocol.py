"""Protocols of a kind of neural network potential: an ensemble, and the kind that trains, reads and joins it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, TypeVar

from alflow.config.base import Settings
from alflow.config.plugins import Kind
from alflow.types import Composition, Dataset, FloatArray, ForceModel, Frames, Member, Split

SettingsT = TypeVar("SettingsT", bound=Settings)
Driver = int | Literal["mean"]
"""A member, counted from 0, or the mean of all."""


class Ensemble(Protocol):
    """M trained members."""

    @property
    def members(self) -> int:
        """Number of members."""
        ...

    def evaluate(self, frames: Frames, threads: int = 1) -> tuple[FloatArray, FloatArray]:
        """Return each member's energies (M, F) in eV and forces (M, F, A, 3) in eV/Å; NaN for positions not finite.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        ...

    def force_model(self, composition: Composition, driver: Driver = "mean", threads: int = 1) -> ForceModel:
        """Return what drives a trajectory of one composition, with the spread of the members' energies.

        Args:
            composition: of the molecule.
            driver: a member, or the mean of all.
            threads: number of threads.

        Raises:
            StructureError: an element is unknown to the ensemble.
            InputError: there is no such member.
        """
        ...

    def select(self, members: Sequence[int]) -> Self:
        """Return an ensemble of some members, in the order given."""
        ...

    def save(self, path: Path) -> None:
        """Write all members to one file, by `alflow.potentials.weights.write_weights` under the kind's format."""
        ...


class Shiftable(Protocol):
    """An ensemble whose energies can be moved to those of another theory."""

    def shifted(self, shifts: Mapping[int, FloatArray]) -> Ensemble:
        """Return the ensemble with (M,) eV more for each atom of an element, by atomic number."""
        ...


@dataclass(frozen=True)
class Training:
    """What a training is told beside its data and the settings of its kind."""

    seed: tuple[int, ...] = (0,)
    """Of the random streams; those of a member follow from it and the member's index alone."""
    members: tuple[int, ...] | None = None
    """Members to train; all if None."""
    initial: Path | None = None
    """File of the whole ensemble to start from; fresh weights if None."""
    checkpoint: Path | None = None
    """File, or stem of files, to write now and then, and to go on from after a kill."""
    threads: int = 1
    """Number of threads."""
    progress: Callable[[int, int], None] | None = None
    """Called with the epochs done and the epochs in all."""


class PotentialKind(Kind[SettingsT]):
    """A kind of potential."""

    format: ClassVar[str]
    """What its files of weights say that they hold."""
    batched: ClassVar[bool] = False
    """Whether its ensembles have `batched_force_model`; see `alflow.sampling.batched.Batchable`."""
    transfers: ClassVar[bool] = False
    """Whether its ensembles are `Shiftable`, so that a training can start from the weights of another theory."""

    def train(
        self, dataset: Dataset, splits: Sequence[Split], settings: SettingsT, training: Training
    ) -> tuple[Ensemble, tuple[Member, ...]]:
        """Train members and return them with their errors.

        A member gets the same weights, to the last bit, whichever others it trains with and however often the training
        was killed; on one machine, with one number of threads.

        Args:
            dataset: labelled frames.
            splits: for each member of the whole ensemble, its rows.
            settings: network and training.
            training: seed, members, start, threads.

        Raises:
            TrainingError: there is nothing to train on, or the loss is not finite.
        """
        raise NotImplementedError

    def load(self, path: Path) -> Ensemble:
        """Read an ensemble from its file of weights, in which nothing is executed.

        Raises:
            InputError: the file holds something else.
        """
        raise NotImplementedError

    def pretrained(self, path: Path, elements: Sequence[int]) -> Ensemble:  # noqa: ARG002 - for those that use it
        """Read an ensemble that a campaign starts from, as it is needed for molecules of some elements.

        Raises:
            InputError: the file holds something else, or an ensemble that does not know one of them.
        """
        return self.load(path)

    def join(self, parts: Sequence[Ensemble]) -> Ensemble:
        """Return one ensemble of the members of several, in order.

        Raises:
            InputError: they differ in what members must share.
        """
        raise NotImplementedError

    def check(self, settings: SettingsT, elements: Sequence[int]) -> None:  # noqa: ARG002 - for those that read files
        """Refuse settings that name what is not to be had, before anything is submitted.

        Args:
            settings: of the kind.
            elements: atomic numbers that are learnt.

        Raises:
            InputError: a file is not there, holds something else, or does not know an element.
        """
        return

    def starts_from(self, settings: SettingsT) -> Literal["fresh", "carried-over"]:  # noqa: ARG002 - for those that do
        """Return what a later iteration starts from where `training.start` does not say it."""
        return "carried-over"

    def epochs(self, settings: SettingsT, *, carried_over: bool) -> int:
        """Return the epochs of a training, for forecasts."""
        raise NotImplementedError

    def with_epochs(self, settings: SettingsT, epochs: int) -> SettingsT:
        """Return the settings of a training from fresh weights with so many epochs, for forecasts."""
        raise NotImplementedError
