"""The ledger's tables, and how a file of an earlier version is brought up to date.

One label belongs to one theory and one composition, and has one origin or several. A new file goes through all
migrations, too, so that each of them runs in every test.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from alflow.errors import RunError
from alflow.ledger.locks import carries_locks, reading_address, remove_stale_lock, to_rollback_journal
from alflow.types import Composition

APPLICATION_ID = 0x414C464C
"""Tells a ledger from other SQLite files ("ALFL")."""

_VERSION_1 = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE theories (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE compositions (
        id INTEGER PRIMARY KEY,
        numbers BLOB NOT NULL,              -- (A,) int64, little-endian
        charge INTEGER NOT NULL,
        UNIQUE (numbers, charge)
    ) STRICT
    """,
    """
    CREATE TABLE labels (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,           -- SHA-256 of theory and structure
        theory INTEGER NOT NULL REFERENCES theories (id),
        composition INTEGER NOT NULL REFERENCES compositions (id),
        positions BLOB NOT NULL,            -- (A, 3) float64, little-endian, Å
        status TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
        energy REAL,                        -- eV
        forces BLOB,                        -- (A, 3) float64, little-endian, eV/Å
        reason TEXT,
        detail TEXT NOT NULL,
        host TEXT NOT NULL,
        seconds REAL NOT NULL,
        cycles INTEGER NOT NULL,            -- -1: not counted
        created REAL NOT NULL,              -- seconds since 1970 UTC
        CHECK ((status = 'ok') = (energy IS NOT NULL AND forces IS NOT NULL AND reason IS NULL))
    ) STRICT
    """,
    """
    CREATE TABLE origins (
        label INTEGER NOT NULL REFERENCES labels (id),
        kind TEXT NOT NULL,
        iteration INTEGER NOT NULL,
        replica INTEGER NOT NULL,
        step INTEGER NOT NULL,
        jitter INTEGER NOT NULL,
        PRIMARY KEY (label, kind, iteration, replica, step, jitter)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX origins_by_iteration ON origins (iteration)",
)

_VERSION_2 = (
    # How often a label was computed: every row so far at least once.
    "ALTER TABLE labels ADD COLUMN paid INTEGER NOT NULL DEFAULT 1",
)

_VERSION_3 = (
    # The spin of a composition, which was the lowest; an origin names its pull by one word.
    """
    CREATE TABLE new_compositions (
        id INTEGER PRIMARY KEY,
        numbers BLOB NOT NULL,              -- (A,) int64, little-endian
        charge INTEGER NOT NULL,
        multiplicity INTEGER NOT NULL,      -- 2S + 1
        UNIQUE (numbers, charge, multiplicity)
    ) STRICT
    """,
    "INSERT INTO new_compositions SELECT id, numbers, charge, lowest_multiplicity(numbers, charge) FROM compositions",
    "DROP TABLE compositions",
    "ALTER TABLE new_compositions RENAME TO compositions",
    "ALTER TABLE origins RENAME COLUMN replica TO pull",
)

_VERSION_4 = (
    # What an engine told of a label besides: a JSON object of numbers.
    "ALTER TABLE labels ADD COLUMN diagnostics TEXT NOT NULL DEFAULT '{}'",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
VERSION = len(MIGRATIONS)


def connect_for_writing(path: Path) -> sqlite3.Connection:
    """Open a ledger, made if there is none, brought up to date if it is of an earlier version.

    A commit is on the disk when it returns (write-ahead log, synchronous = FULL), so a power cut loses what was not
    committed and nothing else. Where the file system carries no locks, a rollback journal takes the place of the log.
    """
    locks = carries_locks(path.parent)
    if not locks:
        remove_stale_lock(path)
    connection = _connect(path, "?mode=rwc" if locks else "?mode=rwc&vfs=unix-dotfile")
    try:
        _refuse_cut_off(path)
        _refuse_foreign(connection, path)
        if locks:
            connection.execute("PRAGMA journal_mode = WAL")
        else:
            to_rollback_journal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")  # only now: migrations make tables anew
    except sqlite3.DatabaseError as error:
        connection.close()
        raise unusable(path, error) from error
    except RunError:
        connection.close()
        raise
    return connection


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing ledger read only, also while another process writes it; an earlier version is read as a copy."""
    if not path.is_file():
        raise RunError(f"A run directory holds a ledger; there is none at {path}. Name the directory of a campaign.")
    connection = _connect(path, reading_address(path))
    try:
        _refuse_cut_off(path)
        _refuse_foreign(connection, path)
        version = _version(connection)
        _refuse_empty(path, version)
        return connection if version == VERSION else _copy_up_to_date(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise unusable(path, error) from error
    except RunError:
        connection.close()
        raise


def _refuse_empty(path: Path, version: int) -> None:
    if version == 0:
        raise RunError(
            f"A ledger holds tables; {path} is empty. If its campaign has labelled anything yet, it is damaged: "
            "put a copy of it in its place."
        )


def _copy_up_to_date(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy in memory that is brought up to date, and close the file, which stays as it is."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    connection.backup(copy)
    connection.close()
    _migrate(copy)
    copy.execute("PRAGMA query_only = ON")
    return copy


def _connect(path: Path, how: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path.resolve().as_uri() + how, uri=True, isolation_level=None, timeout=30.0)
    except sqlite3.DatabaseError as error:
        raise unusable(path, error) from error


def is_damage(error: BaseException | None) -> bool:
    """Say whether a database could not be read because its file is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def unusable(path: Path, error: BaseException) -> RunError:
    """Return the sentence for a ledger that SQLite cannot use."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return RunError(
            f"A ledger has one writer at a time; {path} is held by another process. If there is none (it was killed, "
            f"on a file system without locks), the next `alflow run` on it sets it free, or removing {path.name}.lock."
        )
    return RunError(
        f"A ledger is an SQLite file on a writable disk; {path} cannot be used: {error}. If it is damaged, put a copy "
        "of it in its place; what can be read of it, `sqlite3 DAMAGED .recover | sqlite3 NEW` saves."
    )


def _refuse_cut_off(path: Path) -> None:
    """Refuse a file that ends within a page: SQLite takes what is missing for zeros.

    Bytes 16 and 17 of its header are the size of a page; 1 stands for 65536.
    """
    with path.open("rb") as file:
        header = file.read(18)
    page = int.from_bytes(header[16:18], "big")
    size = path.stat().st_size
    if header.startswith(b"SQLite format 3") and page and size % (page if page > 1 else 65536):
        raise RunError(
            f"A ledger is made of whole pages; {path} is damaged: it is cut off. Put a copy of it in its place; what "
            "can be read of it, `sqlite3 DAMAGED .recover | sqlite3 NEW` saves."
        )


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if application != APPLICATION_ID and (tables or application):
        raise RunError(
            f"A ledger bears the mark {APPLICATION_ID:#x}; {path} is an SQLite file of another program "
            f"(mark {application:#x}). Move it away or choose another run directory."
        )
    version = _version(connection)
    if version > VERSION:
        raise RunError(
            f"This alflow knows ledgers up to version {VERSION}; {path} is of version {version}. Use a newer alflow."
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply the missing migrations, each in a transaction of its own."""
    connection.create_function("lowest_multiplicity", 2, _lowest_multiplicity, deterministic=True)
    for version in range(_version(connection), VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _lowest_multiplicity(numbers: bytes, charge: int) -> int:
    return Composition(np.frombuffer(numbers, dtype="<i8"), charge).multiplicity
