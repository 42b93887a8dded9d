"""XYZ text, cut into frames that ASE's reader takes one by one: no frame is lost, and every complaint names its line.

ASE ends a file silently at a blank line between frames, and tells of what it does not understand without saying where.
Here a file is a row of frames, with any number of blank lines between them and behind the last; anything else is
refused. Words that other programs write (species ``D``, ``O1`` or ``8``, numbers like ``1.0D+00``) are read as what
they mean.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from alflow.errors import StructureError

ISOTOPES = {"D": "H", "T": "H"}
"""Symbols of isotopes, and the elements whose electrons they have."""
FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")
"""The letter of the exponent in a number as Fortran writes it."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_LABELLED = re.compile(r"([A-Za-z]{1,2})[\d_+'*-][\w+'*-]*")
"""An element and the number or name of the atom: O1, C_ar, H2'."""


@dataclass(frozen=True)
class XYZFrame:
    """One frame as text."""

    line: int
    """Number of its first line in the file, from 1."""
    lines: tuple[str, ...]
    """Number of atoms, comment, atoms, and cell vectors if there are any."""


def cut_frames(text: str, place: str) -> Iterator[XYZFrame]:
    """Yield the frames of a file in XYZ format.

    Raises:
        StructureError: a line is not what it has to be, or the last frame is cut off.
    """
    lines = _LINE_END.split(text.removeprefix("\ufeff").rstrip("\r\n"))
    first = 0
    while first < len(lines):
        if not lines[first].strip():
            first += 1
            continue
        end = _end_of_frame(lines, first, place)
        yield XYZFrame(first + 1, tuple(lines[first:end]))
        first = end


def _end_of_frame(lines: Sequence[str], first: int, place: str) -> int:
    """Return the index of the line behind a frame."""
    count = lines[first].strip()
    if not count.isascii() or not count.isdigit() or not 0 < int(count) < 10**7:
        raise StructureError(
            f"A frame of an XYZ file begins with its number of atoms; line {first + 1} of {place} is {_short(count)}."
        )
    end = first + 2 + int(count)
    if end > len(lines):
        raise StructureError(
            f"A frame of an XYZ file has a line for each of its atoms; {place} ends {end - len(lines)} lines too early "
            f"for the {count} atoms that line {first + 1} announces."
        )
    for number in range(first + 2, end):
        if not lines[number].strip():
            raise StructureError(
                f"A frame of an XYZ file has a line for each of its atoms; line {number + 1} of {place} is empty, "
                f"within the {count} atoms that line {first + 1} announces."
            )
    while end < len(lines) and lines[end].lstrip().startswith("VEC"):
        end += 1
    return end


def read_frame(frame: XYZFrame, place: str, notes: list[str]) -> Atoms:
    """Read one frame.

    Args:
        frame: its text.
        place: which frame of which file it is, for messages.
        notes: gets a sentence where a word was read as something else.

    Raises:
        StructureError: it cannot be read.
    """
    error: Exception
    try:
        return _by_ase(frame.lines)
    except Exception as problem:  # noqa: BLE001 - ASE raises whatever the text makes it stumble over
        error = problem
    lines = _plain_words(frame, place, notes)
    if lines != frame.lines:
        try:
            return _by_ase(lines)
        except Exception as problem:  # noqa: BLE001 - as above
            error = problem
    said = " ".join(str(error).split()) or type(error).__name__
    raise StructureError(f"{place} (line {frame.line}) must be readable as extended XYZ: {said}.") from error


def _by_ase(lines: Sequence[str]) -> Atoms:
    from ase.io import read  # noqa: PLC0415 - slow to import

    (atoms,) = read(io.StringIO("\n".join(lines) + "\n"), ":", format="extxyz")
    return atoms


def _plain_words(frame: XYZFrame, place: str, notes: list[str]) -> tuple[str, ...]:
    """Return the lines with species as symbols and exponents as C writes them."""
    count, comment = int(frame.lines[0]), frame.lines[1]
    column = _species_column(comment)
    found = []
    for atom, line in enumerate(frame.lines[2 : 2 + count]):
        words = [FORTRAN.sub("e", word) if place != column else word for place, word in enumerate(line.split())]
        if column is not None and column < len(words):
            words[column] = _symbol(words[column], f"atom {atom} of {place}", notes)
        found.append(" ".join(words))
    return (frame.lines[0], comment, *found, *frame.lines[2 + count :])


def _species_column(comment: str) -> int | None:
    """Return which word of an atom's line is its species; None if none is."""
    from ase.io.extxyz import key_val_str_to_dict  # noqa: PLC0415 - slow to import

    try:
        described = str(key_val_str_to_dict(comment).get("Properties", "species:S:1:pos:R:3")).split(":")
    except Exception:  # noqa: BLE001 - a comment that nobody can read: the frame's own error says so
        return None
    first = 0
    for name, kind, size in zip(described[::3], described[1::3], described[2::3], strict=False):
        if name.lower() in ("species", "symbols") and kind == "S":
            return first
        first += int(size) if size.isdigit() else 1
    return None


def _symbol(word: str, place: str, notes: list[str]) -> str:
    """Return the symbol of the element that a species means.

    Raises:
        StructureError: it means none.
    """
    if word.capitalize() in atomic_numbers and word.capitalize() != "X":
        return word
    found = None
    if word.isdigit() and 0 < int(word) < len(chemical_symbols):
        found = str(chemical_symbols[int(word)])
    elif word.upper() in ISOTOPES:
        found = ISOTOPES[word.upper()]
        notes.append(f"Isotopes have the energies of their element: {word} is read as {found}.")
    elif labelled := _LABELLED.fullmatch(word):
        base = labelled[1].capitalize()
        found = base if base in atomic_numbers else base[0] if base[0] in atomic_numbers else None
    if found is None:
        raise StructureError(f"A species is the symbol of an element, such as C; {place} is {_short(word)}.")
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
