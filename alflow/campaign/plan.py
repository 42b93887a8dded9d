"""Plan of a campaign: structures, pulls, segments, seeds. Nothing is run here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from alflow.acquisition.seeds import seed_sequence
from alflow.config.campaign import CampaignSettings, SystemSettings
from alflow.config.colvars import ByColvarsSettings
from alflow.config.sampling import PullSettings
from alflow.errors import ConfigError, StructureError
from alflow.sampling.steering import SteeringReference
from alflow.structures import BOND_FACTOR, Structure, alkane, bonds, check_structure, read_structure, read_structures
from alflow.types import Composition, FloatArray, Frames, IntArray


@dataclass(frozen=True)
class Molecule:
    """A starting structure, and what it is steered along."""

    name: str
    composition: Composition
    positions: FloatArray = field(repr=False)
    """(A, 3) Å."""
    steering: SteeringReference = field(repr=False)
    steered: tuple[int, ...]
    """The atoms that define the coordinate, counted from 0."""

    @property
    def variable(self) -> tuple[str, str]:
        """Name and unit of the coordinate."""
        settings = self.steering.settings
        if isinstance(settings, ByColvarsSettings):
            return settings.names[0], settings.unit
        return ("distance", "Å") if self.steering.kind == "distance" else (self.steering.kind, "its unit")

    @property
    def loose(self) -> tuple[int, ...]:
        """The atoms that the event lets go of one by one: of those that define the coordinate, the ones at an end.

        An atom that has but one neighbour, as in H-Cl or a C-H bond, is a fragment of its own once that is gone.
        """
        neighbours = np.bincount(bonds(self.numbers, self.positions, BOND_FACTOR).ravel(), minlength=len(self.numbers))
        return tuple(atom for atom in self.steered if neighbours[atom] <= 1)

    @property
    def numbers(self) -> IntArray:
        """(A,) atomic numbers."""
        return self.composition.numbers


@dataclass(frozen=True)
class PullSpec:
    """One pull of an iteration; its reference has the same index."""

    index: int
    molecule: Molecule
    replica: int
    """Number of the velocity seed."""
    settings: PullSettings
    window: int = 0
    """Which of the windows of an umbrella bias."""
    noise: int = 0
    """Seed of the noise of its thermostat."""

    @property
    def steering(self) -> SteeringReference:
        """What steers the molecule."""
        return self.molecule.steering.in_window(self.window)

    @property
    def variant(self) -> str:
        """What tells it from others of its molecule: the rate of the spring, or the window; empty for neither."""
        settings = self.molecule.steering.settings
        if not isinstance(settings, ByColvarsSettings):
            return f" at {self.settings.rate_angstrom_per_ps:g} Å/ps"
        return f" in window {self.window}{settings.place(self.window)}" if settings.bias.windows > 1 else ""

    @property
    def steered(self) -> tuple[int, ...]:
        """The atoms that the thermostat of the paper leaves alone; none where all are at a temperature."""
        return () if self.settings.thermostat == "langevin" else self.molecule.steered

    @property
    def name(self) -> str:
        """Name for people: molecule, replica, rate or window."""
        return f"{self.molecule.name} replica {self.replica}{self.variant}"


@dataclass(frozen=True)
class Plan:
    """What a campaign will do. Made once, from the settings and the files that they name, and handed down."""

    settings: CampaignSettings
    molecules: tuple[Molecule, ...]
    pulls: tuple[PullSpec, ...]
    """All pulls: molecules × rates × windows × replicas, in this order; a search iteration has part of them."""
    notes: tuple[str, ...] = ()
    """What the structure file holds and was ignored, or looks doubtful."""

    def pulls_of(self, replicas: int | None) -> tuple[PullSpec, ...]:
        """Return the pulls of the first so many replicas of each molecule and rate; all for None."""
        return tuple(spec for spec in self.pulls if replicas is None or spec.replica < replicas)

    @property
    def systems(self) -> tuple[str, ...]:
        """The name of each molecule and rate in the order of the pulls, which has the replicas of each in a row."""
        firsts = [spec for spec in self.pulls if spec.replica == 0]
        several = len({spec.variant for spec in firsts}) > 1
        return tuple(spec.molecule.name + spec.variant * several for spec in firsts)

    @property
    def elements(self) -> tuple[str, ...]:
        """The symbols of all elements, by atomic number."""
        numbers = np.unique(np.concatenate([molecule.numbers for molecule in self.molecules]))
        return tuple(chemical_symbols[number] for number in numbers)

    @property
    def fingerprint(self) -> str:
        """A digest of atoms, positions (to 1e-6 Å), charges, spins and steered atoms of all starting structures."""
        digest = hashlib.sha256()
        for molecule in self.molecules:
            composition, positions = molecule.composition, np.round(molecule.positions, 6) + 0.0
            spin = () if composition.is_lowest else (composition.multiplicity,)
            digest.update(composition.numbers.astype("<i8").tobytes() + positions.astype("<f8").tobytes())
            digest.update(repr((composition.charge, tuple(map(int, molecule.steered)), *spin)).encode())
        return digest.hexdigest()


def make_plan(settings: CampaignSettings) -> Plan:
    """Build the starting structures, and list the pulls.

    Raises:
        InputError: a structure cannot be read, or does not have what the coordinate needs.
    """
    molecules, notes = _molecules(settings)
    return Plan(settings, molecules, _pulls(settings, molecules), notes)


def _molecules(settings: CampaignSettings) -> tuple[tuple[Molecule, ...], tuple[str, ...]]:
    """Return the starting structures, and sentences on what their file holds and was ignored."""
    system = settings.system
    if system.structure is None:
        built = [(f"C{n}", _charged(alkane(n), system, f"C{n}")) for n in system.carbons]
        return tuple(_molecule(settings, name, frames) for name, frames in built), ()
    return _molecules_of_file(settings, Path(system.structure))


def _molecules_of_file(settings: CampaignSettings, path: Path) -> tuple[tuple[Molecule, ...], tuple[str, ...]]:
    """Return the starting structures of a file: its first frame, or, each with its number in its name, all of them."""
    if settings.system.frames == "first":
        frames, notes = read_structure(path)
        return (_molecule(settings, path.stem, _charged(frames, settings.system, str(path))),), notes
    found = read_structures(path)
    molecules = []
    for row, one in enumerate(found.structures):
        frames = Frames(one.composition, np.ascontiguousarray(one.atoms.positions[None], dtype=np.float64))
        check_structure(frames, place=found.place(row))
        charged = _charged(frames, settings.system, found.place(row))
        pair = _pulled_atoms(one, found.place(row))
        molecules.append(_molecule(settings, f"{path.stem}-{row}", charged, pair))
    charges = {molecule.composition.charge for molecule in molecules}
    if len(charges) > 1:
        raise ConfigError(
            f"system.structure: a potential knows no charge, so all starting structures have the same; those of {path} "
            f"have {', '.join(f'{charge:+d}' for charge in sorted(charges))}."
        )
    return tuple(molecules), found.notes


def _pulled_atoms(one: Structure, place: str) -> tuple[int, int] | None:
    """Return the pair of atoms that a frame says are pulled apart; None where it says nothing.

    Raises:
        ConfigError: it says something else.
    """
    given = one.atoms.info.get("pulled_atoms")
    if given is None:
        return None
    values = np.asarray(given).ravel()
    if values.dtype.kind not in "iu" or len(values) != 2 or values.min() < 0 or values[0] == values[1]:
        raise ConfigError(
            f"system.structure: the entry pulled_atoms is two different atoms, counted from 0; that of {place} is "
            f"{given!r}."
        )
    return int(values[0]), int(values[1])


def _charged(frames: Frames, system: SystemSettings, place: str) -> Frames:
    """Return a structure with the charge and the multiplicity that the campaign names, where it names them.

    Raises:
        ConfigError: the structure names others.
    """
    own = frames.composition
    if system.charge not in (None, own.charge) and own.charge:
        raise ConfigError(
            f"system.charge: a molecule has one total charge; the campaign says {system.charge:+d} and {place} "
            f"{own.charge:+d}. Leave one of them out."
        )
    if system.multiplicity not in (None, own.multiplicity) and not own.is_lowest:
        raise ConfigError(
            f"system.multiplicity: a molecule has one; the campaign says {system.multiplicity} and {place} "
            f"{own.multiplicity}. Leave one of them out."
        )
    spin = system.multiplicity or (0 if own.is_lowest else own.multiplicity)
    try:
        return Frames.of(own.numbers, frames.positions, own.charge or system.charge or 0, spin)
    except StructureError as error:
        raise ConfigError(f"system.multiplicity: {error}") from error


def _molecule(
    settings: CampaignSettings, name: str, frames: Frames, pulled_atoms: tuple[int, int] | None = None
) -> Molecule:
    """Return a starting structure; `pulled_atoms`: those of the frame, where the settings name none."""
    system, sampling = settings.system, settings.sampling
    start, pair = frames.take(slice(1)), system.pulled_atoms or pulled_atoms
    steering = SteeringReference(sampling.coordinate, sampling.coordinate_settings, start, pair)
    try:
        steered = steering.bind(sampling.pull).atoms
    except StructureError as error:
        raise ConfigError(f"sampling.coordinate {sampling.coordinate!r}, {name}: {error}") from error
    return Molecule(name, start.composition, start.positions[0], steering, steered)


def _pulls(settings: CampaignSettings, molecules: tuple[Molecule, ...]) -> tuple[PullSpec, ...]:
    sampling = settings.sampling
    rates = sampling.rates_angstrom_per_ps or (sampling.pull.rate_angstrom_per_ps,)
    windows = 1 if sampling.bias is None else sampling.bias.windows
    variants = [
        (molecule, sampling.pull.model_copy(update={"rate_angstrom_per_ps": rate}), replica, window)
        for molecule in molecules
        for rate in rates
        for window in range(windows)
        for replica in range(sampling.replicas.certify)
    ]
    hot = sampling.pull.thermostat == "langevin"
    noise = [seed_words(settings, 0, "noise", *variant[2:])[0] if hot else 0 for variant in variants]
    return tuple(
        PullSpec(index, molecule, replica, pull, window, seed)
        for index, ((molecule, pull, replica, window), seed) in enumerate(zip(variants, noise, strict=True))
    )


def segment_lengths(steps: int, segment_steps: int) -> tuple[int, ...]:
    """Cut a trajectory into tasks: all of `segment_steps` but the last."""
    full, rest = divmod(steps, segment_steps)
    return (segment_steps,) * full + ((rest,) if rest else ())


def seed_words(settings: CampaignSettings, iteration: int, stage: str, *index: int) -> tuple[int, ...]:
    """Return the seed of one place in a campaign as plain integers, for a task that makes its own generator."""
    words = seed_sequence(settings.seed, iteration, stage, *index).generate_state(4)
    return tuple(int(word) for word in words)
