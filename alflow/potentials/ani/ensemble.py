"""A trained ensemble of ANI potentials: evaluate, save, load, join, drive a trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from alflow.errors import InputError
from alflow.potentials.ani.kernels.evaluator import CompiledForceModel, Evaluator
from alflow.potentials.ani.network import Networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.bounds import check_driver
from alflow.potentials.sharing import sharing
from alflow.potentials.weights import read_weights, write_weights
from alflow.types import Composition, FloatArray, ForceModel, Frames, IntArray

if TYPE_CHECKING:
    import torch

    from alflow.potentials.ani.batched import BatchedForceModel
    from alflow.potentials.ani.lastlayer import ANILastLayer

Driver = int | Literal["mean"]

FORMAT = "alflow-ani-1"
"""Says what a file of weights holds."""


@dataclass(frozen=True)
class ANIEnsemble:
    """M members over the same symmetry functions."""

    functions: SymmetryFunctions
    networks: Networks
    self_energies: FloatArray
    """(M, E) eV, added for each atom."""

    @property
    def members(self) -> int:
        """Number of members."""
        return self.networks.members

    def evaluate(self, frames: Frames, threads: int = 1) -> tuple[FloatArray, FloatArray]:
        """Return each member's energies (M, F) in eV and forces (M, F, A, 3) in eV/Å; NaN for positions not finite.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        energies = np.zeros((self.members, len(frames)))
        forces = np.zeros((self.members, *frames.positions.shape))
        alone = 2.0 * np.eye(self.members) - 1.0

        def work(start: int, stop: int) -> None:
            evaluator = self._evaluator(frames.numbers)
            for frame in range(start, stop):
                if not evaluator.fill_descriptors(frames.positions[frame]):
                    energies[:, frame], forces[:, frame] = np.nan, np.nan
                    continue
                for member in range(self.members):
                    found, forces[member, frame] = evaluator.evaluate_networks(alone[member])
                    energies[member, frame] = found[member]

        with sharing(threads) as share:
            share(work, len(frames))
        return energies, forces

    @property
    def last_layer(self) -> ANILastLayer:
        """The features that the mean energy is linear in."""
        from alflow.potentials.ani.lastlayer import ANILastLayer  # noqa: PLC0415 - it brings torch

        return ANILastLayer(self)

    def select(self, members: Sequence[int]) -> ANIEnsemble:
        """Return an ensemble of some members, in the order given."""
        return ANIEnsemble(self.functions, self.networks.select(members), self.self_energies[list(members)])

    def of_elements(self, elements: Sequence[int]) -> ANIEnsemble:
        """Return the ensemble for molecules of some of its elements alone, of which it says the same.

        Raises:
            StructureError: it does not know one of them.
        """
        chosen = self.functions.species(np.array(sorted(elements), dtype=np.int64))
        functions = replace(self.functions, elements=tuple(sorted(elements)))
        rows, networks = self.functions.rows_of(chosen), self.networks
        weights = [(networks.weights[e][0][:, rows], *networks.weights[e][1:]) for e in chosen]
        biases = tuple(networks.biases[e] for e in chosen)
        kept = Networks(tuple(weights), biases, networks.activation)
        return ANIEnsemble(functions, kept, self.self_energies[:, chosen])

    def shifted(self, shifts: Mapping[int, FloatArray]) -> ANIEnsemble:
        """Return the ensemble with (M,) eV more for each atom of an element, by atomic number."""
        more = np.zeros_like(self.self_energies)
        for place, element in enumerate(self.functions.elements):
            more[:, place] = shifts.get(element, 0.0)
        return ANIEnsemble(self.functions, self.networks, self.self_energies + more)

    def force_model(
        self,
        composition: Composition,
        driver: Driver = "mean",
        threads: int = 1,  # noqa: ARG002 - of the protocol: a call takes a fraction of a millisecond
        *,
        spread: bool = True,
    ) -> ForceModel:
        """Return what drives a trajectory of one composition.

        Args:
            composition: of the molecule.
            driver: a member, or the mean of all.
            threads: not used: a call takes one thread.
            spread: with one member as driver, pass through the others too (forward only) for the spread.

        Raises:
            StructureError: an element is unknown to the ensemble.
            InputError: there is no such member.
        """
        check_driver(driver, self.members)
        if driver != "mean" and not spread:
            return self.select([driver]).force_model(composition)
        weights = np.full(self.members, 1.0 / self.members)
        if driver != "mean":
            weights = np.eye(self.members)[driver]
        return CompiledForceModel(self._evaluator(composition.numbers), weights)

    def batched_force_model(self, composition: Composition, driver: Driver, device: torch.device) -> BatchedForceModel:
        """Return what drives many trajectories of one composition together; see `BatchedForceModel`.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        from alflow.potentials.ani.batched import BatchedForceModel  # noqa: PLC0415 - torch is heavy

        return BatchedForceModel(self, composition, device, driver=driver)

    def _evaluator(self, numbers: IntArray) -> Evaluator:
        """Bind to one composition.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        species = self.functions.species(numbers)
        return Evaluator(self.functions.packed, self.networks.packed(), self.self_energies, species)

    def save(self, path: Path) -> None:
        """Write all members to one file, which `load` and ``torch.load(weights_only=True)`` can read."""
        import torch  # noqa: PLC0415 - torch is heavy, and driving a trajectory does without

        functions = {name: getattr(self.functions, name) for name in SymmetryFunctions.__dataclass_fields__}
        content: dict[str, Any] = {
            "functions": functions,
            "activation": self.networks.activation,
            "weights": [[torch.from_numpy(layer) for layer in element] for element in self.networks.weights],
            "biases": [[torch.from_numpy(layer) for layer in element] for element in self.networks.biases],
            "self_energies": torch.from_numpy(self.self_energies),
        }
        write_weights(path, FORMAT, content)

    @classmethod
    def load(cls, path: Path) -> ANIEnsemble:
        """Read what `save` wrote.

        Raises:
            InputError: the file holds something else.
        """
        hint = "Import a TorchANI model with alflow.potentials.ani.interop.from_torchani."
        content = read_weights(path, FORMAT, hint)
        networks = Networks(
            tuple(tuple(layer.numpy() for layer in element) for element in content["weights"]),
            tuple(tuple(layer.numpy() for layer in element) for element in content["biases"]),
            content["activation"],
        )
        return cls(SymmetryFunctions(**content["functions"]), networks, content["self_energies"].numpy())


def join(parts: Sequence[ANIEnsemble]) -> ANIEnsemble:
    """Return one ensemble of the members of several, in order.

    Raises:
        InputError: they differ in elements, symmetry functions or layers.
    """
    first = parts[0]
    for part in parts[1:]:
        same = part.functions == first.functions and part.networks.hidden == first.networks.hidden
        if not same or part.networks.activation != first.networks.activation:
            raise InputError(
                "Ensembles can be joined if their symmetry functions, hidden layers and activations are the same: "
                f"{part.functions.elements} {part.networks.hidden} {part.networks.activation} differs from "
                f"{first.functions.elements} {first.networks.hidden} {first.networks.activation}. "
                "Train all members with the same settings on the same elements."
            )
    elements, layers = range(len(first.networks.weights)), range(len(first.networks.weights[0]))
    networks = [part.networks for part in parts]
    joined = Networks(
        tuple(tuple(np.concatenate([n.weights[e][h] for n in networks]) for h in layers) for e in elements),
        tuple(tuple(np.concatenate([n.biases[e][h] for n in networks]) for h in layers) for e in elements),
        first.networks.activation,
    )
    return ANIEnsemble(first.functions, joined, np.concatenate([part.self_energies for part in parts]))
