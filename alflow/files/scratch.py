"""Temporary folders whose paths other programs take: short, and without white space, quotes and the like.

A socket's path may have 107 bytes in all, and LAMMPS and DFTB+ read more than letters into a path. Batch systems set
TMPDIR to long paths, and people to any. What needs no more than a short life and a few bytes goes where that does no
harm.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z0-9_.+=@/-]+")
"""What no shell and no input file reads anything into."""
LONGEST = 70
"""Sockets of Python's own have names of 31 characters behind it, and a path to one may have 107."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - folders of one's own are made in them


def is_plain(path: Path | str, longest: int = LONGEST) -> bool:
    """Say whether a path is short and plain."""
    return bool(PLAIN.fullmatch(str(path))) and len(str(path)) <= longest


def plain_scratch() -> str:
    """Return where temporary files go: the usual place if its path is short and plain, else another; no new folder.

    Raises:
        OSError: there is none that can be written to.
    """
    for place in _places():
        if is_plain(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    raise OSError(f"none of {', '.join(_places())} has a short path and can be written to; name another by TMPDIR")


def _places() -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):  # none of the usual ones can be written to
        yield tempfile.gettempdir()
    yield from PLACES
