"""Labels of one's own into the ledger: all of a file's, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alflow.errors import InputError, LabelError
from alflow.files.targets import shown
from alflow.labeling.bounds import label_fault
from alflow.labeling.frames import require_plausible
from alflow.ledger.rows import LedgerRow, Origin
from alflow.ledger.writer import Ledger
from alflow.structures import LabelKeys, Structure, StructureFile, group_rows, read_structures
from alflow.structures.labels import USUAL_KEYS
from alflow.types import Composition, Frames
from alflow.units import HARTREE_IN_EV, KCAL_PER_MOL_IN_EV

UNITS = {"Hartree": HARTREE_IN_EV, "Rydberg": HARTREE_IN_EV / 2.0, "kcal/mol": KCAL_PER_MOL_IN_EV}
UNITS |= {"kJ/mol": KCAL_PER_MOL_IN_EV / 4.184}
"""Units that energies come in, eV."""
CLEARLY_OFF_EV = 10.0
"""Energies of a molecule that are this far from the usual ones, and ten times nearer in another unit, are in that."""


@dataclass(frozen=True)
class Imported:
    """What an import brought."""

    theory: str
    new: int
    known: int
    """Structures that had a label under this theory already; they are left as they are."""
    failed: int
    """Frames that say why they have no label."""
    notes: tuple[str, ...]
    """Sentences on what the file holds and was ignored, or looks doubtful."""


def import_labels(
    ledger: Ledger,
    path: Path,
    theory: str,
    *,
    trusted: bool = False,
    keys: LabelKeys = USUAL_KEYS,
    iteration: int = 0,
    created: float = 0.0,
    charge: int | None = None,
    elements: Collection[str] | None = None,
    max_offset_ev: float = 500.0,
    usual: Mapping[Composition, float] | None = None,
) -> Imported:
    """Take labels from a file: all of them, or none.

    Args:
        ledger: Where they go.
        path: The file: energies in eV, forces in eV/Å, positions in Å.
        theory: Fingerprint of the theory that the ledger's labels are of.
        trusted: Whether the user says that the file's labels are of it; otherwise each frame has to say so.
        keys: What energies and forces are called in the file.
        iteration: Iteration that they are part of; one that is not trained on yet, so that rows are only ever appended.
        created: Seconds since 1970 UTC.
        charge: Total charge that every frame must have; any if not given. A potential knows of none.
        elements: Symbols that the potential knows; any if not given.
        max_offset_ev: How far an energy may be from the usual one of the ledger's labels of the same molecule, eV.
        usual: Usual energies of molecules that the ledger has no label of, eV.

    Raises:
        InputError: the file cannot be read; a frame has another charge, element or theory, is implausible, or has a
            label that cannot be right. Nothing was imported.
    """
    found = read_structures(path, labels="required", keys=keys)
    rows = [row for row, one in enumerate(found.structures) if one.energy is not None]
    if not rows:
        raise InputError(f"An import brings labels; {shown(path)} holds none: every frame says why it has none.")
    for row in rows:
        _check_belongs(found, row, theory, trusted=trusted, charge=charge, elements=elements)
    _check_energies(ledger, theory, found, rows, max_offset_ev, usual or {})
    for row in rows:
        _check_sound(found, row)
    labelled = [found.structures[row] for row in rows]
    new = _unknown(ledger, theory, labelled)
    ledger.add(
        LedgerRow(
            theory=theory,
            composition=one.composition,
            positions=one.atoms.positions,
            origin=Origin("import", iteration, step=step),
            energy=one.energy,
            forces=one.forces,
            created=created,
        )
        for step, one in enumerate(new, start=_next_step(ledger, iteration))
    )
    ledger.commit()
    failed = len(found.structures) - len(rows)
    return Imported(theory, len(new), len(labelled) - len(new), failed, found.notes)


def labelled_rows(
    found: StructureFile,
    theory: str,
    *,
    trusted: bool,
    charge: int | None,
    elements: Collection[str] | None,
    cure: str = "--theory own",
) -> list[int]:
    """Return the rows of a file that have a label, each of which a ledger may take in; see `import_labels`.

    Raises:
        InputError: one of them is not of the theory, the charge or the elements, or cannot be right.
    """
    rows = [row for row, one in enumerate(found.structures) if one.energy is not None]
    for row in rows:
        _check_belongs(found, row, theory, trusted=trusted, charge=charge, elements=elements, cure=cure)
        _check_sound(found, row)
    return rows


def _check_belongs(
    found: StructureFile,
    row: int,
    theory: str,
    *,
    trusted: bool,
    charge: int | None,
    elements: Collection[str] | None,
    cure: str = "--theory own",
) -> None:
    """Refuse a frame that is none of this campaign's."""
    one, place = found.structures[row], found.place(row)
    strange = sorted(set(one.atoms.symbols) - set(elements)) if elements is not None else []
    if strange or charge not in (None, one.charge):
        what = f"has {strange[0]}" if strange else f"has the charge {one.charge}"
        raise InputError(
            "Labels of a campaign are of molecules that its potential can learn, of the elements and the charge it "
            f"began with; {place} {what}. Nothing was imported."
        )
    if not trusted and one.theory != theory:
        says = "names none" if one.theory is None else f"names {one.theory!r}"
        raise InputError(
            f"Labels of two theories do not mix; the ledger's are of {theory!r}, {place} {says}. If they are of the "
            f"same theory, say so with {cure}. Nothing was imported."
        )


def _check_sound(found: StructureFile, row: int) -> None:
    """Refuse a frame that no potential could learn from."""
    one, place = found.structures[row], found.place(row)
    assert one.energy is not None
    assert one.forces is not None
    try:
        require_plausible(one.atoms.positions)
    except LabelError as error:
        raise InputError(f"{error.detail} This is {place}. Nothing was imported.") from error
    fault = label_fault(one.atoms.numbers, one.energy, one.forces)
    if fault:
        raise InputError(f"{fault} This is {place}. Nothing was imported.")


def _check_energies(
    ledger: Ledger,
    theory: str,
    found: StructureFile,
    rows: Sequence[int],
    bound_ev: float,
    known: Mapping[Composition, float],
) -> None:
    """Refuse energies that are far from those that the ledger holds of the same molecule, or that are known of it."""
    groups = ledger.dataset(theory)[0].groups
    held = {group.frames.composition: float(np.median(group.labels.energies)) for group in groups}
    usual = {**known, **held}
    _check_unit(found, rows, usual)
    for row in rows:
        one = found.structures[row]
        here = usual.get(one.composition)
        assert one.energy is not None
        if here is None or abs(one.energy - here) <= bound_ev:
            continue
        meant, off = _nearest_unit(one.energy, here)
        hint = f" It would fit if it were in {meant}: convert it, and the forces." if off <= bound_ev else ""
        raise InputError(
            f"An energy, in eV, must lie within {bound_ev:g} eV of those that the ledger holds of the molecule "
            f"(labels.max_energy_offset_ev), about {here:.2f} eV; that of {found.place(row)} is {one.energy:.6g}.{hint}"
            " Nothing was imported."
        )


def _check_unit(found: StructureFile, rows: Sequence[int], usual: Mapping[Composition, float]) -> None:
    """Refuse energies that are those of the ledger in another unit, by their median of each molecule."""
    theirs: dict[Composition, list[float]] = {}
    for row in rows:
        theirs.setdefault(found.structures[row].composition, []).append(found.structures[row].energy or 0.0)
    for molecule, energies in theirs.items():
        if molecule not in usual:
            continue
        here, median = usual[molecule], float(np.median(energies))
        unit, off = _nearest_unit(median, here)
        if abs(median - here) > max(CLEARLY_OFF_EV, 10.0 * off):
            raise InputError(
                f"Energies are in eV; the ledger's of the molecule are about {here:.2f} eV, those of "
                f"{shown(found.path)} are about {median:.6g}. They would fit if they were in {unit}: convert them, and "
                "the forces. Nothing was imported."
            )


def _nearest_unit(energy: float, here_ev: float) -> tuple[str, float]:
    """Return the unit in which an energy comes nearest to another in eV, and how near that is, eV."""
    off = {unit: abs(energy * size - here_ev) for unit, size in UNITS.items()}
    unit = min(off, key=off.__getitem__)
    return unit, off[unit]


def _unknown(ledger: Ledger, theory: str, structures: Sequence[Structure]) -> list[Structure]:
    """Return the structures that have no label yet, each once, in the order of the file."""
    new: list[int] = []
    for composition, rows in group_rows(structures).items():
        positions = np.array([structures[row].atoms.positions for row in rows])
        known = ledger.lookup(theory, Frames(composition, positions))
        new.extend(rows[place] for place in (*known.missing, *known.failed))
    return [structures[row] for row in sorted(new)]


def _next_step(ledger: Ledger, iteration: int) -> int:
    sql = "SELECT coalesce(max(step) + 1, 0) FROM origins WHERE kind = 'import' AND iteration = ?"
    return int(ledger.query(sql, (iteration,)).fetchone()[0])
