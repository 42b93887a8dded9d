"""A trained ensemble of MACE networks: evaluate, save, load, join, drive a trajectory or many together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alflow.errors import InputError, StructureError
from alflow.potentials.bounds import check_driver, check_elements
from alflow.potentials.devices import device_named
from alflow.potentials.mace.architecture import Architecture, Weights
from alflow.potentials.mace.graphs import Bound
from alflow.potentials.mace.lastlayer import MACELastLayer
from alflow.potentials.protocol import Driver
from alflow.potentials.threads import torch_threads
from alflow.potentials.weights import read_weights, write_weights
from alflow.types import Composition, Evaluation, FloatArray, ForceModel, Frames, IntArray

FORMAT = "alflow-mace-1"
"""Says what a file of weights holds."""
ATOMS_AT_ONCE = 1280
"""Atoms of the frames that are evaluated together."""


@dataclass(frozen=True, eq=False)
class MACEEnsemble:
    """M members of one architecture."""

    architecture: Architecture
    weights: tuple[Weights, ...]
    """Of each member."""
    self_energies: FloatArray
    """(M, E) eV, added for each atom."""
    device: str = "auto"
    """Where it is evaluated: "auto", "cpu" or "gpu"."""

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.weights)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the ensemble was trained on."""
        return self.architecture.elements

    @property
    def last_layer(self) -> MACELastLayer:
        """The features that the mean energy is linear in."""
        place = self.place()
        return MACELastLayer(lambda numbers: self.bound(numbers, place))

    def place(self) -> torch.device:
        """Return the device that it is evaluated on.

        Raises:
            InputError: a GPU is asked for, and torch sees none.
        """
        return device_named(self.device, "potential.mace.device")

    def bound(self, numbers: IntArray, device: torch.device) -> Bound:
        """Return the networks bound to (A,) atomic numbers.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        check_elements(numbers.tolist(), self.elements)
        return Bound(self.architecture, self.weights, numbers, device)

    def evaluate(self, frames: Frames, threads: int = 1) -> tuple[FloatArray, FloatArray]:
        """Return each member's energies (M, F) in eV and forces (M, F, A, 3) in eV/Å.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        place = self.place()
        bound, wanted = self.bound(frames.numbers, place), [True] * self.members
        energies = np.zeros((self.members, len(frames)))
        forces = np.zeros((self.members, *frames.positions.shape))
        share = max(1, ATOMS_AT_ONCE // max(1, len(frames.numbers)))
        with torch_threads(threads):
            for start in range(0, len(frames), share):
                rows = slice(start, start + share)
                positions = torch.from_numpy(np.ascontiguousarray(frames.positions[rows])).to(place)
                energy, force = bound(positions, wanted)
                energies[:, rows], forces[:, rows] = energy.cpu().numpy(), force.cpu().numpy()
        return energies + self.constant(frames.numbers)[:, None], forces

    def select(self, members: Sequence[int]) -> MACEEnsemble:
        """Return an ensemble of some members, in the order given."""
        rows = list(members)
        chosen = tuple(self.weights[row] for row in rows)
        return MACEEnsemble(self.architecture, chosen, self.self_energies[rows], self.device)

    def force_model(self, composition: Composition, driver: Driver = "mean", threads: int = 1) -> ForceModel:
        """Return what drives a trajectory of one composition, with the spread of the members' energies.

        Raises:
            StructureError: an element is unknown to the ensemble.
            InputError: there is no such member.
        """
        return MACEForceModel(self.batched_force_model(composition, driver, self.place()), composition, threads)

    def batched_force_model(
        self, composition: Composition, driver: Driver, device: torch.device
    ) -> BatchedMACEForceModel:
        """Return what drives many trajectories of one composition together.

        Raises:
            StructureError: an element is unknown to the ensemble.
            InputError: there is no such member.
        """
        check_driver(driver, self.members)
        shares = np.full(self.members, 1.0 / self.members) if driver == "mean" else np.eye(self.members)[driver]
        bound = self.bound(composition.numbers, device)
        return BatchedMACEForceModel(bound, shares, self.constant(composition.numbers))

    def save(self, path: Path) -> None:
        """Write all members to one file, which `load` and ``torch.load(weights_only=True)`` can read."""
        content: dict[str, Any] = {
            "arguments": dict(self.architecture.arguments),
            "precision": self.architecture.precision,
            "device": self.device,
            "weights": list(self.weights),
            "self_energies": torch.from_numpy(np.ascontiguousarray(self.self_energies)),
        }
        write_weights(path, FORMAT, content)

    @classmethod
    def load(cls, path: Path) -> MACEEnsemble:
        """Read what `save` wrote.

        Raises:
            InputError: the file holds something else.
        """
        content = read_weights(path, FORMAT)
        architecture = Architecture(content["arguments"], content["precision"])
        return cls(architecture, tuple(content["weights"]), content["self_energies"].numpy(), content["device"])

    def constant(self, numbers: IntArray) -> FloatArray:
        """Return the sum of the self-energies (M,), eV, of (A,) atomic numbers."""
        counts = np.array([np.count_nonzero(numbers == element) for element in self.elements])
        return np.asarray(self.self_energies @ counts, dtype=np.float64)


class BatchedMACEForceModel:
    """Energies, forces and spreads of R structures of one composition; see `alflow.sampling.batched`."""

    def __init__(self, bound: Bound, shares: FloatArray, constants: FloatArray) -> None:
        """Bind; `shares` (M,) say how much each member drives, `constants` (M,) eV are added to their energies."""
        self.device, self._bound = bound.device, bound
        self._driving = [bool(share) for share in shares]
        self._shares, self._constants = (torch.from_numpy(row).to(bound.device) for row in (shares, constants))

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies (R,) eV, forces (R, A, 3) eV/Å and spreads (R,) eV at (R, A, 3) Å, in double precision.

        Of members that do not drive, energies alone are worked out.
        """
        energies, forces = self._bound(positions.detach(), self._driving)
        energies = energies + self._constants[:, None]
        return self._shares @ energies, torch.tensordot(self._shares, forces, 1), energies.std(dim=0, correction=0)

    def fits(self) -> bool:
        """Say that all calls were right: there are no lists of fixed length."""
        return True

    def make_room(self, positions: FloatArray | None = None) -> None:
        """Do nothing: there are no lists of fixed length."""


class MACEForceModel:
    """Energy, forces and spread of one composition; see `alflow.types.ForceModel`."""

    def __init__(self, model: BatchedMACEForceModel, composition: Composition, threads: int) -> None:
        """Take what evaluates several structures, for one; by so many of torch's threads."""
        self._model, self._atoms, self._threads = model, len(composition), threads

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces and spread at (A, 3) Å. `start` has no meaning here.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        del start
        if positions.shape != (self._atoms, 3):
            raise StructureError(
                f"A force model takes one position for each of its atoms: it was bound to {self._atoms} atoms "
                f"and was given an array of shape {positions.shape}. Bind a new one to this structure."
            )
        one = torch.from_numpy(np.array(positions, dtype=np.float64)[None])
        with torch_threads(self._threads):
            energy, forces, spread = (value[0].cpu() for value in self._model(one.to(self._model.device)))
        return Evaluation(float(energy), forces.numpy(), float(spread))


def join(parts: Sequence[MACEEnsemble]) -> MACEEnsemble:
    """Return one ensemble of the members of several, in order.

    Raises:
        InputError: they differ in architecture or elements.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.architecture != first.architecture:
            raise InputError(
                "Ensembles can be joined if their architecture and elements are the same: "
                f"{part.architecture} differs from {first.architecture}. "
                "Train all members with the same settings on the same data."
            )
    weights = tuple(member for part in parts for member in part.weights)
    energies = np.concatenate([part.self_energies for part in parts])
    return MACEEnsemble(first.architecture, weights, energies, first.device)
