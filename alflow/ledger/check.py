"""Check of a ledger: is it whole?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alflow.errors import FAILURE_REASONS
from alflow.ledger.reader import LedgerReader
from alflow.ledger.rows import ORIGIN_KINDS, structure_key
from alflow.types import Composition


@dataclass(frozen=True)
class LedgerReport:
    """What a ledger holds, and what is wrong with it."""

    labelled: int
    failed: int
    theories: int
    compositions: int
    paid_again: int
    """How often a label was computed that the ledger had already."""
    reasons: dict[str, int]
    """Failures by reason, the most frequent first."""
    problems: tuple[str, ...]
    """One sentence each; empty for a sound ledger."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_ledger(ledger: LedgerReader) -> LedgerReport:
    """Check the file, the relations between rows, and every row: sizes, finite numbers, reason, key."""
    problems = list[str]()
    try:
        problems.extend(_file_problems(ledger))
        problems.extend(_orphans(ledger))
        problems.extend(_row_problems(ledger))
        counts = ledger.counts()
        theories, compositions = (_count(ledger, table) for table in ("theories", "compositions"))
        again, reasons = ledger.paid_again(), ledger.failures_by_reason()
    except sqlite3.DatabaseError as error:
        problems.append(f"The file cannot be read to its end: {error}.")
        return LedgerReport(0, 0, 0, 0, 0, {}, tuple(problems))
    return LedgerReport(counts.labelled, counts.failed, theories, compositions, again, reasons, tuple(problems))


def _count(ledger: LedgerReader, table: str) -> int:
    return int(ledger.query(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _file_problems(ledger: LedgerReader) -> Iterator[str]:
    for (message,) in ledger.query("PRAGMA integrity_check"):
        if message != "ok":
            yield f"SQLite's integrity check says: {message}."
    for table, row, parent, _ in ledger.query("PRAGMA foreign_key_check"):
        yield f"Row {row} of {table} points to a row of {parent} that does not exist."


def _orphans(ledger: LedgerReader) -> Iterator[str]:
    for (label,) in ledger.query("SELECT id FROM labels WHERE id NOT IN (SELECT label FROM origins)"):
        yield f"Label {label} has no origin: no dataset holds it."
    for table, column in (("theories", "theory"), ("compositions", "composition")):
        for (row,) in ledger.query(f"SELECT id FROM {table} WHERE id NOT IN (SELECT {column} FROM labels)"):  # noqa: S608
            yield f"Row {row} of {table} has no label."
    for kind, count in ledger.query("SELECT kind, count(*) FROM origins GROUP BY kind"):
        if kind not in ORIGIN_KINDS:
            yield f"{count} origins are of the unknown kind {kind!r}; known are {', '.join(ORIGIN_KINDS)}."


def _row_problems(ledger: LedgerReader) -> Iterator[str]:
    sql = (
        "SELECT l.id, l.key, t.fingerprint, c.numbers, c.charge, c.multiplicity, l.positions, l.status, l.energy, "
        "l.forces, l.reason "
        "FROM labels l JOIN theories t ON t.id = l.theory JOIN compositions c ON c.id = l.composition ORDER BY l.id"
    )
    for label, key, theory, numbers, charge, spin, positions, status, energy, forces, reason in ledger.query(sql):
        size = 3 * len(numbers)
        if len(positions) != size or (forces is not None and len(forces) != size):
            found = (len(positions), None if forces is None else len(forces))
            yield f"Label {label}: positions and forces take {size} bytes each; found {found[0]} and {found[1]}."
            continue
        where = np.frombuffer(positions, dtype="<f8").reshape(-1, 3)
        if structure_key(theory, Composition(np.frombuffer(numbers, dtype="<i8"), charge, spin), where) != key:
            yield f"Label {label}: its key is not that of its theory and structure."
        if status == "ok" and not (np.isfinite(energy) and np.isfinite(np.frombuffer(forces, dtype="<f8")).all()):
            yield f"Label {label}: energy or forces are not finite."
        if status == "failed" and reason not in FAILURE_REASONS:
            yield f"Label {label}: a failure has one of the reasons {', '.join(FAILURE_REASONS)}; found {reason!r}."
