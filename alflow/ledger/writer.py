"""Writing the ledger. One writer a file, used from one thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from alflow.errors import FAILURE_REASONS, FailureReason, RunError
from alflow.ledger.reader import LedgerReader
from alflow.ledger.rows import ORIGIN_KINDS, LedgerRow, Origin, structure_keys
from alflow.ledger.schema import connect_for_writing
from alflow.types import Frames


class Ledger(LedgerReader):
    """Read and write access to a ledger.

    Rows wait in memory until `commit`, which puts all of them on the disk or none. Reading commits first, so that it
    sees them. A label is never replaced; a failure is replaced by a label of the same structure, and one that is
    imported counts for the iteration of its import.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._pending: list[LedgerRow] = []
        self._links: list[tuple[bytes, Origin]] = []

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a ledger; make it, or bring it up to date, if need be.

        Raises:
            RunError: the file is not a ledger, is of a later version, or cannot be written.
        """
        return cls(connect_for_writing(path), path)

    def close(self) -> None:
        """Commit and close."""
        try:
            self.commit()
        finally:
            super().close()

    @property
    def pending(self) -> int:
        """Rows and origins that wait for the next commit."""
        return len(self._pending) + len(self._links)

    def query(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Commit what waits, then run one SELECT or PRAGMA."""
        self.commit()
        return super().query(sql, values)

    def add(self, rows: Iterable[LedgerRow]) -> None:
        """Take labels and failures in; they are on the disk after the next `commit`.

        Raises:
            ValueError: a row is neither a finite label nor a failure with a known reason.
        """
        checked = list(rows)
        for row in checked:
            _check(row)
        self._pending.extend(checked)

    def add_origins(self, theory: str, frames: Frames, origins: Sequence[Origin]) -> None:
        """Note further origins of structures that the ledger knows already, and that nobody computed again.

        Args:
            theory: Fingerprint of the label engine.
            frames: F known structures.
            origins: F origins.
        """
        self._links.extend(zip(structure_keys(theory, frames), origins, strict=True))

    def forget_failures(self, theory: str, reasons: Sequence[FailureReason], iteration: int) -> int:
        """Take failures with one of the reasons out, that nothing before an iteration asked for; return how many."""
        marks = ", ".join("?" * len(reasons))
        sql = (
            "SELECT id FROM labels WHERE status = 'failed' "  # noqa: S608
            f"AND theory = (SELECT id FROM theories WHERE fingerprint = ?) AND reason IN ({marks}) "
            "AND NOT EXISTS (SELECT 1 FROM origins WHERE label = labels.id AND iteration < ?)"
        )
        found = [(int(row[0]),) for row in self.query(sql, (theory, *reasons, iteration))]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("DELETE FROM origins WHERE label = ?", found)
        self._connection.executemany("DELETE FROM labels WHERE id = ?", found)
        self._connection.execute("COMMIT")
        return len(found)

    def remove(self, keys: Collection[bytes], detail: str) -> None:
        """Take labels out: they become failures with the reason "removed", which nothing learns from or asks for again.

        Args:
            keys: Of structures that have a label.
            detail: Why.
        """
        sql = (
            "UPDATE labels SET status = 'failed', energy = NULL, forces = NULL, reason = 'removed', detail = ? "
            "WHERE key = ? AND status = 'ok'"
        )
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(sql, [(detail, key) for key in keys])
        self._connection.execute("COMMIT")

    def commit(self) -> None:
        """Put all that waits on the disk. Quick when nothing does.

        Raises:
            RunError: the disk is full or fails; what waits goes on waiting.
        """
        if not self.pending:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for row in self._pending:
                self._insert(row)
            for key, origin in self._links:
                self._link(key, origin)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise RunError(
                    f"A ledger needs a disk that takes writes; {self.pending} rows could not be written to "
                    f"{self.path}: {error}. Make room and run the same command again."
                ) from error
            raise
        self._pending, self._links = [], []

    def _insert(self, row: LedgerRow) -> None:
        key = row.key
        known = self._connection.execute("SELECT id, status FROM labels WHERE key = ?", (key,)).fetchone()
        if known is None:
            self._new(key, row)
        else:
            label, status = known
            self._connection.execute("UPDATE labels SET paid = paid + 1 WHERE id = ?", (label,))
            if status == "failed" and row.reason is None:
                self._connection.execute(
                    "UPDATE labels SET status = ?, energy = ?, forces = ?, reason = ?, detail = ?, host = ?, "
                    "seconds = ?, cycles = ?, created = ?, diagnostics = ? WHERE id = ?",
                    (*_outcome(row), label),
                )
                if row.origin.kind == "import":  # rows of iterations that are over stay as they were
                    self._connection.execute("DELETE FROM origins WHERE label = ?", (label,))
        self._link(key, row.origin)

    def _new(self, key: bytes, row: LedgerRow) -> None:
        theory = self._id("theories", {"fingerprint": row.theory})
        own = row.composition
        columns = {
            "numbers": own.numbers.astype("<i8").tobytes(),
            "charge": own.charge,
            "multiplicity": own.multiplicity,
        }
        composition = self._id("compositions", columns)
        positions = (np.asarray(row.positions, dtype="<f8") + 0.0).tobytes()
        self._connection.execute(
            "INSERT INTO labels (key, theory, composition, positions, status, energy, forces, reason, detail, host, "
            "seconds, cycles, created, diagnostics) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, theory, composition, positions, *_outcome(row)),
        )

    def _id(self, table: str, columns: dict[str, Any]) -> int:
        """Return the id of a theory or composition, which is added if it is new."""
        values = tuple(columns.values())
        where = " AND ".join(f"{column} = ?" for column in columns)
        found = self._connection.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()  # noqa: S608
        if found is not None:
            return int(found[0])
        marks = ", ".join("?" * len(columns))
        cursor = self._connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _link(self, key: bytes, origin: Origin) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO origins (label, kind, iteration, pull, step, jitter) "
            "SELECT id, ?, ?, ?, ?, ? FROM labels WHERE key = ?",
            (origin.kind, origin.iteration, origin.pull, origin.step, origin.jitter, key),
        )


def _outcome(row: LedgerRow) -> tuple[Any, ...]:
    """Return the columns that hold what labelling gave."""
    forces = None if row.forces is None else np.ascontiguousarray(row.forces, dtype="<f8").tobytes()
    status = "ok" if row.reason is None else "failed"
    told = json.dumps(dict(row.diagnostics), sort_keys=True)
    return status, row.energy, forces, row.reason, row.detail, row.host, row.seconds, row.cycles, row.created, told


def _check(row: LedgerRow) -> None:
    if row.origin.kind not in ORIGIN_KINDS:
        raise ValueError(f"an origin is one of {', '.join(ORIGIN_KINDS)}; found {row.origin.kind!r}")
    if row.positions.shape != (len(row.numbers), 3):
        raise ValueError(f"positions are (A, 3) for A = {len(row.numbers)} atoms; found {row.positions.shape}")
    if row.reason is not None:
        if row.reason not in FAILURE_REASONS or row.energy is not None or row.forces is not None:
            raise ValueError(f"a failure has a known reason and no label; found {row!r}")
        return
    if row.energy is None or row.forces is None or row.forces.shape != row.positions.shape:
        raise ValueError(f"a label is an energy and forces of all atoms; found {row!r}")
    if not (np.isfinite(row.energy) and np.isfinite(row.forces).all() and np.isfinite(row.positions).all()):
        raise ValueError(f"a label is finite; found {row!r}")
