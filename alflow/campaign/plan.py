"""What a campaign will do: structures, pulls, segments, seeds. Nothing is run here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from alflow.config.campaign import CampaignSettings
from alflow.config.sampling import PullSettings
from alflow.errors import ConfigError, StructureError
from alflow.sampling.steering import SteeringReference
from alflow.structures import alkane, read_structure
from alflow.types import FloatArray, Frames, IntArray


@dataclass(frozen=True)
class Molecule:
    """A starting structure, and what it is steered along."""

    name: str
    numbers: IntArray
    positions: FloatArray = field(repr=False)
    """(A, 3) Å."""
    charge: int
    steering: SteeringReference = field(repr=False)
    steered: tuple[int, ...]
    """The atoms that define the coordinate, counted from 0."""


@dataclass(frozen=True)
class PullSpec:
    """One pull of an iteration; its reference has the same index."""

    index: int
    molecule: Molecule
    replica: int
    """Number of the velocity seed."""
    settings: PullSettings

    @property
    def steering(self) -> SteeringReference:
        """What steers the molecule."""
        return self.molecule.steering

    @property
    def name(self) -> str:
        """Name for people: molecule, replica, rate."""
        return f"{self.molecule.name} replica {self.replica} at {self.settings.rate_angstrom_per_ps:g} Å/ps"


def molecules(settings: CampaignSettings) -> tuple[Molecule, ...]:
    """Build the starting structures.

    Raises:
        ConfigError: a structure does not have what the coordinate needs.
    """
    system = settings.system
    if system.structure is not None:
        frames = read_structure(Path(system.structure))
        found = [(Path(system.structure).stem, frames)]
    else:
        found = [(f"C{n}", alkane(n)) for n in system.carbons]
    return tuple(_molecule(settings, name, frames) for name, frames in found)


def fingerprint(settings: CampaignSettings) -> str:
    """Return a digest of atoms, positions (to 1e-6 Å), charges and steered atoms of all starting structures."""
    digest = hashlib.sha256()
    for molecule in molecules(settings):
        positions = np.round(molecule.positions, 6) + 0.0
        digest.update(molecule.numbers.astype("<i8").tobytes() + positions.astype("<f8").tobytes())
        digest.update(repr((molecule.charge, tuple(map(int, molecule.steered)))).encode())
    return digest.hexdigest()


def _molecule(settings: CampaignSettings, name: str, frames: Frames) -> Molecule:
    system, sampling = settings.system, settings.sampling
    start = Frames(frames.numbers, frames.positions[:1], system.charge)
    steering = SteeringReference(sampling.coordinate, sampling.coordinate_settings, start, system.pulled_atoms)
    try:
        steered = steering.bind(sampling.pull).atoms
    except StructureError as error:
        raise ConfigError(f"sampling.coordinate {sampling.coordinate!r}, {name}: {error}") from error
    return Molecule(name, start.numbers, start.positions[0], system.charge, steering, steered)


def pulls(settings: CampaignSettings) -> tuple[PullSpec, ...]:
    """List the pulls of every iteration: molecules × rates × replicas, in this order."""
    sampling = settings.sampling
    rates = sampling.rates_angstrom_per_ps or (sampling.pull.rate_angstrom_per_ps,)
    variants = [
        (molecule, sampling.pull.model_copy(update={"rate_angstrom_per_ps": rate}), replica)
        for molecule in molecules(settings)
        for rate in rates
        for replica in range(sampling.replicas)
    ]
    return tuple(PullSpec(index, molecule, replica, pull) for index, (molecule, pull, replica) in enumerate(variants))


def systems(settings: CampaignSettings) -> tuple[str, ...]:
    """Name each molecule and rate in the order of the pulls, of which each has `sampling.replicas` in a row."""
    firsts = [spec for spec in pulls(settings) if spec.replica == 0]
    many_rates = len({spec.settings.rate_angstrom_per_ps for spec in firsts}) > 1
    rates = [f" at {spec.settings.rate_angstrom_per_ps:g} Å/ps" if many_rates else "" for spec in firsts]
    return tuple(spec.molecule.name + rate for spec, rate in zip(firsts, rates, strict=True))


def elements(settings: CampaignSettings) -> tuple[str, ...]:
    """Return the symbols of all elements in the campaign, by atomic number."""
    numbers = np.unique(np.concatenate([molecule.numbers for molecule in molecules(settings)]))
    return tuple(chemical_symbols[number] for number in numbers)


def segment_lengths(steps: int, segment_steps: int) -> tuple[int, ...]:
    """Cut a trajectory into tasks: all of `segment_steps` but the last."""
    full, rest = divmod(steps, segment_steps)
    return (segment_steps,) * full + ((rest,) if rest else ())
