"""The one reader of structures and labels: what other people's files hold, checked, with what was left out of them.

Every command reads by it, so all of them know charges, keys and units alike. A file is read by ASE, but what ASE does
to names (``@``), to blank lines between frames, and to words that it does not know is kept away from it.
"""

from __future__ import annotations

import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from alflow.config.plugins import FORMATS, find, find_installed, names
from alflow.errors import PluginError, StructureError
from alflow.files.targets import cause, shown
from alflow.structures.charges import composition_of
from alflow.structures.geometry import check_structure
from alflow.structures.labels import USUAL_KEYS, LabelKeys, has_label, label_of
from alflow.structures.xyz import cut_frames, read_frame
from alflow.types import Composition, FloatArray, Frames

FAILURE = "label_failure"
"""Entry of a frame that `alflow label` could not label: the reason."""
XYZ = ("xyz", "extxyz")
"""Formats that are cut into frames before ASE reads them."""
UNTOLD = "its format cannot be told"
DATABASES = ("db", "json")
"""Formats of ASE's databases, whose rows have entries that its plain reader leaves out."""


@dataclass(frozen=True)
class Structure:
    """One frame of a file."""

    atoms: Atoms
    """As read: entries, arrays over the atoms, masses and cell."""
    composition: Composition
    energy: float | None = None
    """eV; None if the frame has no label."""
    forces: FloatArray | None = field(default=None, repr=False)
    """(A, 3) eV/Å; None if the frame has no label."""
    theory: str | None = None
    """Fingerprint of the theory that its label is of; None if it names none."""
    failure: str = ""
    """Why it has no label, where `alflow label` wrote so."""

    @property
    def charge(self) -> int:
        """Total charge, elementary charges."""
        return self.composition.charge


@dataclass(frozen=True)
class StructureFile:
    """A file of structures."""

    path: Path
    structures: tuple[Structure, ...]
    notes: tuple[str, ...] = ()
    """Sentences on what was ignored or assumed, or looks doubtful."""

    def place(self, row: int) -> str:
        """Return how messages name a frame."""
        return f"frame {row} (from 0) of {shown(self.path)}"


def read_structures(
    path: Path | str,
    *,
    labels: Literal["ignored", "optional", "required"] = "ignored",
    keys: LabelKeys = USUAL_KEYS,
    finite: bool = True,
) -> StructureFile:
    """Read all frames of a file.

    Args:
        path: any file that ASE reads.
        labels: whether energies and forces are read; where they are required, a frame without them is refused unless
            it says why it has none (`Structure.failure`).
        keys: what they are called.
        finite: whether coordinates that are not finite are refused; otherwise they are read.

    Raises:
        StructureError: the file is not there, not readable or empty; a frame is periodic, has a charge that is none, or
            a label that is none.
    """
    path, notes = Path(path), list[str]()
    images = _images(path, notes)
    if not images:
        raise StructureError(f"A file of structures must hold at least one; {shown(path)} holds none.")
    found = StructureFile(path, ())
    structures = []
    for row, atoms in enumerate(images):
        place = found.place(row)
        _check(atoms, place, finite=finite and FAILURE not in atoms.info)
        structures.append(_structure(atoms, place, labels, keys, notes))
    radicals = [row for row, one in enumerate(structures) if one.composition.electrons % 2]
    if radicals:
        notes.append(
            "An odd number of electrons needs a label engine that knows spin, and those of alflow are spin-restricted: "
            f"{_several(radicals)} of {shown(path)}. Is the charge right?"
        )
    return StructureFile(path, tuple(structures), _counted(notes))


def read_structure(path: Path | str) -> tuple[Frames, tuple[str, ...]]:
    """Return the first frame of a file as the start of something, and sentences on what was ignored.

    Raises:
        StructureError: as `read_structures`, or it is not plausible.
    """
    found = read_structures(path)
    first, notes = found.structures[0], list(found.notes)
    if len(found.structures) > 1:
        notes.append(f"The first frame of {shown(found.path)} counts; {len(found.structures) - 1} more are left out.")
    frames = Frames(first.composition, np.ascontiguousarray(first.atoms.positions[None], dtype=np.float64))
    check_structure(frames, place=shown(found.path))
    return frames, tuple(notes)


def _structure(atoms: Atoms, place: str, labels: str, keys: LabelKeys, notes: list[str]) -> Structure:
    composition = composition_of(atoms, place, notes)
    theory, failure = atoms.info.get("theory"), str(atoms.info.get(FAILURE, ""))
    named = None if theory is None or isinstance(theory, bool) else str(theory)
    if failure or labels == "ignored" or (labels == "optional" and not has_label(atoms, keys)):
        return Structure(atoms, composition, theory=named, failure=failure)
    energy, forces = label_of(atoms, keys, place)
    return Structure(atoms, composition, energy, forces, named)


def _check(atoms: Atoms, place: str, *, finite: bool) -> None:
    """Refuse what is no molecule."""
    if not len(atoms):
        raise StructureError(f"A structure has at least one atom; {place} has none.")
    if atoms.pbc.any() and atoms.cell.any():
        raise StructureError(
            f'Structures must be molecules; {place} is periodic. Remove its cell, or write pbc="F F F" beside it.'
        )
    if (atoms.numbers < 1).any():
        raise StructureError(f"An atom is of an element; atom {int(np.argmin(atoms.numbers))} of {place} is of none.")
    if finite and not np.isfinite(atoms.positions).all():
        atom = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise StructureError(f"Coordinates must be finite numbers; those of atom {atom} of {place} are not.")


def _images(path: Path, notes: list[str]) -> list[Atoms]:
    """Read a file by its format, whatever its name looks like."""
    own = _own_format(path)
    if own is not None and path.is_file():
        return _by_own_format(own, path)
    from ase.io import read  # noqa: PLC0415 - slow to import
    from ase.io.formats import get_compression  # noqa: PLC0415

    form = _format(path)
    try:
        if form in XYZ:
            return list(_xyz_frames(path, notes))
        # Under a name of its own: ASE takes what stands behind an @ for an index, and ~ for a home.
        with tempfile.TemporaryDirectory(prefix="alflow-read-") as folder:
            link = Path(folder) / f"structures{get_compression(path.name)[1] and Path(path.name).suffix}"
            link.symlink_to(path.resolve())
            if form in DATABASES:
                return list(_rows(link, form))
            return list(read(str(link), ":", format=form))
    except StructureError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise StructureError(f"Structures must be in a file that ASE reads; {shown(path)} is not: {said}.") from error


def _own_format(path: Path) -> Any:
    """Return the kind of format of alflow's registry whose files have names like this, if it reads them itself."""
    for name in names(FORMATS):
        try:
            kind = find(FORMATS, name)
        except PluginError:
            continue
        if kind.reads and kind.matches(path):
            return find_installed(FORMATS, name)
    return None


def _by_own_format(kind: Any, path: Path) -> list[Atoms]:
    try:
        return list(kind.read(path))
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise StructureError(f"A file holds what its name promises; {shown(path)} cannot be read: {said}.") from error


def _format(path: Path) -> str:
    """Return ASE's name of the format of a file.

    Raises:
        StructureError: there is no such file, or its format is not known.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats  # noqa: PLC0415 - slow to import

    try:
        with path.open("rb") as file:
            first = file.readline(100).strip()
        found = str(filetype(str(path.resolve())))
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else cause(error)
        raise StructureError(f"Structures are read from a file; {shown(path)} cannot be read: {reason}.") from error
    except (EOFError, UnknownFileTypeError, AssertionError, ValueError) as error:
        said = "it is cut off" if isinstance(error, EOFError) else UNTOLD
        empty = path.stat().st_size == 0
        raise StructureError(
            f"Structures must be in a file that ASE reads; {shown(path)} is not: {'it is empty' if empty else said}."
        ) from error
    if found not in ioformats and not first.isdigit():  # ASE takes the ending of a name for a format
        raise StructureError(f"Structures must be in a file that ASE reads; {shown(path)} is not: {UNTOLD}.")
    return found if found in ioformats else "extxyz"


def _xyz_frames(path: Path, notes: list[str]) -> Iterator[Atoms]:
    from ase.io.formats import open_with_compression  # noqa: PLC0415 - slow to import

    try:
        with open_with_compression(str(path.resolve()), "rb") as file:
            text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise StructureError(
            f"A file of structures is text in UTF-8; {shown(path)} is not (byte {error.start})."
        ) from error
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise StructureError(f"A compressed file must be whole; {shown(path)} is not: {cause(error)}.") from error
    for row, frame in enumerate(cut_frames(text, shown(path))):
        yield read_frame(frame, f"frame {row} (from 0) of {shown(path)}", notes)


def _rows(path: Path, form: str) -> Iterator[Atoms]:
    """Read a database of ASE with the entries of its rows."""
    from ase.db import connect  # noqa: PLC0415 - slow to import

    with connect(str(path), type=form, serial=True) as database:
        theory = database.metadata.get("theory")
        for row in database.select():
            atoms = row.toatoms()
            own: dict[str, Any] = {**row.data, **row.key_value_pairs}
            atoms.info = {"theory": theory, **own} if theory is not None else own
            yield atoms


def _several(rows: Sequence[int]) -> str:
    shown_rows = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return (
        f"frame{'s' if len(rows) > 1 else ''} {shown_rows} ({len(rows)} in all)"
        if len(rows) > 1
        else f"frame {rows[0]}"
    )


def _counted(notes: Sequence[str]) -> tuple[str, ...]:
    """Return each sentence once, with how often it holds."""
    return tuple(f"{note} ({count} times)" if count > 1 else note for note, count in Counter(notes).items())
