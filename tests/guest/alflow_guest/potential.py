"""A potential: Gaussians in the distances of all pairs of atoms, fitted by least squares to energies and forces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from alflow.config.base import Settings
from alflow.errors import InputError, StructureError
from alflow.potentials.protocol import PotentialKind
from alflow.potentials.weights import read_weights, write_weights
from alflow.types import Evaluation, Frames, Member, MemberErrors

FORMAT = "guest-pairs-1"


class PairSettings(Settings):
    """Gaussians in the distances of pairs."""

    gaussians: int = Field(default=12, ge=2)
    """Gaussians for each pair of elements, evenly from 0.5 to 5 Å."""
    regularisation: float = Field(default=1e-6, gt=0)
    """Of the least squares."""


@dataclass(frozen=True)
class Pairs:
    """M members over the same Gaussians."""

    elements: tuple[int, ...]
    gaussians: int
    coefficients: np.ndarray
    """(M, P, G) eV, P pairs of elements; and one energy an element behind them."""
    energies: np.ndarray
    """(M, E) eV."""

    @property
    def members(self) -> int:
        return len(self.coefficients)

    def evaluate(self, frames: Frames, threads: int = 1):
        del threads
        energies = np.zeros((self.members, len(frames)))
        forces = np.zeros((self.members, *frames.positions.shape))
        for row, positions in enumerate(frames.positions):
            energy, force = self._design(frames.numbers, positions)
            flat = np.concatenate([self.coefficients.reshape(self.members, -1), self.energies], axis=1)
            energies[:, row] = flat @ energy
            forces[:, row] = (flat @ force).reshape(self.members, -1, 3)
            if not np.isfinite(positions).all():
                energies[:, row] = forces[:, row] = np.nan
        return energies, forces

    def _design(self, numbers, positions):
        """Return what energy (K,) and forces (K, 3 A) are linear in the K coefficients by."""
        kinds = self._kinds(numbers)
        first, second = np.triu_indices(len(numbers), 1)
        along = positions[second] - positions[first]
        r = np.linalg.norm(along, axis=1)
        centres, width = np.linspace(0.5, 5.0, self.gaussians), 4.5 / (self.gaussians - 1)
        values = np.exp(-0.5 * ((r[:, None] - centres) / width) ** 2)
        slopes = -(r[:, None] - centres) / width**2 * values
        low, high = np.minimum(kinds[first], kinds[second]), np.maximum(kinds[first], kinds[second])
        pair = low * len(self.elements) + high
        size = len(self.elements) ** 2 * self.gaussians
        energy, force = np.zeros(size + len(self.elements)), np.zeros((size + len(self.elements), len(numbers), 3))
        for bond in range(len(r)):
            rows = slice(pair[bond] * self.gaussians, (pair[bond] + 1) * self.gaussians)
            energy[rows] += values[bond]
            push = slopes[bond][:, None] * along[bond] / r[bond]
            force[rows, first[bond]] += push
            force[rows, second[bond]] -= push
        energy[size:] = np.bincount(kinds, minlength=len(self.elements))
        return energy, force.reshape(len(force), -1)

    def _kinds(self, numbers):
        strange = set(numbers.tolist()) - set(self.elements)
        if strange:
            raise StructureError(f"The pairs know the elements {self.elements}; found {sorted(strange)}.")
        return np.searchsorted(self.elements, numbers)

    def force_model(self, composition, driver="mean", threads: int = 1):
        if driver != "mean" and not 0 <= driver < self.members:
            raise InputError(f"A driver is one of {self.members} members, or the mean; found {driver}.")
        self._kinds(composition.numbers)

        def model(positions, start=None):
            del start
            energies, forces = self.evaluate(Frames(composition, positions[None]), threads)
            energies, forces = energies[:, 0], forces[:, 0]
            spread = float(energies.std())
            if driver == "mean":
                return Evaluation(float(energies.mean()), forces.mean(axis=0), spread)
            return Evaluation(float(energies[driver]), forces[driver].copy(), spread)

        return model

    def select(self, members: Sequence[int]):
        rows = list(members)
        return Pairs(self.elements, self.gaussians, self.coefficients[rows], self.energies[rows])

    def save(self, path: Path) -> None:
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("coefficients", "energies")}
        write_weights(path, FORMAT, {"elements": list(self.elements), "gaussians": self.gaussians, **tensors})


class PairKind(PotentialKind[PairSettings]):
    """The potential `pairs`."""

    settings = PairSettings
    format: ClassVar[str] = FORMAT
    packages: ClassVar[tuple[str, ...]] = ("alflow-guest",)

    def train(self, dataset, splits, settings, training):
        elements = tuple(sorted({int(z) for group in dataset.groups for z in group.frames.numbers}))
        chosen = list(range(len(splits))) if training.members is None else list(training.members)
        size = len(elements) ** 2 * settings.gaussians + len(elements)
        blank = Pairs(elements, settings.gaussians, np.zeros((1, size - len(elements))), np.zeros((1, len(elements))))
        rows = [self._rows(blank, group) for group in dataset.groups]
        design = np.concatenate([part for part, _ in rows])
        target = np.concatenate([part for _, part in rows])
        found = []
        for member in chosen:
            left, right = (array[splits[member].train] for array in (design, target))
            left, right = left.reshape(-1, size), right.reshape(-1)
            matrix = left.T @ left + settings.regularisation * np.eye(size)
            found.append(np.linalg.solve(matrix, left.T @ right))
            if training.progress is not None:
                training.progress(len(found), len(chosen))
        flat = np.array(found)
        cut = size - len(elements)
        ensemble = Pairs(
            elements, settings.gaussians, flat[:, :cut].reshape(len(flat), -1, settings.gaussians), flat[:, cut:]
        )
        members = [self._member(ensemble, dataset, place, index, splits[index]) for place, index in enumerate(chosen)]
        return ensemble, tuple(members)

    def _rows(self, blank, group):
        """Return (F, 1 + 3 A, K) and (F, 1 + 3 A): each frame's energy and forces, and what they are linear in."""
        parts = [blank._design(group.frames.numbers, positions) for positions in group.frames.positions]
        design = np.array([np.vstack([energy, force.T]) for energy, force in parts])
        forces = group.labels.forces.reshape(len(group.frames), -1)
        return design, np.concatenate([group.labels.energies[:, None], forces], axis=1)

    def _member(self, ensemble, dataset, place, index, split):
        energies, forces = [], []
        for group in dataset.groups:
            energy, force = ensemble.evaluate(group.frames)
            energies.append(energy[place] - group.labels.energies)
            forces.append((force[place] - group.labels.forces).reshape(len(group.frames), -1))
        energy, force = np.concatenate(energies), np.concatenate(forces)

        def errors(rows):
            return MemberErrors(
                float(np.abs(energy[rows]).mean()),
                float(np.sqrt((energy[rows] ** 2).mean())),
                float(np.abs(force[rows]).mean()),
                float(np.sqrt((force[rows] ** 2).mean())),
            )

        every = np.arange(len(energy))
        return Member(index, split, errors(split.train), errors(split.valid), errors(every), 1, 1)

    def load(self, path):
        content = read_weights(path, FORMAT)
        arrays = (content[name].numpy() for name in ("coefficients", "energies"))
        return Pairs(tuple(content["elements"]), content["gaussians"], *arrays)

    def join(self, parts):
        first = parts[0]
        if any((part.elements, part.gaussians) != (first.elements, first.gaussians) for part in parts):
            raise InputError("Pairs can be joined if their elements and Gaussians are the same.")
        return Pairs(
            first.elements,
            first.gaussians,
            np.concatenate([part.coefficients for part in parts]),
            np.concatenate([part.energies for part in parts]),
        )

    def epochs(self, settings, *, carried_over):
        del settings, carried_over
        return 1

    def with_epochs(self, settings, epochs):
        del epochs
        return settings


KIND = PairKind()
