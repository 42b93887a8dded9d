"""A trained ensemble of SchNet potentials: evaluate, save, load, join, drive a trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from alflow.errors import InputError, StructureError
from alflow.potentials.bounds import check_driver, check_elements
from alflow.potentials.schnet.compiled import drive, evaluate_frames, make_room, weights_of
from alflow.potentials.schnet.network import Architecture, Parameters, reference_module
from alflow.potentials.schnet.repulsion import repulsion
from alflow.potentials.sharing import sharing
from alflow.potentials.weights import read_weights, write_weights
from alflow.types import Composition, Evaluation, FloatArray, ForceModel, Frames, IntArray

Driver = int | Literal["mean"]

FORMAT = "alflow-schnet-1"
"""Says what a file of weights holds."""


@dataclass(frozen=True)
class SchNetEnsemble:
    """M members of one architecture."""

    architecture: Architecture
    elements: tuple[int, ...]
    """Atomic numbers that the ensemble was trained on."""
    parameters: tuple[Parameters, ...]
    """Of each member, single precision."""
    self_energies: FloatArray
    """(M, E) eV, added for each atom."""

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.parameters)

    def evaluate(self, frames: Frames, threads: int = 1) -> tuple[FloatArray, FloatArray]:
        """Return each member's energies (M, F) in eV and forces (M, F, A, 3) in eV/Å.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        constant = self.constant(frames.numbers)
        weights = weights_of(self.architecture, self.parameters, frames.numbers.tolist())
        energies = np.zeros((len(frames), self.members))
        forces = np.zeros((len(frames), self.members, len(frames.numbers), 3))

        def work(start: int, stop: int) -> None:
            part = np.ascontiguousarray(frames.positions[start:stop])
            evaluate_frames(part, weights, make_room(weights), energies[start:stop], forces[start:stop])

        with sharing(threads) as share:
            share(work, len(frames))
        energies += constant
        if self.architecture.repulsion_reach:
            known = repulsion(frames.numbers, frames.positions, self.architecture.repulsion_reach)
            energies += known[0][:, None]
            forces += known[1][:, None]
        return np.ascontiguousarray(energies.T), np.ascontiguousarray(forces.swapaxes(0, 1))

    def select(self, members: Sequence[int]) -> SchNetEnsemble:
        """Return an ensemble of some members, in the order given."""
        rows = list(members)
        chosen = tuple(self.parameters[row] for row in rows)
        return SchNetEnsemble(self.architecture, self.elements, chosen, self.self_energies[rows])

    def shifted(self, shifts: Mapping[int, FloatArray]) -> SchNetEnsemble:
        """Return the ensemble with (M,) eV more for each atom of an element, by atomic number."""
        more = np.zeros_like(self.self_energies)
        for place, element in enumerate(self.elements):
            more[:, place] = shifts.get(element, 0.0)
        return SchNetEnsemble(self.architecture, self.elements, self.parameters, self.self_energies + more)

    def force_model(
        self, composition: Composition, driver: Driver = "mean", threads: int = 1, *, spread: bool = True
    ) -> ForceModel:
        """Return what drives a trajectory of one composition.

        Args:
            composition: of the molecule.
            driver: a member, or the mean of all.
            threads: has no effect; one structure is passed through by one thread.
            spread: with one member as driver, pass through the others too (forward only) for the spread.

        Raises:
            StructureError: an element is unknown to the ensemble.
            InputError: there is no such member.
        """
        check_driver(driver, self.members)
        if driver != "mean" and not spread:
            return self.select([driver]).force_model(composition, "mean", threads)
        shares = np.full(self.members, 1.0 / self.members) if driver == "mean" else np.eye(self.members)[driver]
        return SchNetForceModel(self, composition.numbers, shares)

    def module(self, member: int) -> torch.nn.Module:
        """Return a member as torch_geometric's SchNet, which gives its energy less the self-energies and repulsion.

        Raises:
            InputError: the smooth cutoff was chosen, which torch_geometric's module does not have.
        """
        if self.architecture.smooth_cutoff:
            raise InputError(
                "torch_geometric's SchNet has the cosine cutoff alone: this ensemble was trained with "
                "smooth_cutoff = true. Use `evaluate` or `force_model`, or train with smooth_cutoff = false."
            )
        module = reference_module(self.architecture)
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(self.parameters[member][name])
        return module

    def save(self, path: Path) -> None:
        """Write all members to one file, which `load` and ``torch.load(weights_only=True)`` can read."""
        content: dict[str, Any] = {
            "architecture": asdict(self.architecture),
            "elements": list(self.elements),
            "parameters": list(self.parameters),
            "self_energies": torch.from_numpy(np.ascontiguousarray(self.self_energies)),
        }
        write_weights(path, FORMAT, content)

    @classmethod
    def load(cls, path: Path) -> SchNetEnsemble:
        """Read what `save` wrote.

        Raises:
            InputError: the file holds something else.
        """
        content = read_weights(path, FORMAT)
        architecture = Architecture(**content["architecture"])
        parameters = tuple(content["parameters"])
        return cls(architecture, tuple(content["elements"]), parameters, content["self_energies"].numpy())

    def constant(self, numbers: IntArray) -> FloatArray:
        """Return the sum of the self-energies (M,), eV, of (A,) atomic numbers.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        check_elements(numbers.tolist(), self.elements)
        counts = np.array([np.count_nonzero(numbers == element) for element in self.elements])
        return np.asarray(self.self_energies @ counts, dtype=np.float64)


class SchNetForceModel:
    """Energy, forces and spread of one composition; see `alflow.types.ForceModel`. In double precision throughout."""

    def __init__(self, ensemble: SchNetEnsemble, numbers: IntArray, shares: FloatArray) -> None:
        """Bind to (A,) atomic numbers; `shares` (M,) say how much each member drives."""
        self._constant = ensemble.constant(numbers)
        self._weights = weights_of(ensemble.architecture, ensemble.parameters, numbers.tolist())
        self._room = make_room(self._weights)
        self._reach = ensemble.architecture.repulsion_reach
        self._numbers, self._shares = numbers, np.ascontiguousarray(shares, dtype=np.float64)

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces and spread at (A, 3) Å. `start` has no meaning here.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        del start
        if positions.shape != (len(self._numbers), 3):
            raise StructureError(
                f"A force model takes one position for each of its atoms: it was bound to {len(self._numbers)} atoms "
                f"and was given an array of shape {positions.shape}. Bind a new one to this structure."
            )
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        energies, forces = np.zeros(len(self._shares)), np.zeros(positions.shape)
        drive(positions, self._shares, self._weights, self._room, energies, forces)
        energies += self._constant
        energy, spread = float(energies @ self._shares), float(energies.std())
        if self._reach:
            known = repulsion(self._numbers, positions[None], self._reach)
            energy, forces = energy + float(known[0][0]), forces + known[1][0]
        return Evaluation(energy, forces, spread)


def join(parts: Sequence[SchNetEnsemble]) -> SchNetEnsemble:
    """Return one ensemble of the members of several, in order.

    Raises:
        InputError: they differ in architecture or elements.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.architecture != first.architecture or part.elements != first.elements:
            raise InputError(
                "Ensembles can be joined if their architecture and elements are the same: "
                f"{part.architecture} {part.elements} differs from {first.architecture} {first.elements}. "
                "Train all members with the same settings on the same elements."
            )
    parameters = tuple(member for part in parts for member in part.parameters)
    energies = np.concatenate([part.self_energies for part in parts])
    return SchNetEnsemble(first.architecture, first.elements, parameters, energies)
