"""Reading the ledger, also while a campaign writes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from alflow.ledger.rows import ORIGIN_KINDS, TRAINING_KINDS, LedgerRow, Origin, OriginKind, structure_keys
from alflow.ledger.schema import connect_for_reading, is_damage, unusable
from alflow.types import Composition, Dataset, FloatArray, Frames, Group, IntArray, Labels

_KEYS_A_QUERY = 500
_RANK = "CASE o.kind " + " ".join(f"WHEN '{kind}' THEN {rank}" for rank, kind in enumerate(ORIGIN_KINDS)) + " END"
_NO_ITERATION = 1 << 60
_ASKED = (
    "FROM labels l WHERE l.theory = (SELECT id FROM theories WHERE fingerprint = ?) AND EXISTS (SELECT 1 FROM "
    "origins o WHERE o.label = l.id AND (o.kind = 'first-data' OR (o.kind IN ('selected', 'jitter', 'audit') "
    "AND o.iteration < ?))) AND NOT EXISTS (SELECT 1 FROM origins o WHERE o.label = l.id AND o.kind = 'import')"
)
CANONICAL_ORDER = f"o.iteration, {_RANK}, o.pull, o.step, o.jitter, l.key"
"""Order of the dataset: by where a structure came from, never by when its label arrived."""


@dataclass(frozen=True)
class Lookup:
    """Which of some frames the ledger knows. Rows ascend."""

    labelled: IntArray
    failed: IntArray
    missing: IntArray
    """To be labelled; of frames that are equal to the last bit, the first only."""
    repeated: IntArray
    """Equal to an earlier missing frame of the same request."""


@dataclass(frozen=True)
class Counts:
    """Labels and failures."""

    labelled: int
    failed: int


class LedgerReader:
    """Read access to a ledger. Used from the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing ledger read only.

        Raises:
            RunError: there is none, or it cannot be read.
        """
        return cls(connect_for_reading(path), path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file.

        Raises:
            RunError: what was read in the block showed that the file is damaged.
        """
        if error is None or not is_damage(error):
            self.close()
            return
        with contextlib.suppress(sqlite3.Error):
            self.close()
        raise unusable(self.path, error) from error

    def query(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one SELECT or PRAGMA."""
        return self._connection.execute(sql, values)

    def theories(self) -> tuple[str, ...]:
        """Return the fingerprints of all theories in the file, in the order of their arrival."""
        return tuple(row[0] for row in self.query("SELECT fingerprint FROM theories ORDER BY id"))

    def lookup(self, theory: str, frames: Frames) -> Lookup:
        """Say which frames have a label, which have failed, and which are to be labelled under a theory."""
        keys = structure_keys(theory, frames)
        known = self._status(keys)
        rows: dict[str, list[int]] = {"ok": [], "failed": [], "missing": [], "repeated": []}
        first: set[bytes] = set()
        for row, key in enumerate(keys):
            rows[known.get(key) or ("repeated" if key in first else "missing")].append(row)
            first.add(key)
        return Lookup(*(np.array(rows[kind], dtype=np.int64) for kind in ("ok", "failed", "missing", "repeated")))

    def labels(self, theory: str, frames: Frames) -> tuple[IntArray, Labels]:
        """Return the rows of the frames that have a label, and their labels."""
        keys = structure_keys(theory, frames)
        found: dict[bytes, tuple[float, bytes]] = {}
        for part in _parts(keys):
            sql = f"SELECT key, energy, forces FROM labels WHERE status = 'ok' AND key IN ({_marks(part)})"  # noqa: S608
            found.update({key: (energy, forces) for key, energy, forces in self.query(sql, part)})
        rows = [row for row, key in enumerate(keys) if key in found]
        forces = np.empty((len(rows), len(frames.numbers), 3))
        for place, row in enumerate(rows):
            forces[place] = vectors(found[keys[row]][1])
        energies = np.array([found[keys[row]][0] for row in rows], dtype=np.float64)
        return np.array(rows, dtype=np.int64), Labels(energies, forces)

    def dataset(
        self,
        theory: str,
        up_to_iteration: int | None = None,
        kinds: Sequence[OriginKind] = TRAINING_KINDS,
        without: Collection[bytes] = (),
    ) -> tuple[Dataset, tuple[Origin, ...]]:
        """Return all labels of one theory in canonical order, and the origin of each row.

        The order depends on the origins alone: iteration, kind, replica, step, jitter; groups (compositions) stand in
        the order of their first row. So within each group the rows of a later iteration follow those of an earlier one.
        A structure with several origins stands where its first one puts it.

        Args:
            theory: Fingerprint of the label engine.
            up_to_iteration: Last iteration that counts; None for all.
            kinds: Origins that count.
            without: Keys of structures that do not.
        """
        places: dict[int, dict[int, int]] = {}
        origins: dict[int, list[Origin]] = {}
        seen: set[int] = set()
        for label, key, composition, *origin in self.query(*_in_order(theory, up_to_iteration, kinds)):
            if label not in seen and key not in without:
                seen.add(label)
                rows = places.setdefault(composition, {})
                rows[label] = len(rows)
                origins.setdefault(composition, []).append(Origin(*origin))
        groups = tuple(self._group(theory, composition, rows) for composition, rows in places.items())
        return Dataset(groups), tuple(origin for group in origins.values() for origin in group)

    def rows(self, theory: str | None = None, kinds: Sequence[OriginKind] = ORIGIN_KINDS) -> Iterator[LedgerRow]:
        """Yield labels and failures, each with its first origin of the given kinds, in canonical order."""
        sql = (
            "SELECT l.id, t.fingerprint, c.numbers, c.charge, c.multiplicity, l.positions, l.energy, l.forces, "  # noqa: S608
            "l.reason, l.detail, l.host, l.seconds, l.cycles, l.created, l.diagnostics, "
            "o.kind, o.iteration, o.pull, o.step, o.jitter "
            "FROM labels l JOIN origins o ON o.label = l.id JOIN theories t ON t.id = l.theory "
            "JOIN compositions c ON c.id = l.composition WHERE t.fingerprint = coalesce(?, t.fingerprint) "
            f"AND o.kind IN ({_marks(kinds)}) ORDER BY {CANONICAL_ORDER}"
        )
        seen: set[int] = set()
        for label, named, numbers, charge, spin, positions, energy, forces, *rest in self.query(sql, (theory, *kinds)):
            if label in seen:
                continue
            seen.add(label)
            reason, detail, host, seconds, cycles, created, diagnostics, *origin = rest
            yield LedgerRow(
                theory=named,
                composition=Composition(np.frombuffer(numbers, dtype="<i8"), charge, spin),
                positions=vectors(positions),
                origin=Origin(*origin),
                energy=energy,
                forces=None if forces is None else vectors(forces),
                reason=reason,
                detail=detail,
                host=host,
                seconds=seconds,
                cycles=cycles,
                created=created,
                diagnostics=json.loads(diagnostics),
            )

    def counts(self, theory: str | None = None, iteration: int | None = None) -> Counts:
        """Count labels and failures, of one theory and one iteration if these are given."""
        where, values = _where(theory, iteration)
        found = dict(self.query(f"SELECT status, count(*) FROM labels WHERE {where} GROUP BY status", values))  # noqa: S608
        return Counts(found.get("ok", 0), found.get("failed", 0))

    def counts_by_iteration(
        self, theory: str | None = None, kinds: Sequence[OriginKind] = TRAINING_KINDS
    ) -> dict[int, Counts]:
        """Count labels and failures by the iteration that asked for them first."""
        where, values = _where(theory, None)
        sql = (
            "SELECT first, sum(status = 'ok'), sum(status = 'failed') FROM (SELECT status, "  # noqa: S608
            f"(SELECT min(iteration) FROM origins WHERE label = labels.id AND kind IN ({_marks(kinds)})) AS first "
            f"FROM labels WHERE {where}) WHERE first IS NOT NULL GROUP BY first ORDER BY first"
        )
        return {
            iteration: Counts(labelled, failed) for iteration, labelled, failed in self.query(sql, [*kinds, *values])
        }

    def failures_by_reason(self, theory: str | None = None, iteration: int | None = None) -> dict[str, int]:
        """Count failures by reason, the most frequent first."""
        where, values = _where(theory, iteration)
        sql = (
            f"SELECT reason, count(*) FROM labels WHERE status = 'failed' AND {where} "  # noqa: S608
            "GROUP BY reason ORDER BY count(*) DESC, reason"
        )
        return dict(self.query(sql, values))

    def failures(self, theory: str, iteration: int) -> dict[bytes, str]:
        """Return the reason of each failure that an iteration asked for, by the key of its structure."""
        where, values = _where(theory, iteration)
        return dict(self.query(f"SELECT key, reason FROM labels WHERE status = 'failed' AND {where}", values))  # noqa: S608

    def asked(self, theory: str, before: int) -> set[bytes]:
        """Return the keys of all structures that a campaign had labelled for first data, or before an iteration.

        Failures count: their time was spent. What was imported does not.
        """
        return {key for (key,) in self.query(f"SELECT l.key {_ASKED}", (theory, before))}

    def count_asked(self, theory: str) -> int:
        """Count all structures that a campaign had labelled; see `asked`."""
        return int(self.query(f"SELECT count(*) {_ASKED}", (theory, _NO_ITERATION)).fetchone()[0])

    def label_seconds(self, theory: str, numbers: IntArray, last: int = 1000) -> FloatArray:
        """Return the wall times of the last labels of one composition, s, the latest first."""
        sql = (
            "SELECT l.seconds FROM labels l JOIN theories t ON t.id = l.theory "
            "JOIN compositions c ON c.id = l.composition "
            "WHERE t.fingerprint = ? AND c.numbers = ? AND l.status = 'ok' ORDER BY l.id DESC LIMIT ?"
        )
        found = self.query(sql, (theory, np.asarray(numbers, dtype="<i8").tobytes(), last))
        return np.array([seconds for (seconds,) in found], dtype=np.float64)

    def came_in_since(self, moment: float) -> int:
        """Count labels and failures that came in since a moment (seconds since 1970 UTC)."""
        return int(self.query("SELECT count(*) FROM labels WHERE created >= ?", (moment,)).fetchone()[0])

    def paid_again(self) -> int:
        """Count how often a label was computed that the ledger had already."""
        return int(self.query("SELECT coalesce(sum(paid - 1), 0) FROM labels").fetchone()[0])

    def digest(self) -> str:
        """Return a SHA-256 of keys, labels, failure reasons and origins: equal for equal campaigns.

        Hosts, times, details and the order of arrival do not enter.
        """
        sql = (
            "SELECT l.key, l.status, l.energy, l.forces, l.reason, o.kind, o.iteration, o.pull, o.step, o.jitter "
            "FROM labels l JOIN origins o ON o.label = l.id "
            "ORDER BY l.key, o.kind, o.iteration, o.pull, o.step, o.jitter"
        )
        digest = hashlib.sha256()
        for key, status, energy, forces, *rest in self.query(sql):
            number = np.array([np.nan if energy is None else energy], dtype="<f8").tobytes()
            digest.update(key + number + (forces or b"") + repr((status, *rest)).encode())
        return digest.hexdigest()

    def _status(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        known: dict[bytes, str] = {}
        for part in _parts(keys):
            known.update(self.query(f"SELECT key, status FROM labels WHERE key IN ({_marks(part)})", part))  # noqa: S608
        return known

    def _group(self, theory: str, composition: int, places: dict[int, int]) -> Group:
        """Return the labels of one composition in the given places."""
        sql = "SELECT numbers, charge, multiplicity FROM compositions WHERE id = ?"
        numbers, charge, multiplicity = self.query(sql, (composition,)).fetchone()
        atoms = len(numbers) // 8
        positions, forces = np.empty((len(places), atoms * 3)), np.empty((len(places), atoms * 3))
        energies = np.empty(len(places))
        sql = (
            "SELECT l.id, l.energy, l.positions, l.forces FROM labels l JOIN theories t ON t.id = l.theory "
            "WHERE t.fingerprint = ? AND l.composition = ? AND l.status = 'ok'"
        )
        for label, energy, place, force in self.query(sql, (theory, composition)):
            row = places.get(label)
            if row is not None:
                energies[row] = energy
                positions[row] = np.frombuffer(place, dtype="<f8")
                forces[row] = np.frombuffer(force, dtype="<f8")
        shape = (len(places), atoms, 3)
        frames = Frames.of(np.frombuffer(numbers, dtype="<i8"), positions.reshape(shape), charge, multiplicity)
        return Group(frames, Labels(energies, forces.reshape(shape)))


def vectors(blob: bytes) -> FloatArray:
    """Return the (A, 3) array that a blob holds."""
    return np.frombuffer(blob, dtype="<f8").astype(np.float64).reshape(-1, 3)


def _in_order(theory: str, up_to_iteration: int | None, kinds: Sequence[OriginKind]) -> tuple[str, list[Any]]:
    sql = (
        "SELECT l.id, l.key, l.composition, o.kind, o.iteration, o.pull, o.step, o.jitter FROM origins o "  # noqa: S608
        "JOIN labels l ON l.id = o.label JOIN theories t ON t.id = l.theory "
        f"WHERE t.fingerprint = ? AND l.status = 'ok' AND o.kind IN ({_marks(kinds)}) "
        f"AND o.iteration <= coalesce(?, o.iteration) ORDER BY {CANONICAL_ORDER}"
    )
    return sql, [theory, *kinds, up_to_iteration]


def _where(theory: str | None, iteration: int | None) -> tuple[str, list[Any]]:
    conditions, values = ["1"], list[Any]()
    if theory is not None:
        conditions.append("theory = (SELECT id FROM theories WHERE fingerprint = ?)")
        values.append(theory)
    if iteration is not None:
        conditions.append("id IN (SELECT label FROM origins WHERE iteration = ?)")
        values.append(iteration)
    return " AND ".join(conditions), values


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[first : first + _KEYS_A_QUERY] for first in range(0, len(keys), _KEYS_A_QUERY))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
