"""Exchange of labels between campaigns of one driver: what two of them ask for under one theory is computed once.

A structure that another campaign is having labelled is waited for; one that its ledger holds is read from there. Only
labels are exchanged: a failure may be due to limits that are a campaign's own, so each finds its own failures.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alflow.errors import RunError
from alflow.farm.queue import Chunk, LabelQueue, TagT
from alflow.ledger import LedgerReader, structure_keys
from alflow.types import FloatArray, Frames, LabelBatch, Labels
from alflow.workers.reply import LabelReply
from alflow.workers.result import Report

KEPT = 20_000
"""Labels that are kept until their campaign has written them into its ledger, which takes less than a second."""

Label = tuple[float, FloatArray]
"""Energy in eV, and (A, 3) forces in eV/Å."""


@dataclass(eq=False)
class Seat:
    """A campaign that takes part."""

    exchange: LabelExchange
    name: str
    post: Callable[[Callable[[], None]], None] = lambda _: None
    """Has something done in the campaign's own thread."""
    theories: dict[str, Path] = field(default_factory=dict)
    """Ledger that its labels of each theory are in."""
    shared: int = 0
    """Labels that others computed for it."""

    def leave(self) -> None:
        """Take part no more: whoever waits for its labels computes them."""
        self.exchange.leave(self)


class LabelExchange:
    """Knows who is having which structure labelled. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: list[Seat] = []
        self._owners: dict[bytes, Seat] = {}
        self._waiting: dict[bytes, list[tuple[Seat, Callable[[Label | None, bool], None]]]] = {}
        self._recent: OrderedDict[bytes, Label] = OrderedDict()

    def join(self, name: str) -> Seat:
        """Let a campaign take part."""
        seat = Seat(self, name)
        with self._lock:
            self._seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Give up what a campaign was having labelled, and forget what it waits for."""
        with self._lock:
            if seat in self._seats:
                self._seats.remove(seat)
            for waiting in self._waiting.values():
                waiting[:] = [one for one in waiting if one[0] is not seat]
            for key in [key for key, owner in self._owners.items() if owner is seat]:
                self._settle(key, None, given_up=True)

    def ledgers(self, seat: Seat, theory: str) -> list[Path]:
        """Return the ledgers of the other campaigns of a theory."""
        with self._lock:
            own = seat.theories.get(theory)
            others = [one.theories[theory] for one in self._seats if one is not seat and theory in one.theories]
        return [path for path in dict.fromkeys(others) if path != own]

    def claim(
        self, seat: Seat, keys: Sequence[bytes], arrived: Callable[[bytes, Label | None, bool], None]
    ) -> dict[bytes, Label | None]:
        """Say who computes some structures.

        Args:
            seat: the campaign that asks.
            keys: of the structures.
            arrived: told of each that another campaign is having labelled, in the thread of the asking one: the label,
                or None where it failed; and whether the other gave up before it had an answer.

        Returns:
            Those that are not waited for: the label where it is known, None for those that the campaign computes.
        """
        found: dict[bytes, Label | None] = {}
        with self._lock:
            for key in keys:
                owner = self._owners.get(key)
                if key in self._recent:
                    found[key] = self._recent[key]
                elif owner is None or owner is seat:
                    self._owners[key] = seat
                    found[key] = None
                else:
                    self._waiting.setdefault(key, []).append((seat, partial(arrived, key)))
        return found

    def publish(self, seat: Seat, labels: Mapping[bytes, Label | None]) -> None:
        """Tell all that wait what came of structures: a label, or None for a failure."""
        with self._lock:
            for key, label in labels.items():
                if label is not None:
                    self._recent[key] = label
                if self._owners.get(key) is seat:
                    self._settle(key, label, given_up=False)
            while len(self._recent) > KEPT:
                self._recent.popitem(last=False)

    def _settle(self, key: bytes, label: Label | None, *, given_up: bool) -> None:
        del self._owners[key]
        for waiting, tell in self._waiting.pop(key, []):
            waiting.post(partial(tell, label, given_up))


class SharedLabelQueue(LabelQueue[TagT]):
    """A queue of labels that takes from other campaigns what they have, or are having, computed."""

    def __init__(
        self,
        graph: Any,
        model: Any,
        sink: Callable[[Chunk[TagT], LabelReply, Report | None], None],
        *,
        theory: str,
        ledger: Path,
        **settings: Any,
    ) -> None:
        """Start empty.

        Args:
            graph: runs the tasks; has a seat in an exchange.
            model: see `LabelQueue`.
            sink: see `LabelQueue`; a label of another campaign has no report.
            theory: that all labels are of.
            ledger: where the campaign keeps them.
            settings: see `LabelQueue`.
        """
        super().__init__(graph, model, self._came, theory=theory, **settings)
        self._take_in, self._one_theory = sink, theory
        self._seat: Seat = graph.exchange
        self._seat.post = graph.post
        self._seat.theories[theory] = ledger
        self._awaited: dict[bytes, list[Chunk[TagT]]] = {}

    def request(self, frames: Frames, tags: Sequence[TagT], *, one_by_one: bool = False) -> None:
        """Ask for labels; see `LabelQueue.request`."""
        keys = structure_keys(self._one_theory, frames)
        chunk = Chunk(frames, tuple(tags))
        known: dict[bytes, Label | None] = dict(self._in_other_ledgers(frames, keys))
        unknown = [key for key in dict.fromkeys(keys) if key not in known]
        known |= self._seat.exchange.claim(self._seat, unknown, self._told)
        own = []
        for row, key in enumerate(keys):
            if key in known and known[key] is None:
                own.append(row)
                continue
            part = chunk.part(slice(row, row + 1))
            if (label := known.get(key)) is not None:
                self._share(part, label)
            else:
                self._awaited.setdefault(key, []).append(part)
        super().request(frames.take(np.array(own, dtype=np.int64)), [tags[row] for row in own], one_by_one=one_by_one)

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return super().idle() and not self._awaited

    def _in_other_ledgers(self, frames: Frames, keys: Sequence[bytes]) -> dict[bytes, Label]:
        """Return the labels that other campaigns of the theory have; a ledger that cannot be read has none."""
        found: dict[bytes, Label] = {}
        for path in self._seat.exchange.ledgers(self._seat, self._one_theory) if len(frames) else ():
            with contextlib.suppress(sqlite3.Error, RunError, OSError), LedgerReader.open(path) as ledger:
                rows, labels = ledger.labels(self._one_theory, frames)
                for place, row in enumerate(rows.tolist()):
                    found[keys[row]] = (float(labels.energies[place]), labels.forces[place])
        return found

    def _came(self, chunk: Chunk[TagT], reply: LabelReply, report: Report | None) -> None:
        """Tell the others what came back of a task, and take it in."""
        keys = structure_keys(self._one_theory, chunk.frames)
        batch = reply.batch
        labels: dict[bytes, Label | None] = dict.fromkeys(keys)
        for place, row in enumerate(batch.rows.tolist()):
            labels[keys[row]] = (float(batch.labels.energies[place]), batch.labels.forces[place])
        self._seat.exchange.publish(self._seat, labels)
        self._take_in(chunk, reply, report)

    def _told(self, key: bytes, label: Label | None, given_up: bool) -> None:
        """Take in what another campaign had computed; compute what failed there, or was given up."""
        for chunk in self._awaited.pop(key, []):
            if label is not None:
                self._share(chunk, label)
            elif given_up:
                self.request(chunk.frames, chunk.tags)
            else:
                super().request(chunk.frames, chunk.tags)

    def _share(self, chunk: Chunk[TagT], label: Label) -> None:
        """Take in one label of another campaign; it took no time of this one."""
        energy, forces = label
        one = np.zeros(1, dtype=np.int64)
        batch = LabelBatch(one, Labels(np.array([energy]), forces[None]), (), np.zeros(1), np.full(1, -1))
        self._seat.shared += 1
        self._take_in(chunk, LabelReply(batch, self._one_theory), None)
