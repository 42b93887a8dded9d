"""Files of alflow's own, whole or not at all; what a user names to be written goes by `alflow.files.targets`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its name once it is on the disk, and is removed where it does not get there.

    One process writes, and after a kill it finds the name again; so the name beside is always the same.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and onto the disk."""
    with whole_file(path) as file:
        file.write(content)
