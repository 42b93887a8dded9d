"""Folders that commands make for themselves."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def working_folder(given: Path | None, prefix: str) -> Iterator[Path]:
    """Give the folder that was asked for, or a new one here; one that a refusal left empty is removed."""
    folder = given or Path(tempfile.mkdtemp(prefix=prefix, dir=Path.cwd()))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
