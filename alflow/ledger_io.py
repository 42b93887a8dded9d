"""Labels out of the ledger into files of other programs, and a user's own labels into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, get_args

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from alflow.errors import InputError
from alflow.files.targets import shown, writing
from alflow.ledger import ORIGIN_KINDS, Ledger, LedgerReader, LedgerRow, Origin, OriginKind
from alflow.types import Dataset, Frames
from alflow.units import HARTREE_IN_EV

ExportFormat = Literal["extxyz", "ase-db", "torchani-h5", "npz"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)


def export_labels(
    ledger: LedgerReader,
    path: Path,
    form: ExportFormat,
    *,
    theory: str | None = None,
    kinds: Sequence[OriginKind] = ORIGIN_KINDS,
    overwrite: bool = False,
) -> int:
    """Write all labels of one theory in canonical order; return how many. The file appears whole or not at all.

    - `extxyz`: extended XYZ, eV and Å, numbers to the last bit, theory and origin in each comment line.
    - `ase-db`: ASE's SQLite database, origin as keys, theory in its metadata.
    - `torchani-h5`: TorchANI's data set, grouped by formula, Hartree and Hartree/Å, float64.
    - `npz`: arrays by composition: numbers_0, charge_0, positions_0, energies_0, forces_0, kind_0, origin_0 (iteration,
      replica, step, jitter), and theory.

    Args:
        ledger: Where the labels are.
        path: File to write.
        form: Format.
        theory: Fingerprint of the theory; may be left out if the ledger has one only.
        kinds: Origins that count.
        overwrite: Whether the file may exist.

    Raises:
        InputError: the file exists, the theory is not in the ledger or not named, the format cannot hold a structure.
    """
    if path.is_file() and not overwrite:
        raise InputError(
            f"An export does not overwrite a file; {shown(path)} exists. Name another, or allow overwriting."
        )
    named = _theory(ledger, theory)
    with writing(path, "The export") as partial:
        return _EXPORTERS[form](ledger, partial, named, kinds)


@dataclass(frozen=True)
class Imported:
    """What an import brought."""

    theory: str
    new: int
    known: int
    """Structures that had a label under this theory already; they are left as they are."""


def import_extxyz(
    ledger: Ledger,
    path: Path,
    theory: str | None = None,
    *,
    iteration: int = 0,
    created: float = 0.0,
    charge: int | None = None,
    elements: Collection[str] | None = None,
) -> Imported:
    """Take labels from an extended XYZ file (energy eV, forces eV/Å, positions Å): all of them, or none.

    Args:
        ledger: Where they go.
        path: The file. A frame may name its total charge (`charge`) and its theory (`theory`) in the comment line.
        theory: Fingerprint of the theory; may be left out if every frame names it.
        iteration: Iteration that they are part of; one that is not trained on yet, so that rows are only ever appended.
        created: Seconds since 1970 UTC.
        charge: Total charge that every frame must have; any if not given. A potential knows of none.
        elements: Symbols that the potential knows; any if not given.

    Raises:
        InputError: the file cannot be read, a frame has another charge or element, has no finite energy and forces or
            is periodic, theories mix.
    """
    read = list(_read(path))
    for frame, (atoms, _) in enumerate(read):
        strange = sorted(set(atoms.symbols) - set(elements)) if elements is not None else []
        if strange or charge not in (None, _charge(atoms)):
            what = f"has {strange[0]}" if strange else f"has the charge {_charge(atoms)}"
            raise InputError(
                "Labels of a campaign are of molecules that its potential can learn, of the elements and the charge "
                f"it began with; frame {frame} (from 0) of {path} {what}. Nothing was imported."
            )
    named = _one_theory(path, theory, [frame_theory for _, frame_theory in read])
    others = [other for other in ledger.theories() if other != named]
    if others and named not in ledger.theories():
        raise InputError(
            f"Labels of two theories do not mix; the ledger {ledger.path} holds labels of {others[0]!r}, {path} has "
            f"labels of {named!r}. Import them into a campaign of that theory."
        )
    new = _unknown(ledger, named, [atoms for atoms, _ in read])
    ledger.add(
        LedgerRow(
            theory=named,
            numbers=atoms.numbers.astype(np.int64),
            positions=atoms.positions,
            charge=_charge(atoms),
            origin=Origin("import", iteration, step=step),
            energy=float(atoms.get_potential_energy()),
            forces=atoms.get_forces(apply_constraint=False),
            created=created,
        )
        for step, atoms in enumerate(new, start=_next_step(ledger, iteration))
    )
    ledger.commit()
    return Imported(named, len(new), len(read) - len(new))


def _theory(ledger: LedgerReader, theory: str | None) -> str:
    known = ledger.theories()
    if theory is None and len(known) == 1:
        return known[0]
    if theory is None or theory not in known:
        found = "none is named" if theory is None else f"{theory!r} is named"
        raise InputError(
            f"An export holds labels of one theory; {found}, and {ledger.path} holds {', '.join(known) or 'no labels'}."
        )
    return theory


def _labelled(ledger: LedgerReader, theory: str, kinds: Sequence[OriginKind]) -> Iterator[LedgerRow]:
    return (row for row in ledger.rows(theory, kinds) if row.reason is None)


def _export_extxyz(ledger: LedgerReader, path: Path, theory: str, kinds: Sequence[OriginKind]) -> int:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for row in _labelled(ledger, theory, kinds):
            _write_frame(file, row)
            written += 1
    return written


def _write_frame(file: TextIO, row: LedgerRow) -> None:
    """Write one frame; `repr` of a float64 is read back to the last bit, which ASE's own writer does not keep."""
    assert row.forces is not None
    origin = row.origin
    file.write(
        f"{len(row.numbers)}\nProperties=species:S:1:pos:R:3:forces:R:3 energy={row.energy!r} charge={row.charge} "
        f"theory={json.dumps(row.theory, ensure_ascii=False)} origin={origin.kind} iteration={origin.iteration} "
        f'replica={origin.replica} step={origin.step} jitter={origin.jitter} pbc="F F F"\n'
    )
    symbols = [chemical_symbols[number] for number in row.numbers]
    columns = np.hstack([row.positions, row.forces]).tolist()
    file.writelines(f"{symbol} {' '.join(map(repr, line))}\n" for symbol, line in zip(symbols, columns, strict=True))


def _export_ase_db(ledger: LedgerReader, path: Path, theory: str, kinds: Sequence[OriginKind]) -> int:
    written = 0
    database = ase.db.connect(path, type="db", append=False)
    with database:
        for row in _labelled(ledger, theory, kinds):
            atoms = Atoms(numbers=row.numbers, positions=row.positions)
            atoms.calc = SinglePointCalculator(atoms, energy=row.energy, forces=row.forces)
            origin = row.origin
            keys = {"iteration": origin.iteration, "replica": origin.replica, "step": origin.step}
            database.write(atoms, origin=origin.kind, jitter=origin.jitter, total_charge=row.charge, **keys)
            written += 1
    database.metadata = {"theory": theory}
    return written


def _export_npz(ledger: LedgerReader, path: Path, theory: str, kinds: Sequence[OriginKind]) -> int:
    dataset, origins = ledger.dataset(theory, kinds=kinds)
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {"theory": np.array(theory)}
    first = 0
    for place, group in enumerate(dataset.groups):
        own = origins[first : first + len(group.frames)]
        first += len(own)
        arrays[f"numbers_{place}"] = group.frames.numbers
        arrays[f"charge_{place}"] = np.array(group.frames.charge)
        arrays[f"positions_{place}"] = group.frames.positions
        arrays[f"energies_{place}"] = group.labels.energies
        arrays[f"forces_{place}"] = group.labels.forces
        arrays[f"kind_{place}"] = np.array([origin.kind for origin in own])
        arrays[f"origin_{place}"] = np.array([(o.iteration, o.replica, o.step, o.jitter) for o in own], dtype=np.int64)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for `allow_pickle`
    return len(dataset)


def _export_torchani(ledger: LedgerReader, path: Path, theory: str, kinds: Sequence[OriginKind]) -> int:
    try:
        import h5py  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "The format torchani-h5 needs h5py, which is not installed: alflow[export] brings it."
        ) from error
    dataset, _ = ledger.dataset(theory, kinds=kinds)
    charges = sorted({group.frames.charge for group in dataset.groups} - {0})
    if charges:
        raise InputError(f"The format torchani-h5 holds neutral molecules; found charge {charges[0]}. Use extxyz.")
    with h5py.File(path, "w") as file:
        file.attrs["grouping"] = "by_formula"
        file.attrs["theory"] = theory
        for formula, properties in _by_formula(dataset).items():
            for name, parts in properties.items():
                file.create_dataset(f"{formula}/{name}", data=np.concatenate(parts))
    return len(dataset)


def _by_formula(dataset: Dataset) -> dict[str, dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]]]:
    """Return TorchANI's properties, Hartree and Å, by formula (symbols in alphabetical order)."""
    formulas: dict[str, dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]]] = {}
    for group in dataset.groups:
        symbols = [chemical_symbols[number] for number in group.frames.numbers]
        counted = [(symbol, symbols.count(symbol)) for symbol in sorted(set(symbols))]
        formula = "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counted)
        properties = formulas.setdefault(formula, {"species": [], "coordinates": [], "energies": [], "forces": []})
        properties["species"].append(np.tile(group.frames.numbers, (len(group.frames), 1)))
        properties["coordinates"].append(group.frames.positions)
        properties["energies"].append(group.labels.energies / HARTREE_IN_EV)
        properties["forces"].append(group.labels.forces / HARTREE_IN_EV)
    return formulas


_EXPORTERS: dict[ExportFormat, Callable[[LedgerReader, Path, str, Sequence[OriginKind]], int]] = {
    "extxyz": _export_extxyz,
    "ase-db": _export_ase_db,
    "torchani-h5": _export_torchani,
    "npz": _export_npz,
}


def _read(path: Path) -> Iterator[tuple[Atoms, str | None]]:
    """Yield each frame of a file with the theory that it names."""
    if not path.is_file():
        raise InputError(f"An import reads an extended XYZ file; there is none at {path}.")
    try:
        frames = ase.io.read(path, index=":", format="extxyz")
    except (OSError, ValueError, KeyError, IndexError, UnicodeDecodeError, ase.io.extxyz.XYZError) as error:
        raise InputError(f"An import reads an extended XYZ file; {path} cannot be read as one: {error}.") from error
    if not frames:
        raise InputError(f"An import brings labels; {path} holds no frame.")
    for frame, atoms in enumerate(frames):
        _check(path, frame, atoms)
        theory = atoms.info.get("theory")
        yield atoms, None if theory is None else str(theory)


def _check(path: Path, frame: int, atoms: Atoms) -> None:
    where = f"frame {frame} (from 0) of {path}"
    results = {} if atoms.calc is None else atoms.calc.results
    for name, unit in (("energy", "eV"), ("forces", "eV/Å")):
        if name not in results:
            raise InputError(f"Each frame of an import has energy (eV) and forces (eV/Å); {where} has no {name}.")
        if not np.isfinite(results[name]).all():
            raise InputError(f"Labels are finite; {name} ({unit}) of {where} is not.")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"Positions are finite; those of {where} are not.")
    if atoms.pbc.any():
        raise InputError(f"alflow labels molecules without a periodic cell; {where} is periodic.")
    charge = atoms.info.get("charge", 0)
    if not isinstance(charge, int | float | np.integer) or not float(charge).is_integer():
        raise InputError(f"The total charge is a whole number of elementary charges; {where} has {charge}.")


def _charge(atoms: Atoms) -> int:
    return int(atoms.info.get("charge", 0))


def _one_theory(path: Path, theory: str | None, named: Sequence[str | None]) -> str:
    """Return the theory of all frames, which is named by the caller, by every frame, or by both alike."""
    found = sorted({name for name in named if name is not None} | ({theory} if theory is not None else set()))
    if len(found) > 1:
        raise InputError(
            f"Labels of two theories do not mix; {path} is to be imported with labels of "
            f"{' and '.join(map(repr, found))}. Split the file, or name the theory that it is of."
        )
    if not found or (theory is None and None in named):
        raise InputError(
            f"A label belongs to a theory; frame {named.index(None)} (from 0) of {path} names none. "
            "Name the theory, or put theory=... into the comment line of each frame."
        )
    return found[0]


def _unknown(ledger: Ledger, theory: str, structures: Sequence[Atoms]) -> list[Atoms]:
    """Return the structures that have no label yet, each once, in the order of the file."""
    groups: dict[tuple[bytes, int], list[int]] = {}
    for row, atoms in enumerate(structures):
        groups.setdefault((atoms.numbers.tobytes(), _charge(atoms)), []).append(row)
    new: list[int] = []
    for (_, charge), rows in groups.items():
        positions = np.array([structures[row].positions for row in rows])
        known = ledger.lookup(theory, Frames(structures[rows[0]].numbers.astype(np.int64), positions, charge))
        new.extend(rows[place] for place in (*known.missing, *known.failed))
    return [structures[row] for row in sorted(new)]


def _next_step(ledger: Ledger, iteration: int) -> int:
    sql = "SELECT coalesce(max(step) + 1, 0) FROM origins WHERE kind = 'import' AND iteration = ?"
    return int(ledger.query(sql, (iteration,)).fetchone()[0])
