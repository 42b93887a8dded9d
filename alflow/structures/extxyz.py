"""Extended XYZ: the one writer. What ASE and alflow read back has the same numbers, charges and texts.

A frame is the number of atoms, a comment line of `key=value` words, and one line an atom. Every number is written as
Python does, which is read back to the last bit. What a word cannot hold as it is (a line break, a text that would be
read as a number, nested lists) is written as JSON behind the mark `_JSON`, which ASE's reader knows; so nothing that a
file of structures brings along can make the file that is written from it unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.data import chemical_symbols

from alflow.types import FloatArray

AnyArray = npt.NDArray[Any]
DIAGNOSTIC = "diagnostic_"
"""Beginning of the entries of a frame that hold what an engine told of its label besides."""
RESULTS = frozenset(all_properties)
"""Names that ASE's reader takes for results of a calculator."""
RESERVED_KEYS = RESULTS | {"Properties", "Lattice", "pbc"}
"""Keys of the comment line that mean something else than a user's own entry."""
RESERVED_COLUMNS = RESULTS | {"species", "symbols", "pos", "positions", "Z", "numbers", "charge", "move_mask"}
"""Names of columns that mean something else than a user's own array."""
OF_ATOMS = ("initial_charges", "initial_magmoms")
"""Arrays that ASE takes for part of the structure: with other than numbers in them, it finds no label of it."""
TRUTHS = frozenset({"T", "F", "true", "false", "True", "False", "TRUE", "FALSE"})
"""Words that ASE's reader takes for booleans."""
LONGEST_TEXT = 2000
"""Characters of the text of a failure; a program's whole log is cut to its beginning and its end."""
_BARE = re.compile(r"[A-Za-z0-9_.:/+-]+", re.ASCII)
_INT32, _INT64, _EXACT = 2**31, 2**63, 2**53


def extxyz_frame(
    atoms: Atoms,
    energy: float | None = None,
    forces: FloatArray | None = None,
    info: Mapping[str, Any] | None = None,
) -> str:
    """Return one frame as text: the structure, all that it carries, and its label.

    Results of a calculator that `atoms` has, and its constraints, are left out: the first belong to another theory,
    and ASE sets the forces of fixed atoms to zero. An entry or an array whose name is one of ASE's own (`energy`,
    `pbc`) is written as `info_NAME`; an array that is no table of numbers, words or booleans goes to the comment line.

    Args:
        atoms: the structure; its `info`, per-atom arrays, cell and periodicity are written.
        energy: eV.
        forces: (A, 3) eV/Å.
        info: entries of the comment line; those of `atoms` if not given.
    """
    info = atoms.info if info is None else info
    fixed = {"pos": atoms.positions} if forces is None else {"pos": atoms.positions, "forces": forces}
    columns, left = _columns(fixed, {name: array for name, array in atoms.arrays.items() if name not in IMPLIED})
    species = [chemical_symbols[number] for number in atoms.numbers]
    words = [f"Properties={_quoted(_properties(columns))}"]
    if atoms.cell.any():
        words.insert(0, f'Lattice="{_numbers(np.asarray(atoms.cell))}"')
    if energy is not None:
        words.append(f"energy={float(energy)!r}")
    words += _entries({**info, **{_free(name, info): array.tolist() for name, array in left.items()}})
    words.append('pbc="' + " ".join("FT"[int(axis)] for axis in atoms.pbc) + '"')
    lines = [str(len(atoms)), " ".join(words)]
    lines += map(" ".join, zip(species, *(field for _, _, fields in columns for field in fields), strict=True))
    return "\n".join(lines) + "\n"


IMPLIED = ("numbers", "positions")

Column = tuple[str, str, list[list[str]]]
"""Name, type letter, and the words of each of its fields, atom by atom."""


def one_line(text: str) -> str:
    """Return a text of several lines as one, cut to `LONGEST_TEXT` characters: lines joined by a bar."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    joined = " | ".join(line for line in lines if line)
    half = LONGEST_TEXT // 2
    return joined if len(joined) <= LONGEST_TEXT else f"{joined[:half]} ... {joined[-half:]}"


def diagnostic_entries(diagnostics: Mapping[str, float]) -> dict[str, float]:
    """Return what an engine told of a label besides, as entries of its frame."""
    return {DIAGNOSTIC + name: value for name, value in sorted(diagnostics.items())}


def _columns(fixed: Mapping[str, AnyArray], given: Mapping[str, AnyArray]) -> tuple[list[Column], dict[str, AnyArray]]:
    """Return the columns of the file, and the arrays that cannot be columns."""
    columns = [column for name, array in fixed.items() if (column := _column(name, array)) is not None]
    taken = {"species"}.union(*map(_field_names, columns))
    left: dict[str, AnyArray] = {}
    for name, array in given.items():
        column = _column(name, array) if _is_column(name, array) else None
        names = set() if column is None else _field_names(column)
        if column is None or taken & names:
            left[name] = array
        else:
            taken |= names
            columns.append(column)
    return columns, left


def _is_column(name: str, array: AnyArray) -> bool:
    if name in OF_ATOMS and (array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all()):
        return False
    return name not in RESERVED_COLUMNS and re.sub("[-.+]", "_", name).isidentifier()


def _field_names(column: Column) -> set[str]:
    """Return the names that ASE's reader gives to the fields of a column; they have to differ."""
    name, _, fields = column
    return {name} if len(fields) == 1 else {f"{name}{place}" for place in range(len(fields))}


def _column(name: str, array: AnyArray) -> Column | None:
    """Return an array as words; None for one that ASE's reader would not read as it is."""
    if array.ndim not in (1, 2) or not array.size:
        return None
    letter = _letter(array)
    if letter is None:
        return None
    table = array.reshape(len(array), -1)
    if letter == "R":
        table = table.astype(np.float64)
    return name, letter, [[_cell(letter, value) for value in field] for field in table.T.tolist()]


def _cell(letter: str, value: Any) -> str:
    return repr(value) if letter == "R" else "FT"[value] if letter == "L" else str(value)


def _letter(array: AnyArray) -> str | None:
    """Return the type of a column: R real, I integer (of 32 bits), L logical, S text; None for none of them."""
    kind = array.dtype.kind
    if kind in "iu":
        largest = int(max(abs(int(array.max())), abs(int(array.min()))))
        return "I" if largest < _INT32 else "R" if largest <= _EXACT else None
    if kind in "OU":
        return "S" if all(_is_word(value) for value in array.ravel().tolist()) else None
    return {"f": "R", "b": "L"}.get(kind)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value] and value.isprintable()


def _properties(columns: Iterable[Column]) -> str:
    return "species:S:1" + "".join(f":{name}:{letter}:{len(fields)}" for name, letter, fields in columns)


def _entries(info: Mapping[Any, Any]) -> list[str]:
    words: dict[str, str] = {}
    for given, value in info.items():
        matrix = _matrix(value) if given == "virial" else None
        name = given if matrix else _key(given)
        key = name if name == given else _free(name, {*words, *info})
        words[key] = matrix or (_quoted(_printable(str(value))) if key.lower() == "uid" else _word(value))
    return [f"{_quoted(key)}={word}" for key, word in words.items()]


def _key(given: object) -> str:
    """Return the name under which an entry is written: that of the entry, where a reader takes it for one."""
    name = _printable(str(given)) or "_"
    return f"info_{name}" if name in RESERVED_KEYS or name == "virial" else name


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _free(name: str, taken: Container[object]) -> str:
    while name in taken:
        name += "_"
    return name


def _matrix(value: object) -> str | None:
    """Return a (3, 3) matrix as ASE's reader wants one under the key `virial`."""
    if not isinstance(value, np.ndarray) or value.shape != (3, 3) or value.dtype.kind not in "if":
        return None
    return f'"{_numbers(value.T)}"'


def _numbers(array: AnyArray) -> str:
    return " ".join(map(repr, array.astype(np.float64).ravel().tolist()))


def _word(value: Any) -> str:
    """Return what stands behind the equals sign."""
    if isinstance(value, list | tuple) and all(type(one) in (int, float) for one in value):
        value = np.array(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size > 1:
        if value.dtype.kind == "f":
            return _quoted(_numbers(value))
        if value.dtype.kind in "iu" and int(value.max()) < _INT64:
            return _quoted(" ".join(map(str, value.tolist())))
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool):
        return "FT"[value]
    if isinstance(value, Integral) and -_INT64 <= int(value) < _INT64:
        return str(int(value))
    if isinstance(value, Real) and not isinstance(value, Integral):
        return repr(float(value))
    return _quoted(value if isinstance(value, str) and is_plain(value) else _as_json(value))


def is_plain(text: str) -> bool:
    """Say whether ASE's reader gives a text back as it is: it is printable, no number, no boolean, and not JSON."""
    words = re.findall(r"[^\s,]+", text)
    if not text.isprintable() or text.startswith("_JSON ") or all(word in TRUTHS for word in words):
        return False
    try:
        np.array(words, dtype=float)
    except (ValueError, OverflowError):
        return True
    return False


def _as_json(value: Any) -> str:
    """Return JSON behind its mark; the text of what JSON, or ASE's reader of it, cannot hold."""
    try:
        text = json.dumps(value, default=_simple, ensure_ascii=False)
        if not text.isprintable():
            text = json.dumps(value, default=_simple)
        np.array(json.loads(text))  # as ASE's reader does, to which lists of different lengths are an error
    except (TypeError, ValueError, RecursionError):
        text = str(value)
        return text if is_plain(text) else _as_json(text)
    return f"_JSON {text}"


def _simple(value: Any) -> Any:
    """Return what JSON knows in the place of an object that it does not know."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def _quoted(text: str) -> str:
    """Return a word as it is where it is simple; in quotes, with backslashes before quotes and backslashes, if not."""
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
