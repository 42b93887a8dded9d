"""What a batch of pulls holds on its device: the replicas, the constants of their equations, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from alflow.config.sampling import PullSettings
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.md import thermostatted_atoms
from alflow.sampling.sanity import FARTHEST_ANGSTROM, FASTEST_ANGSTROM_PER_PS, NEAREST_ANGSTROM
from alflow.sampling.velocities import EV_PER_AMU_ANGSTROM2_PER_FS2, masses_amu
from alflow.types import Composition, MDState
from alflow.units import BOLTZMANN_EV_PER_K, FS_IN_PS

SLACK_ANGSTROM = 1e-3
"""LAMMPS's `fix smd` leaves out what the spring does when it is nearer to its rest length than this."""
COLDEST_K = 1e-30
"""Atoms at rest have no temperature to be scaled from."""


@dataclass(frozen=True)
class Replicas:
    """R replicas; the tensors are written in place, so that a CUDA graph finds them again."""

    positions: Tensor
    """(R, A, 3) Å."""
    velocities: Tensor
    """(R, A, 3) Å/fs."""
    forces: Tensor
    """(R, A, 3) eV/Å of model and spring."""
    model_forces: Tensor
    """(R, A, 3) eV/Å."""
    energies: Tensor
    """(R,) eV."""
    spreads: Tensor
    """(R,) eV."""
    targets: Tensor
    """(R,) Å, rest length of the spring in the next step."""
    work: Tensor
    """(R,) eV."""
    temperatures: Tensor
    """(R,) K, before the thermostat acts."""
    sound: Tensor
    """(R,) whether the replica goes on."""
    ended: Tensor
    """(R,) step at which it did not; -1 while it does."""
    step: Tensor
    """() number of the step."""

    @classmethod
    def of(cls, states: Sequence[MDState], spring: Distance, device: torch.device) -> Self:
        """Return replicas at the given states."""
        steering = [state.steering or spring.start(state.positions) for state in states]
        positions, velocities, targets, work = (
            torch.from_numpy(np.array(values, dtype=np.float64)).to(device)
            for values in (
                [state.positions for state in states],
                [state.velocities for state in states],
                [state.target for state in steering],
                [state.work for state in steering],
            )
        )
        zeros = torch.zeros_like
        return cls(
            positions=positions,
            velocities=velocities,
            forces=zeros(positions),
            model_forces=zeros(positions),
            energies=zeros(work),
            spreads=zeros(work),
            targets=targets,
            work=work,
            temperatures=zeros(work),
            sound=torch.ones_like(work, dtype=torch.bool),
            ended=torch.full_like(work, -1, dtype=torch.int64),
            step=torch.tensor(states[0].step, device=device),
        )

    def recorded(self) -> tuple[Tensor, ...]:
        """Return what a record holds: positions, the model's forces, energy, spread, target, work, temperature."""
        one = (self.positions, self.model_forces, self.energies, self.spreads)
        return (*one, self.targets, self.work, self.temperatures)

    def copy(self) -> Self:
        """Return a copy."""
        return type(self)(*(getattr(self, field.name).clone() for field in fields(self)))

    def restore(self, other: Self) -> None:
        """Take over all values of another."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))

    def take(self, sound: Tensor, **values: Tensor) -> None:
        """Take over values for the replicas that are sound, and leave the others as they were."""
        for name, value in values.items():
            old: Tensor = getattr(self, name)
            old.copy_(torch.where(sound.view(-1, *[1] * (old.dim() - 1)), value, old))
        self.sound.copy_(sound)


@dataclass(frozen=True)
class Tried:
    """What replicas were about to become at the step that ended them."""

    positions: Tensor
    velocities: Tensor
    energies: Tensor
    forces: Tensor

    @classmethod
    def like(cls, replicas: Replicas) -> Self:
        """Return room for as many."""
        same = torch.zeros_like
        return cls(*map(same, (replicas.positions, replicas.velocities, replicas.energies, replicas.forces)))

    def keep(self, ending: Tensor, *values: Tensor) -> None:
        """Keep positions, velocities, energies and forces of the replicas (R,) that end now."""
        for field, value in zip(fields(self), values, strict=True):
            old: Tensor = getattr(self, field.name)
            old.copy_(torch.where(ending.view(-1, *[1] * (old.dim() - 1)), value, old))


@dataclass(frozen=True)
class Constants:
    """Of the equations of motion."""

    inverse_masses: Tensor
    """(A, 1) Å²/(fs² eV)."""
    heated: Tensor
    """(A, 1) 1 for atoms that feel the thermostat, 0 for others."""
    pair: tuple[int, int]
    sides: Tensor
    """(A, 1) the spring's sign: -1 for the first pulled atom, 1 for the second, 0 for others."""
    stiffness: float
    """eV/Å²."""
    growth: float
    """Å a step."""
    temperature_k: float
    coupling: float
    """Time step over the thermostat's relaxation time."""
    heated_freedom: int
    """Degrees of freedom of the atoms that feel the thermostat; 0 if there are none."""
    freedom: int
    fastest: float = FASTEST_ANGSTROM_PER_PS * FS_IN_PS
    """Å/fs."""

    @classmethod
    def of(cls, composition: Composition, spring: Distance, settings: PullSettings, device: torch.device) -> Self:
        """Return those of a molecule, its spring and its settings.

        Raises:
            StructureError: a pulled atom is no atom of the molecule.
        """
        atoms, others = len(composition), thermostatted_atoms(composition.numbers, spring.atoms)
        columns = np.zeros((3, atoms, 1))
        columns[0, :, 0] = 1.0 / (masses_amu(composition.numbers) * EV_PER_AMU_ANGSTROM2_PER_FS2)
        columns[1, others] = 1.0
        columns[2, list(spring.pair), 0] = -1.0, 1.0
        inverse_masses, heated, sides = torch.from_numpy(columns).to(device)
        return cls(
            inverse_masses=inverse_masses,
            heated=heated,
            pair=spring.pair,
            sides=sides,
            stiffness=settings.spring_ev_per_angstrom2,
            growth=spring.growth,
            temperature_k=settings.temperature_k,
            coupling=settings.timestep_fs / settings.damping_fs,
            heated_freedom=3 * len(others) - 3 if len(others) else 0,
            freedom=max(3 * atoms - 3, 3),
        )

    def spring(self, positions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spring's forces (R,) eV/Å, positive where it pushes, and what they act along, (R, A, 3)."""
        apart = positions[:, self.pair[1]] - positions[:, self.pair[0]]
        distance = apart.norm(dim=1)
        stretched = targets - distance
        pushes = self.stiffness * stretched * (stretched.abs() > SLACK_ANGSTROM)
        return pushes, self.sides * (apart / distance[:, None])[:, None]

    def temperatures(self, velocities: Tensor) -> Tensor:
        """Return (R,) K: T = Σ m v² / (k (3A - 3))."""
        return (velocities**2 / self.inverse_masses).sum((1, 2)) / (self.freedom * BOLTZMANN_EV_PER_K)

    def damping(self, velocities: Tensor) -> Tensor:
        """Return the thermostat's factors (R, A): sqrt(1 + (Δt/τ) (T₀/T - 1)), and 1 for atoms that do not feel it."""
        if not self.heated_freedom:
            return torch.ones_like(velocities[..., 0])
        twice_kinetic = (self.heated * velocities**2 / self.inverse_masses).sum((1, 2))
        present = (twice_kinetic / (self.heated_freedom * BOLTZMANN_EV_PER_K)).clamp(min=COLDEST_K)
        factor = (1.0 + self.coupling * (self.temperature_k / present - 1.0)).sqrt()
        return 1.0 + self.heated[:, 0] * (factor[:, None] - 1.0)


def too_far(positions: Tensor) -> Tensor:
    """Say of which replicas (R,) an atom has left the others or collapsed into another; see `sanity.distance_fault`."""
    atoms = positions.shape[1]
    if atoms < 2:
        return torch.zeros_like(positions[:, 0, 0], dtype=torch.bool)
    apart = (positions[:, None] - positions[:, :, None]).square().sum(-1)
    apart = apart + 4.0 * FARTHEST_ANGSTROM**2 * torch.eye(atoms, dtype=apart.dtype, device=apart.device)
    nearest = apart.amin(2)
    return (nearest.amax(1) > FARTHEST_ANGSTROM**2) | (nearest.amin(1) < NEAREST_ANGSTROM**2)
