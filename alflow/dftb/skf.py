"""Slater-Koster files (``.skf``): the published format of DFTB parameters, simple and extended.

Source: "Format of the v1.0 Slater-Koster-files" (dftb.org). All values in Hartree and Bohr, as in the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from alflow.errors import ParameterError
from alflow.types import FloatArray

COLUMNS = ("dd0", "dd1", "dd2", "pd0", "pd1", "pp0", "pp1", "sd0", "sp0", "ss0")
"""Integrals of a simple table line, lower angular momentum first; the digit is the magnetic quantum number."""

_EXTENDED_COLUMNS = (7, 8, 9, 12, 13, 14, 15, 17, 18, 19)
"""Where those ten stand among the twenty of an extended line (which also has f)."""

_REPEAT = re.compile(r"^(\d{1,4})\*(.*)$")
_FORTRAN_EXPONENT = str.maketrans("Dd", "Ee")
SHORTEST_TABLE = 8
"""Rows: the interpolation takes eight at a time."""


@dataclass(frozen=True)
class AtomLine:
    """What a homonuclear file says of the free atom; index 0 s, 1 p, 2 d."""

    onsite: FloatArray
    """(3,) Hartree."""
    hubbard: FloatArray
    """(3,) Hartree."""
    occupations: FloatArray
    """(3,) electrons."""


@dataclass(frozen=True)
class RepulsiveSpline:
    """Repulsive pair potential: exponential head, cubic pieces, one fifth-order piece, zero from `cutoff` on."""

    head: FloatArray
    """(3,) a1, a2, a3 of exp(-a1 r + a2) + a3, used below the first start."""
    starts: FloatArray
    """(N,) Bohr."""
    coefficients: FloatArray
    """(N, 6) of powers 0 to 5 of (r - start); the cubic pieces have two zeros at the end."""
    cutoff: float
    """Bohr."""


@dataclass(frozen=True)
class SlaterKosterFile:
    """Content of one file."""

    spacing: float
    """Bohr; row k (from 0) belongs to the distance (k + 1) * spacing."""
    hamiltonian: FloatArray
    """(G, 10) Hartree, columns as in `COLUMNS`."""
    overlap: FloatArray
    """(G, 10)."""
    atom: AtomLine | None
    repulsion: RepulsiveSpline


def _numbers(line: str) -> list[float]:
    """Read a line as Fortran does: blanks or commas between numbers, ``3*0.0`` for a repeated one, ``1D-3``."""
    values: list[float] = []
    for token in line.translate(_FORTRAN_EXPONENT).replace(",", " ").split():
        repeat = _REPEAT.match(token)
        values += [float(repeat[2])] * int(repeat[1]) if repeat else [float(token)]
    return values


def _atom_line(values: list[float], shells: int) -> AtomLine:
    """Split "E_d E_p E_s SPE U_d U_p U_s f_d f_p f_s" (extended: f first)."""
    onsite, hubbard, occupations = values[:shells], values[shells + 1 : 2 * shells + 1], values[2 * shells + 1 :]
    parts = (np.array(part[:shells][::-1][:3]) for part in (onsite, hubbard, occupations))
    return AtomLine(*parts)


def _spline(lines: list[str]) -> RepulsiveSpline:
    """Read the block that follows the line "Spline"."""
    pieces = int(_numbers(lines[0])[0])
    head = np.array(_numbers(lines[1])[:3])
    rows = lines[2 : 2 + pieces]
    if pieces < 1 or len(rows) < pieces or head.size < 3:
        raise ValueError(f"a repulsion of {pieces} pieces was announced, {len(rows)} found after a head of {head.size}")
    starts, coefficients = np.zeros(pieces), np.zeros((pieces, 6))
    end = 0.0
    for row, line in enumerate(rows):
        start, next_start, *powers = _numbers(line)
        wanted = 6 if row == pieces - 1 else 4
        if row and abs(start - end) > 1e-8:
            raise ValueError(f"repulsive pieces do not join: one ends at {end}, the next starts at {start} Bohr")
        if not 0.0 <= start < next_start:
            raise ValueError(f"a repulsive piece must grow from its start; one goes from {start} to {next_start} Bohr")
        if len(powers) < wanted:
            raise ValueError(f"the repulsive piece from {start} Bohr has {len(powers)} of {wanted} coefficients")
        starts[row], coefficients[row, :wanted], end = start, powers[:wanted], next_start
    return RepulsiveSpline(head, starts, coefficients, end)


def _parse(text: str, *, homonuclear: bool) -> SlaterKosterFile:
    lines = text.splitlines()
    extended = lines[0].lstrip().startswith("@")
    lines = lines[1:] if extended else lines
    spacing, points = _numbers(lines[0])[:2]
    first = 3 if homonuclear else 2
    atom = _atom_line(_numbers(lines[1]), 4 if extended else 3) if homonuclear else None
    rows = lines[first : first + int(points) - 1]
    table = (
        np.array([_numbers(row) for row in rows])
        if any("*" in row for row in rows)
        else np.array(_plain(rows).split(), dtype=np.float64).reshape(len(rows), -1)
    )
    width = 20 if extended else 10
    if table.shape != (int(points) - 1, 2 * width):
        raise ValueError(f"{int(points) - 1} table lines of {2 * width} numbers were announced, {table.shape} found")
    take = list(_EXTENDED_COLUMNS) if extended else list(range(10))
    spline_at = next((row for row, line in enumerate(lines) if line.strip() == "Spline"), None)
    if spline_at is None:
        raise ValueError('there is no line "Spline" (files with a polynomial repulsion are not supported)')
    repulsion = _spline(lines[spline_at + 1 :])
    file = SlaterKosterFile(spacing, table[:, take], table[:, width:][:, take], atom, repulsion)
    _check(file)
    return file


def _plain(rows: list[str]) -> str:
    return " ".join(rows).replace(",", " ").translate(_FORTRAN_EXPONENT)


def _check(file: SlaterKosterFile) -> None:
    """Refuse values that no file has."""
    atom, spline = file.atom, file.repulsion
    if not 0.0 < file.spacing < np.inf or len(file.overlap) < SHORTEST_TABLE:
        raise ValueError(
            f"the table must have {SHORTEST_TABLE} rows or more at distances that grow; it has {len(file.overlap)} "
            f"with a spacing of {file.spacing} Bohr"
        )
    if atom is not None and {atom.onsite.size, atom.hubbard.size, atom.occupations.size} != {3}:
        raise ValueError("the line of the free atom is too short")
    lines = () if atom is None else (atom.onsite, atom.hubbard, atom.occupations)
    values = (file.hamiltonian, file.overlap, spline.head, spline.starts, spline.coefficients, [spline.cutoff], *lines)
    if not all(np.isfinite(part).all() for part in values):
        raise ValueError("a number is NaN or infinite")


def parse_skf(text: str, *, name: str, homonuclear: bool) -> SlaterKosterFile:
    """Parse a Slater-Koster file.

    As in DFTB+, one line less than the announced number of grid points is read.

    Args:
        text: Content of the file.
        name: Its name, for messages.
        homonuclear: The file is of two like atoms, so it has a line about the free atom.

    Raises:
        ParameterError: The text is not a Slater-Koster file.
    """
    try:
        return _parse(text, homonuclear=homonuclear)
    except (ValueError, IndexError, TypeError, OverflowError) as cause:
        raise ParameterError(
            f"A Slater-Koster file must follow the published format; {name} does not ({cause}). "
            "Install the parameters again, or give another folder."
        ) from cause
