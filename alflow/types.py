"""Data that crosses module borders, and the protocols of what is pluggable. F frames, A atoms, M members.

All arrays are C-contiguous float64 (int64 for atomic numbers and indices) unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from alflow.errors import FailureReason, StructureError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Composition:
    """Atoms in order, total charge and spin: with a theory and positions, all that a label depends on. A value.

    Raises:
        StructureError: the charge is no whole number, or the electrons cannot have the multiplicity.
    """

    numbers: IntArray
    """(A,) atomic numbers."""
    charge: int = 0
    """Total charge, elementary charges."""
    multiplicity: int = 0
    """2S + 1; the lowest that the electrons allow (1 or 2) if 0 is given."""
    key: bytes = field(init=False, repr=False)
    """Bytes that are equal for equal compositions alone."""

    def __post_init__(self) -> None:
        """Make each field what it is declared to be."""
        if self.charge != int(self.charge):
            raise StructureError(f"A total charge is a whole number of elementary charges; found {self.charge}.")
        object.__setattr__(self, "numbers", np.array(self.numbers, dtype=np.int64).reshape(-1))
        object.__setattr__(self, "charge", int(self.charge))
        unpaired = self.multiplicity - 1
        if self.multiplicity and not (0 <= unpaired <= max(self.electrons, 1) and unpaired % 2 == self.electrons % 2):
            raise StructureError(
                f"A multiplicity is 2S + 1 for S of all electrons; {self.electrons} of them cannot have "
                f"{self.multiplicity}."
            )
        object.__setattr__(self, "multiplicity", int(self.multiplicity) or self.lowest_multiplicity)
        head = np.array([self.charge, self.multiplicity], dtype="<i8")
        object.__setattr__(self, "key", head.tobytes() + self.numbers.astype("<i8").tobytes())

    @property
    def electrons(self) -> int:
        """Number of electrons, those of the cores included."""
        return int(self.numbers.sum()) - self.charge

    @property
    def lowest_multiplicity(self) -> int:
        """The lowest that the electrons allow: 1, or 2 for an odd number."""
        return 1 + self.electrons % 2

    @property
    def is_lowest(self) -> bool:
        """Whether the spin is the lowest that the electrons allow."""
        return self.multiplicity == self.lowest_multiplicity

    def __len__(self) -> int:
        return len(self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composition) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Frames:
    """F structures of one composition."""

    composition: Composition
    positions: FloatArray
    """(F, A, 3) Å."""

    @classmethod
    def of(cls, numbers: IntArray, positions: FloatArray, charge: int = 0, multiplicity: int = 0) -> Frames:
        """Return frames of atoms, (A,) atomic numbers, at (F, A, 3) Å; see `Composition`."""
        return cls(Composition(numbers, charge, multiplicity), positions)

    @property
    def numbers(self) -> IntArray:
        """(A,) atomic numbers."""
        return self.composition.numbers

    @property
    def charge(self) -> int:
        """Total charge, elementary charges."""
        return self.composition.charge

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def take(self, rows: IntArray | slice) -> Frames:
        """Return the frames in the given rows."""
        return Frames(self.composition, self.positions[rows])


@dataclass(frozen=True)
class Labels:
    """Energies and forces of F frames."""

    energies: FloatArray
    """(F,) eV."""
    forces: FloatArray
    """(F, A, 3) eV/Å."""

    def __len__(self) -> int:
        return int(self.energies.shape[0])

    def take(self, rows: IntArray | slice) -> Labels:
        """Return the labels in the given rows."""
        return Labels(self.energies[rows], self.forces[rows])


@dataclass(frozen=True)
class LabelFailure:
    """Why one frame has no label."""

    frame: int
    """Row in the frames that were asked for."""
    reason: FailureReason
    detail: str
    host: str


@dataclass(frozen=True)
class LabelBatch:
    """What labelling F frames gave: labels for some rows, a failure for each of the others."""

    rows: IntArray
    """(N,) rows of the frames that have a label, ascending."""
    labels: Labels
    """Of those N frames."""
    failures: tuple[LabelFailure, ...]
    seconds: FloatArray
    """(F,) wall time of each frame, s."""
    cycles: IntArray
    """(F,) self-consistency cycles of each frame; -1 where the engine counts none."""
    diagnostics: tuple[Mapping[str, float], ...] = ()
    """(F) see `Evaluation.diagnostics`, empty for a frame without a label; () where no frame has any."""


@dataclass(frozen=True)
class Evaluation:
    """Energy and forces of one structure."""

    energy: float
    """eV."""
    forces: FloatArray
    """(A, 3) eV/Å."""
    spread: float = 0.0
    """Standard deviation of the energy over the members (of those M, not of all there could be), eV; 0 for a label
    engine."""
    start: FloatArray | None = None
    """What this engine can start the next, similar structure from (DFTB3: charges); None for a cold start."""
    cycles: int = -1
    """Self-consistency cycles; -1 where the engine counts none."""
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    """What the engine tells of its solution besides, by name: kept with the label (PySCF: ⟨S²⟩ as s_squared)."""


@dataclass(frozen=True)
class Assessment:
    """What an ensemble says of F frames, and what tells them apart in its eyes."""

    energies: FloatArray
    """(M, F) eV."""
    forces: FloatArray
    """(M, F, A, 3) eV/Å."""
    features: FloatArray
    """(F, N)."""
    linear: bool
    """Whether the mean energy is linear in the features."""


@dataclass(frozen=True)
class Group:
    """Labelled frames of one composition."""

    frames: Frames
    labels: Labels


@dataclass(frozen=True)
class Dataset:
    """Labelled frames of one or several compositions. Global row order: group after group."""

    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return sum(len(group.frames) for group in self.groups)


@dataclass(frozen=True)
class Split:
    """Rows of a dataset (global row order) that a member trains on, and those that it is validated on."""

    train: IntArray
    valid: IntArray


@dataclass(frozen=True)
class MemberErrors:
    """Errors of one member on one set of frames. Energies per molecule, forces per component."""

    energy_mae_ev: float
    energy_rmse_ev: float
    force_mae_ev_per_angstrom: float
    force_rmse_ev_per_angstrom: float


@dataclass(frozen=True)
class Member:
    """One trained member of an ensemble."""

    index: int
    split: Split
    train_errors: MemberErrors
    valid_errors: MemberErrors
    all_errors: MemberErrors
    best_epoch: int
    epochs: int


@dataclass(frozen=True)
class SteeringState:
    """State of what steers a trajectory at the end of a segment."""

    target: float
    """Of the coordinate, in its unit."""
    work: float
    """Work done so far, eV."""
    opaque: bytes = b""
    """What is needed beside to go on to the last bit."""


@dataclass(frozen=True)
class MDState:
    """All that the next segment needs to go on as if there had been no cut."""

    step: int
    positions: FloatArray
    """(A, 3) Å."""
    velocities: FloatArray
    """(A, 3) Å/fs."""
    steering: SteeringState | None = None
    start: FloatArray | None = None
    """Of the force model: see Evaluation.start."""
    above: int = 0
    """Records in a row, up to the last one, whose spread was above the bound that ends a pull early."""


@dataclass(frozen=True)
class Segment:
    """One stretch of a trajectory: a record every `stride` steps, and the state after the last step."""

    frames: Frames
    steps: IntArray
    """(F,) step numbers, counted from the start of the whole trajectory."""
    time: FloatArray
    """(F,) fs."""
    target: FloatArray
    """(F,) of the coordinate, in its unit; NaN where nothing steers."""
    coordinate: FloatArray
    """(F,) value of the coordinate, in its unit; NaN where nothing steers."""
    energy: FloatArray
    """(F,) potential energy of the force model, eV."""
    work: FloatArray
    """(F,) work done by what steers, eV; 0 where nothing does."""
    spread: FloatArray
    """(F,) eV; 0 for a label engine."""
    temperature: FloatArray
    """(F,) K."""
    end: MDState
    stopped: str = ""
    """Why the trajectory ended early (a sentence); empty if it did not."""
    forces: FloatArray | None = None
    """(F, A, 3) eV/Å of the force model alone; None where they were not asked for."""
    variables: FloatArray | None = None
    """(F, V) values of all collective variables, in their units; None where there are none beside the coordinate."""
    bias_energy: FloatArray | None = None
    """(F,) energy of what acts on the variables, eV; None as above."""

    def take(self, rows: IntArray | slice) -> Segment:
        """Return the records in the given rows, with the same end."""
        arrays = {name: getattr(self, name)[rows] for name in _RECORDED}
        there = {name: array for name in _OPTIONAL if (array := getattr(self, name)) is not None}
        arrays |= {name: array[rows] for name, array in there.items()}
        return replace(self, frames=self.frames.take(rows), **arrays)


_OPTIONAL = ("forces", "variables", "bias_energy")
_RECORDED = ("steps", "time", "target", "coordinate", "energy", "work", "spread", "temperature")


class ForceModel(Protocol):
    """What drives a trajectory: a label engine, one member, or the mean of all, bound to one composition."""

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces (and spread) at (A, 3) Å."""
        ...


@dataclass(frozen=True)
class SelectedFrame:
    """A frame that the selector picked from a pull, and why."""

    pull: int
    """Number of the pull."""
    step: int
    positions: FloatArray = field(repr=False)
    """(A, 3) Å."""
    energy: float
    """eV."""
    coordinate: float
    """In the unit of the coordinate."""
    spread: float
    """Of what the selection goes by: eV, or eV/Å."""


def concatenate_frames(parts: Sequence[Frames]) -> Frames:
    """Join frames of one composition."""
    return Frames(parts[0].composition, np.concatenate([part.positions for part in parts]))
