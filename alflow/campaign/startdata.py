"""First data of files: structures that are labelled, and labels that one has already."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alflow.campaign.plan import Plan
from alflow.errors import ConfigError
from alflow.files.targets import cause, shown
from alflow.ledger import Ledger
from alflow.ledger.imports import import_labels, labelled_rows
from alflow.runs.directory import RunDirectory
from alflow.runs.startdata import LabelsNote, NumberedFrames, StartFolder, digest_of, load_structures
from alflow.structures import StructureFile, group_rows, read_structures
from alflow.types import Composition, Frames

LEAST_FRAMES = 2
"""One to learn from, one to validate."""


@dataclass(frozen=True)
class GivenData:
    """Structures and labels of files that a campaign starts from."""

    structures: tuple[NumberedFrames, ...] = ()
    """To be labelled, numbered as in their file."""
    labels: StructureFile | None = None
    """Labelled structures; None where there are none, or where they were taken in before and their file has gone."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """Digests, by what they are of."""
    notes: tuple[str, ...] = ()
    """Sentences on what the files hold and was ignored, or looks doubtful."""

    @property
    def frames(self) -> int:
        """Structures to be labelled."""
        return sum(len(part.frames) for part in self.structures)


def read_given(plan: Plan, run: RunDirectory, theory: str) -> GivenData:
    """Read the files of `first_data`, or what the run keeps of them, and check them. Nothing is written.

    Args:
        plan: of the campaign.
        run: its directory, new or not.
        theory: fingerprint of its label engine.

    Raises:
        InputError: a file cannot be read, or holds what the campaign cannot start from.
    """
    structures, notes = _structures(plan, run)
    labels, digest = _labels(plan, run, theory)
    identity = {"file of first structures": digest_of(structures)} if structures else {}
    if digest:
        identity["file of first labels"] = digest
    given = GivenData(structures, labels, identity, (*notes, *(labels.notes if labels is not None else ())))
    if labels is not None or not digest:
        _check_molecules(plan, given)
    return given


def take_labels(plan: Plan, run: RunDirectory, ledger: Ledger, given: GivenData, theory: str, start_ev: float) -> None:
    """Put given labels into the ledger, as imports of iteration 0; those that are there stay as they are.

    Args:
        plan: of the campaign.
        run: its directory, which keeps a note of them.
        ledger: where they go.
        given: the files.
        theory: fingerprint of the label engine, under which they count.
        start_ev: energy of the first starting structure by that engine, eV: the unit of the others is told by it.

    Raises:
        InputError: they cannot be right.
    """
    folder, settings = StartFolder.of(run), plan.settings.first_data
    if given.labels is None or folder.labels() is not None:
        return
    import_labels(
        ledger,
        given.labels.path,
        theory,
        trusted=settings.labels_theory == "own",
        created=time.time(),
        charge=plan.molecules[0].composition.charge,
        elements=plan.elements,
        max_offset_ev=plan.settings.labels.max_energy_offset_ev,
        usual={plan.molecules[0].composition: start_ev},
    )
    labelled = sum(one.energy is not None for one in given.labels.structures)
    digest = given.identity["file of first labels"]
    folder.keep_labels(LabelsNote(str(given.labels.path), digest, labelled, settings.labels_theory))


def _structures(plan: Plan, run: RunDirectory) -> tuple[tuple[NumberedFrames, ...], tuple[str, ...]]:
    """Return the structures of the file, or the run's own copy of them where the file has gone."""
    path, kept = plan.settings.first_data.structures, StartFolder.of(run).structures
    if path is None:
        return (), ()
    if not Path(path).exists() and kept.exists():
        return load_structures(kept), (f"{shown(Path(path))} is not there any more; the run goes on from its copy.",)
    found = read_structures(path)
    for row, one in enumerate(found.structures):
        _check_learnable(plan, found.place(row), one.atoms.get_chemical_symbols(), one.charge)
    parts = tuple(
        NumberedFrames(
            Frames(composition, np.array([found.structures[row].atoms.positions for row in rows])),
            np.array(rows, dtype=np.int64),
        )
        for composition, rows in group_rows(found.structures).items()
    )
    return parts, found.notes


def _labels(plan: Plan, run: RunDirectory, theory: str) -> tuple[StructureFile | None, str]:
    """Return the file of labels and its digest; no file where it has gone and was taken in before."""
    settings = plan.settings.first_data
    if settings.labels is None:
        return None, ""
    path, before = Path(settings.labels), StartFolder.of(run).labels()
    if not path.exists() and before is not None:
        return None, before.digest
    found = read_structures(path, labels="required")
    trusted = settings.labels_theory == "own"
    rows = labelled_rows(
        found,
        theory,
        trusted=trusted,
        charge=plan.molecules[0].composition.charge,
        elements=plan.elements,
        cure='first_data.labels_theory = "own"',
    )
    if not rows:
        raise ConfigError(f"first_data.labels: a campaign learns from labels; {shown(path)} holds none.")
    try:
        return found, hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"first_data.labels: {shown(path)} cannot be read: {cause(error)}.") from error


def _check_learnable(plan: Plan, place: str, symbols: list[str], charge: int) -> None:
    """Refuse a structure that the campaign's potential is not of."""
    strange = sorted(set(symbols) - set(plan.elements))
    own = plan.molecules[0].composition.charge
    if strange or charge != own:
        what = f"has {strange[0]}" if strange else f"has the charge {charge}"
        raise ConfigError(
            "first_data.structures: structures are of the elements and the charge of the molecules that are pulled "
            f"({', '.join(plan.elements)}; {own}); {place} {what}. Leave it out."
        )


def _check_molecules(plan: Plan, given: GivenData) -> None:
    """Refuse first data that lack a molecule that is pulled, unless a base brings it."""
    settings = plan.settings
    if settings.base is not None or not (given.structures or given.labels is not None):
        return
    labelled = [one for one in given.labels.structures if one.energy is not None] if given.labels is not None else []
    counts = Counter(one.composition for one in labelled)
    for part in given.structures:
        counts[part.frames.composition] += len(part.frames)
    names = [settings.first_data.structures, settings.first_data.labels]
    files = " and ".join(shown(Path(name)) for name in names if name is not None)
    for molecule in plan.molecules:
        if not counts[molecule.composition]:
            raise ConfigError(
                "first_data: first data hold every molecule that is pulled, its atoms in the same order; "
                f"{files} {'hold' if ' and ' in files else 'holds'} none of {molecule.name}"
                f"{_same_atoms(molecule.composition, counts)}."
            )
    if counts.total() < LEAST_FRAMES:
        raise ConfigError(
            f"first_data: a potential learns from {LEAST_FRAMES} structures at least, one of which validates; {files} "
            f"has {counts.total()}."
        )


def _same_atoms(composition: Composition, counts: Counter[Composition]) -> str:
    """Say how many structures have the atoms of a molecule in another order, or its atoms with another spin."""
    alike = sum(n for one, n in counts.items() if sorted(one.numbers) == sorted(composition.numbers))
    return f" ({alike} of the same atoms, in another order or with another spin)" if alike else ""
