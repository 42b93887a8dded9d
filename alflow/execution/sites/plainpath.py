"""A name for the run directory that every shell and every batch system takes.

Parsl writes the paths of its folder into shell commands and batch scripts as they are. White space, quotes, ``$`` and
the like would cut or change them, and no worker would ever start. Where the path of a run directory has any of these,
the site and Parsl get the path of a symbolic link instead, that exists while tasks run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alflow.errors import SiteError
from alflow.files.scratch import is_plain, plain_scratch

LONGEST_PLAIN = 200
"""Parsl's own names come behind it, and batch systems take paths of some hundred characters."""
LONGEST = 3800
"""Of a path with all that stands below it, the system takes 4096 bytes."""
LONGEST_NAME = 255
RULE = "the path of a run directory goes into shell commands, which take letters, digits and _ . + - = @ / as they are"


@dataclass(frozen=True)
class PlainPath:
    """A folder, and the path by which the site and Parsl know it."""

    folder: Path
    path: Path
    here_only: bool = False
    """Whether the path is one of this host alone."""

    @property
    def is_link(self) -> bool:
        """Whether there is a link to make."""
        return self.path != self.folder

    def make(self) -> None:
        """Make the link, if one is needed.

        Raises:
            SiteError: it cannot be made.
        """
        if not self.is_link or self._is_made():
            return
        try:
            self.path.symlink_to(self.folder)
        except OSError as error:
            if self._is_made():
                return
            raise SiteError(
                f"{RULE}; {str(self.folder)!r} has others, and a link to it in its place cannot be made "
                f"({self.path}: {error.strerror}). Choose another --run-dir"
            ) from error

    def remove(self) -> None:
        """Take the link away."""
        if self.is_link and self._is_made():
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _is_made(self) -> bool:
        with contextlib.suppress(OSError):
            return self.path.readlink() == self.folder
        return False


def plain_path(folder: Path) -> PlainPath:
    """Return a path to a folder that needs no quotes; no link is made yet.

    It is the folder's own path, if that will do. The link's place is the nearest folder above that can be written to
    and whose own path will do, so that it lies on the same file system; else the home folder; else one of this host.

    Args:
        folder: the absolute path.

    Raises:
        SiteError: the path is no text, or too long for the system.
    """
    _refuse_impossible(folder)
    if is_plain(folder, LONGEST_PLAIN):
        return PlainPath(folder, folder)
    name = ".alflow-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    for place in _shared_places(folder):
        if is_plain(place, LONGEST_PLAIN) and os.access(place, os.W_OK | os.X_OK):
            return PlainPath(folder, place / name)
    try:
        return PlainPath(folder, Path(plain_scratch()) / name, here_only=True)
    except OSError as error:
        raise SiteError(f"{RULE}; {str(folder)!r} has others. Choose another --run-dir") from error


def _shared_places(folder: Path) -> Iterator[Path]:
    yield from (place for place in folder.parents if place.parent != place and place.is_dir())
    with contextlib.suppress(RuntimeError):
        yield Path.home()


def _refuse_impossible(folder: Path) -> None:
    try:
        size = len(str(folder).encode())
    except UnicodeEncodeError as error:
        raise SiteError(f"the path of a run directory is text in UTF-8; {str(folder)!r} is not") from error
    longest = max((len(part.encode()) for part in folder.parts), default=0)
    if size > LONGEST or longest > LONGEST_NAME:
        raise SiteError(
            f"the path of a run directory has at most {LONGEST} bytes, and {LONGEST_NAME} in each name; "
            f"{str(folder)[:60]!r}... has {size}, and {longest} in the longest name"
        )
    if "\x00" in str(folder):
        raise SiteError("the path of a run directory has no NUL character")
