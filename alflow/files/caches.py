"""Caches of compiled kernels and fonts where nobody may write to the usual places.

numba keeps what it compiled beside the source, else in the user's cache folder; where both are read-only (one
installation for all users of a machine, and a home that compute nodes cannot write to) it gives up. matplotlib warns,
and looks for its fonts anew each time. Then both get a folder of the user's own among the temporary files, and so do
the processes that are started from here. A folder that the user names (NUMBA_CACHE_DIR, MPLCONFIGDIR) is left alone as
long as it can be written to.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Literal

PACKAGE = Path(__file__).resolve().parents[1]
KERNELS = ("dftb", "potentials/ani/kernels", "potentials/ani/training", "potentials/schnet")
"""Folders of modules with compiled functions."""


def settle_caches() -> None:
    """Name folders that can be written to, where the usual ones cannot; once is enough, and again does no harm."""
    if not _kernels_can_be_kept():
        folder = str(_own_temporary_folder() / "numba")
        os.environ["NUMBA_CACHE_DIR"] = folder
        numba = sys.modules.get("numba")
        if numba is not None:  # it read the environment when it was imported
            numba.config.CACHE_DIR = folder
    if not all(map(_can_be_written_to, _matplotlib_folders())):
        os.environ["MPLCONFIGDIR"] = str(_own_temporary_folder() / "matplotlib")


def _kernels_can_be_kept() -> bool:
    """Say whether numba finds a place by itself: the one that is named, beside the source, or the user's."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named and _can_be_written_to(Path(named)):
        return True
    if all(_can_be_written_to(PACKAGE / name / "__pycache__") for name in KERNELS):
        return True
    return _can_be_written_to(_user_folder("CACHE", "numba"))


def _matplotlib_folders() -> tuple[Path | None, ...]:
    named = os.environ.get("MPLCONFIGDIR")
    return (Path(named),) if named else tuple(_user_folder(kind, "matplotlib") for kind in ("CONFIG", "CACHE"))


def _user_folder(kind: Literal["CACHE", "CONFIG"], program: str) -> Path | None:
    """Return a program's folder for settings or caches as it finds it itself; None without a home."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / (f"Library/Caches/{program}" if kind == "CACHE" else f".{program}")
    return Path(os.environ.get(f"XDG_{kind}_HOME") or home / f".{kind.lower()}") / program


def _can_be_written_to(folder: Path | None) -> bool:
    """Say whether files can be made in a folder, or the folder itself; nothing is made."""
    if folder is None:
        return False
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _own_temporary_folder() -> Path:
    """Return a folder that this user alone can write to: what is kept in it is run."""
    folder = Path(tempfile.gettempdir()) / f"alflow-caches-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="alflow-caches-"))
