"""Files of extended XYZ: their names, and writing them whole or not at all, compressed as their names say."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from alflow.errors import InputError
from alflow.files.targets import shown, writing

SUFFIXES = (".xyz", ".extxyz")
"""Endings of names that ASE reads as extended XYZ."""
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
"""Endings behind those, and the modules that compress."""


def check_name(path: Path, what: str) -> None:
    """Refuse a name whose ending promises another format than extended XYZ, or a compression that is not there.

    Args:
        path: of the file.
        what: what it is, as the sentence begins: "The output".

    Raises:
        InputError: see above.
    """
    compression = path.suffix if path.suffix in COMPRESSED else ""
    if Path(path.name.removesuffix(compression)).suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{what} is extended XYZ, whose names end in {' or '.join(SUFFIXES)}, with {', '.join(COMPRESSED)} behind "
            f"that for a compressed file; found {shown(path)}. `ase convert` makes other formats of it."
        )
    if compression:
        _compressor(compression)


@contextlib.contextmanager
def writing_extxyz(path: Path, what: str) -> Iterator[TextIO]:
    """Give the open text file that appears under a name once it is whole, compressed as its ending says.

    Raises:
        InputError: the name promises another format, or the file cannot be written.
    """
    check_name(path, what)
    opener = _compressor(path.suffix).open if path.suffix in COMPRESSED else open
    with writing(path, what) as part, opener(part, "wb") as raw, io.TextIOWrapper(raw, "utf-8", newline="\n") as file:
        yield file


def _compressor(suffix: str) -> Any:
    try:
        return import_module(COMPRESSED[suffix])
    except ImportError as error:
        raise InputError(
            f"A name that ends in {suffix} needs Python's module {COMPRESSED[suffix]}, which this Python is built "
            "without. Choose another ending."
        ) from error
