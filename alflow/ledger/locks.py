"""Ledgers on file systems that carry no locks, as some parallel ones: SQLite's locks are then folders beside the file.

SQLite's own way for that (its VFS "unix-dotfile") has no write-ahead log: readers and the writer wait for each other.
The folder of a process that was killed stays; the next writer, who holds the run's own lock, takes it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import tempfile
import time
from pathlib import Path

READER_SECONDS = 10.0
"""A reader holds its lock for less."""


def carries_locks(folder: Path) -> bool:
    """Say whether files of a folder can be locked, by a file of no name; where none can be made, SQLite says why."""
    try:
        probe = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - what fails after this is the lock
    except OSError:
        return True
    with probe:
        try:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def reading_address(path: Path) -> str:
    """Return how a ledger is opened for reading, as the end of its URI.

    A file with a write-ahead log needs others beside it even for reading, and locks. Where these cannot be had and no
    log is left of a writer, nobody writes: the file is read as it is.
    """
    locks, log = carries_locks(path.parent), path.with_name(f"{path.name}-wal")
    if not os.access(path.parent, os.W_OK) or (not locks and _is_for_log(path)):
        return "?mode=ro" if log.exists() and log.stat().st_size else "?mode=ro&immutable=1"
    return "?mode=ro" if locks else "?mode=ro&vfs=unix-dotfile"


def _is_for_log(path: Path) -> bool:
    """Say whether a file's header (its byte 18) asks for a write-ahead log."""
    with path.open("rb") as file:
        return file.read(20)[18:19] == b"\x02"


def to_rollback_journal(connection: sqlite3.Connection) -> None:
    """Settle a connection for writing without locks; what a write-ahead log from elsewhere holds is taken over."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def remove_stale_lock(path: Path) -> None:
    """Take away what a killed process left; the caller holds the run's lock, so no other writer lives."""
    lock, until = path.with_name(f"{path.name}.lock"), time.monotonic() + READER_SECONDS
    while lock.is_dir():
        if time.monotonic() > until:
            with contextlib.suppress(OSError):
                lock.rmdir()
            return
        time.sleep(0.2)
