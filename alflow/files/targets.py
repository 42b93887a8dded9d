"""Files that a user names to be written: checked before the work, or refused in a sentence.

They are written beside and renamed: nothing half-written stands under the name of a target at any time, and what was
there before stays until the new file is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from alflow.errors import InputError

PROBE = bytes(4096)
"""Written and removed again to find out whether a disk takes anything."""
LONGEST_SUFFIX = 16


def check_target(path: Path, what: str) -> None:
    """Find out, before anything is computed for it, whether a file can be written; its folder is made.

    Args:
        path: The file.
        what: What it is, as the sentence begins: "The figure".

    Raises:
        InputError: It cannot be.
    """
    with refused(path, what):
        if _is_special(path):
            return
        part = _part(path)
        try:
            part.write_bytes(PROBE)
        finally:
            part.unlink(missing_ok=True)


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file that is there, unless the user allows it.

    Args:
        path: The file.
        overwrite: Whether it may be there.

    Raises:
        InputError: It is there.
    """
    there = False
    with contextlib.suppress(OSError):  # what else is wrong with it, `check_target` says
        there = path.is_file()
    if there and not overwrite:
        raise InputError(
            f"No file is written over unasked; {shown(path)} exists. Name another, or allow it with --overwrite."
        )


@contextlib.contextmanager
def writing(path: Path, what: str) -> Iterator[Path]:
    """Give the file to write to in the place of `path`; it takes that name once it is whole, and goes where it is not.

    What goes to a device or a pipe, is written elsewhere and copied.

    Raises:
        InputError: The file cannot be written: a folder is in its place, the disk is full or takes no writes.
    """
    with refused(path, what), replacing(path) as part:
        yield part


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Do what `writing` does; what the system refuses is raised as it is."""
    if _is_special(path):
        with _copied(path) as part:
            yield part
        return
    part = _part(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(_real(path))
    finally:
        for left in part.parent.glob(f"{part.name}*"):  # a database has a journal beside it
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


@contextlib.contextmanager
def refused(path: Path, what: str) -> Iterator[None]:
    """Turn what the system refuses inside the block into the sentence that names `path` and the cause."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise  # it is what was read for it, and no new file
        room = "Make room, or name" if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) else "Name"
        raise InputError(
            f"{what} must be written somewhere; {shown(path)} cannot be: {cause(error)}. {room} another place."
        ) from error


def shown(path: Path) -> str:
    """Write a path as it is, or, where it holds what would break a line, as Python does."""
    return str(path) if str(path).isprintable() else repr(str(path))


def cause(error: BaseException) -> str:
    """Say in a few words what the system refused: no path, no number."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder should be"
    words = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return " ".join(words.split()).rstrip(".")


def _is_special(path: Path) -> bool:
    """Say whether there is a device or a pipe under a name.

    Raises:
        OSError: A file cannot take this name, or must not be replaced.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if stat.S_ISREG(mode):
        path.open("ab").close()  # what may not be written to, is not replaced either
    return not stat.S_ISREG(mode)


@contextlib.contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """Give a file whose content is copied to a device or a pipe."""
    with tempfile.TemporaryDirectory(prefix="alflow-") as folder:
        part = Path(folder) / f"part{path.suffix[-LONGEST_SUFFIX:]}"
        yield part
        opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # not waiting without end for one who reads a pipe
        os.set_blocking(opened, True)
        with part.open("rb") as content, open(opened, "wb") as file:  # noqa: PTH123 - of a descriptor
            shutil.copyfileobj(content, file)


def _part(path: Path) -> Path:
    """Return the name of a new file beside a target, with the same suffix: writers choose their format by it."""
    real = _real(path)
    real.parent.mkdir(parents=True, exist_ok=True)
    return real.with_name(f".alflow-{uuid.uuid4().hex[:12]}.part{real.suffix[-LONGEST_SUFFIX:]}")


def _real(path: Path) -> Path:
    """Return where links lead: the file behind a link is replaced, and the link stays."""
    return Path(os.path.realpath(path))
