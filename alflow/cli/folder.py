"""Folders that commands make for themselves."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def working_folder(given: Path | None, prefix: str) -> Iterator[Path]:
    """Give the folder that was asked for, or a new one here; one that a refusal left empty is removed.

    Raises:
        InputError: there can be no such folder, or nothing can be written to it.
    """
    from alflow.files.targets import check_target, refused

    here = Path.cwd()
    new = given is None or not given.exists()
    with refused(given or here, "Logs"):
        folder = given or Path(tempfile.mkdtemp(prefix=prefix, dir=here))
        folder.mkdir(parents=True, exist_ok=True)
    try:
        check_target(folder / "events.jsonl", "Logs")
        yield folder
    finally:
        with contextlib.suppress(OSError):
            if new:
                folder.rmdir()
