"""Labels out of the ledger into files of other programs, and a user's own labels into it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO, get_args

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from alflow.errors import InputError
from alflow.files.targets import refused, shown, writing
from alflow.ledger import ORIGIN_KINDS, LedgerReader, LedgerRow, OriginKind
from alflow.types import Dataset
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
    with refused(path, "The export"):
        there = path.is_file()
    if there and not overwrite:
        raise InputError(
            f"An export does not overwrite a file; {shown(path)} exists. Name another, or allow overwriting."
        )
    named = _theory(ledger, theory)
    with writing(path, "The export") as partial:
        return _EXPORTERS[form](ledger, partial, named, kinds)


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
