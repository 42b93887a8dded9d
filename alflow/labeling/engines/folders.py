"""Folders in which programs label: one for each process, a clean one for each label, nothing left behind.

A work folder lies below the temporary folder (TMPDIR), which a cluster puts on the node's own disk. It goes with its
owner; that of an owner that was killed goes when the next one is made there. Whether an owner lives is told by a lock
that the kernel takes away from the dead. Folders of labels that failed are kept elsewhere, the last few of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from alflow.errors import InputError
from alflow.labeling.kinds.ase import FolderSettings

PREFIX = "alflow-work-"
_LOCK = ".lock"
_UNFINISHED = ".alflow-new-"
_ABANDONED_S = 86_400.0
"""An unfinished folder as old as this has no owner: it is finished within milliseconds."""
_SOCKETS = "/tmp/ipi_"  # noqa: S108 - so does the i-PI protocol name the socket of the program that runs in a folder


def scratch(settings: FolderSettings) -> Path:
    """Return where work folders are made."""
    return _filled_in(settings.scratch_dir) if settings.scratch_dir else Path(tempfile.gettempdir())


def _filled_in(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


class WorkFolder:
    """A folder of this process alone. It is removed with the object, and at the end of the process."""

    def __init__(self, place: Path) -> None:
        """Make the folder, and remove those beside it whose owners are dead.

        Args:
            place: folder that it is made in.

        Raises:
            InputError: it cannot be made there.
        """
        try:
            place.mkdir(parents=True, exist_ok=True)
            remove_abandoned(place)
            self.path, lock = _make(place)
        except OSError as error:
            raise InputError(
                f"A label engine that writes files needs a folder to work in; none can be made in {place}: "
                f"{error.strerror}. Set TMPDIR, or scratch_dir among the engine's settings, to a folder of this host."
            ) from error
        self.close = weakref.finalize(self, _close, self.path, lock, os.getpid())


def new_label_folder(work: Path) -> Path:
    """Return a new, empty folder inside a work folder; a name is never used again."""
    return Path(tempfile.mkdtemp(prefix="label-", dir=work))


def label_folders(work: Path) -> list[Path]:
    """Return the folders of labels that are in a work folder."""
    return sorted(path for path in work.glob("label-*") if path.is_dir())


def remove(folder: Path) -> None:
    """Remove a folder with all that is inside, as far as it can be removed."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            Path(f"{_SOCKETS}{path.name}").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(place: Path) -> None:
    """Remove the work folders in a place whose owners are dead."""
    for folder in place.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not _is_ours(folder):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while the owner lives
                remove(folder)
            finally:
                os.close(lock)
    for folder in place.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if _is_ours(folder) and time.time() - folder.stat().st_mtime > _ABANDONED_S:
                remove(folder)


def _make(place: Path) -> tuple[Path, int]:
    """Make a folder and lock it; it has its name when it is locked, so that nobody takes it for abandoned."""
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=place))
    lock = os.open(unfinished / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: the folder may be left over, never lost
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = place / unfinished.name.replace(_UNFINISHED, PREFIX)
    unfinished.rename(folder)
    return folder, lock


def _close(folder: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a fork has the object, but not the folder
        remove(folder)
    os.close(lock)


def _is_ours(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid()
    except OSError:
        return False


@dataclass(frozen=True)
class Keeping:
    """How folders of labels that failed are kept."""

    place: Path
    """Folder that holds them."""
    count: int
    """Most of them."""
    megabytes: float
    """Most of all together."""

    @classmethod
    def of(cls, settings: FolderSettings) -> Keeping:
        """Return what the settings say, seen from this process."""
        place = settings.failures_dir or f"{tempfile.gettempdir()}/alflow-failures-{os.getuid()}"
        return cls(_filled_in(place), settings.kept_failures, settings.kept_megabytes)

    def keep(self, folder: Path) -> str:
        """Move the folder of a failed label to the kept ones; the oldest go.

        Returns:
            Words for the failure that name it; empty where nothing was written or can be kept.
        """
        try:
            if not self.count or not any(folder.iterdir()) or not self._usable():
                return ""
            _shrink(folder, self.megabytes * 1e6)
            target = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=self.place))
            _move(folder, target)
            self._let_go(target)
        except (OSError, shutil.Error):
            return ""
        return f" Its files are in {target} on this host (the last {self.count} are kept)."

    def _usable(self) -> bool:
        """Make the place; refuse one that another user has made for us."""
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return not self.place.is_symlink() and _is_ours(self.place)

    def _let_go(self, newest: Path) -> None:
        others = [path for path in self.place.iterdir() if path != newest and path.is_dir() and not path.is_symlink()]
        others.sort(key=lambda path: path.name, reverse=True)
        room = self.megabytes * 1e6 - _size(newest)
        for number, path in enumerate(others, start=1):
            room -= _size(path)
            if number >= self.count or room < 0:
                shutil.rmtree(path, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Move a folder to an empty one, which may be on another disk."""
    try:
        folder.rename(target)
    except OSError:
        shutil.copytree(folder, target, symlinks=True, ignore_dangling_symlinks=True, dirs_exist_ok=True)


def _files(folder: Path) -> list[tuple[int, Path]]:
    """Return size in bytes and path of all that is no folder in a folder, smallest first."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                information = (Path(parent) / name).lstat()
                found.append((information.st_size if stat.S_ISREG(information.st_mode) else 0, Path(parent) / name))
    return sorted(found)


def _size(folder: Path) -> float:
    return float(sum(size for size, _ in _files(folder)))


def _shrink(folder: Path, largest: float) -> None:
    """Remove pipes, sockets and the largest files, which seldom say what went wrong, until the rest is small enough."""
    total = 0.0
    for size, path in _files(folder):
        total += size
        if total > largest or not (path.is_symlink() or path.is_file()):
            path.unlink()
