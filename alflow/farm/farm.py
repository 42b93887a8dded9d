"""The labels of a campaign: frames in, ledger rows out. A frame that the ledger knows is not paid for again."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.farm.exchange import SharedLabelQueue
from alflow.farm.queue import Chunk, LabelQueue
from alflow.labeling.outliers import refuse_outliers
from alflow.ledger import Ledger, LedgerRow, Origin, label_rows, structure_keys
from alflow.types import Composition, Frames
from alflow.workers.models import EngineModel
from alflow.workers.reply import LabelReply
from alflow.workers.result import Report

ROUNDING = 1e-9
"""Of a share times a number of labels."""
FEW_LABELS = 20
"""An iteration that asks for fewer labels is judged as if it had asked for so many."""


@dataclass
class Asked:
    """A structure whose label has been asked for and has not come."""

    frame: Frames
    """The one frame."""
    origins: list[Origin]
    times: int = 1
    """How often it was asked for in this account."""
    since: float = field(default_factory=time.monotonic)


class LabelFarm:
    """Asks for the labels that the ledger does not hold, and writes what comes back into it."""

    def __init__(
        self,
        graph: TaskGraph,
        ledger: Ledger,
        model: EngineModel,
        settings: LabelSettings,
        theory: str,
        detail: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Start with nothing asked for.

        Args:
            graph: Runs the tasks.
            ledger: Where labels are kept.
            model: The label engine.
            settings: Of the labels.
            theory: Fingerprint of the engine.
            detail: Of its tasks, for the event log.
        """
        self.model, self.theory = model, theory
        self._ledger, self._settings = ledger, settings
        kind = LabelQueue if graph.exchange is None else partial(SharedLabelQueue, ledger=ledger.path)
        self._queue: LabelQueue[Origin] = kind(
            graph,
            model,
            self._take,
            theory=theory,
            task_seconds=settings.task_seconds,
            frames_per_task=settings.frames_per_task,
            detail=lambda chunk: {**_iteration(chunk), **detail},
        )
        self.wanted = self.done = self.failed = 0
        self.known = 0
        """Found in the ledger."""
        self._in_flight: dict[bytes, Asked] = {}
        self._left_out: frozenset[bytes] = frozenset()
        self._usual: dict[Composition, float] = {}

    def request(self, frames: Frames, origins: Sequence[Origin]) -> None:
        """Ask for labels of frames; those in the ledger are taken from there, those in flight are waited for."""
        keys, known = structure_keys(self.theory, frames), self._ledger.lookup(self.theory, frames)
        held = np.sort(np.concatenate([known.labelled, known.failed]))
        self._ledger.add_origins(self.theory, frames.take(held), [origins[row] for row in held])
        came = sum(keys[row] not in self._left_out for row in held)
        self.wanted += len(frames) - len(known.repeated)
        self.known += came
        self.done += came
        self.failed += sum(keys[row] not in self._left_out for row in known.failed)
        asked = [
            row
            for row in known.missing
            if self._is_new(keys[row], frames.take(slice(int(row), int(row) + 1)), origins[row])
        ]
        rows = np.array(asked, dtype=np.int64)
        self._queue.request(frames.take(rows), [origins[row] for row in rows])

    def _is_new(self, key: bytes, frame: Frames, origin: Origin) -> bool:
        """Say whether a structure that the ledger lacks is to be submitted, and note that it was asked for."""
        before = self._in_flight.get(key)
        if before is not None:
            before.origins.append(origin)
            before.times += 1
        elif key not in self._left_out:
            self._in_flight[key] = Asked(frame, [origin])
            return True
        return False

    def in_flight(self) -> dict[bytes, Asked]:
        """Return what has been asked for and has not come, by the keys of the structures."""
        return dict(self._in_flight)

    def oldest_seconds(self) -> float:
        """Return how long ago the label was asked for that is out longest, s; 0 where none is."""
        return time.monotonic() - min((asked.since for asked in self._in_flight.values()), default=time.monotonic())

    def spent(self) -> int:
        """Return how many structures the campaign has had labelled so far, those in flight included."""
        return self._ledger.count_asked(self.theory) + len(self._in_flight)

    def label_seconds(self) -> float:
        """Return the mean time of a label measured so far, s."""
        return self._queue.label_seconds()

    def rate(self) -> float:
        """Return labels a second, counted since `new_account`, over the time that any was in flight."""
        return self._queue.rate()

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return self._queue.idle()

    def enough(self, share: float) -> bool:
        """Say whether so large a share of what this account asked for has come back, all of the audit among it."""
        if share == 1.0 or self.idle():
            return self.idle()
        of_audit = any(origin.kind == "audit" for asked in self._in_flight.values() for origin in asked.origins)
        return self.done >= share * self.wanted - ROUNDING and not of_audit

    def tick(self) -> None:
        """Commit what arrived: called when nothing else has, so many labels that come quickly share a commit."""
        self._ledger.commit()

    def check_failures(self, iteration: int) -> None:
        """Raise a CampaignError if more labels failed than the settings accept; see `FEW_LABELS`."""
        if self.failed > self._settings.max_failed_share * max(self.wanted, FEW_LABELS):
            counted = self._ledger.failures_by_reason(self.theory, iteration)
            reasons = ", ".join(f"{count} {reason}" for reason, count in counted.items())
            raise CampaignError(
                f"At most {self._settings.max_failed_share:.0%} of the labels of one iteration may fail "
                f"(labels.max_failed_share); in iteration {iteration} {self.failed} of {self.wanted} did: {reasons}."
            )

    def new_account(self, left_out: Collection[bytes] = ()) -> None:
        """Start counting anew: wanted, done, known, failed, and the rate.

        Args:
            left_out: keys of structures whose labels are not asked for and do not count, even where the ledger has
                them: an earlier run decided to go on without them.
        """
        self.wanted = self.done = self.known = self.failed = 0
        self._left_out = frozenset(left_out)
        for asked in self._in_flight.values():
            asked.times = 0
        self._queue.count_anew()

    def _take(self, chunk: Chunk[Origin], reply: LabelReply, report: Report | None) -> None:
        """Write down what came back of a task; labels that cannot be right are failures."""
        batch, host = reply.batch, report.host if report is not None else ""
        first = chunk.tags[0].kind == "first-data"  # what is usual is not known before all of them are there
        usual = None if first else self._usual_energy(chunk.frames)
        if usual is not None and len(batch.rows):
            batch = refuse_outliers(batch, usual, self._settings.max_energy_offset_ev, host or socket.gethostname())
        rows = label_rows(self.theory, chunk.frames, batch, chunk.tags, host, time.time())
        self._ledger.add(rows)
        for row in rows:
            self._count(row)

    def _count(self, row: LedgerRow) -> None:
        """Count a row for all that asked for it, and note where else its structure came from."""
        asked = self._in_flight.pop(row.key)
        self.done += asked.times
        self.failed += asked.times * (row.reason is not None)
        for origin in asked.origins[1:]:
            self._ledger.add_origins(self.theory, asked.frame, [origin])

    def _usual_energy(self, frames: Frames) -> float | None:
        """Return the median energy of the first data of a composition, eV; None without any."""
        if not self._usual:
            first_data, _ = self._ledger.dataset(self.theory, kinds=("first-data",))
            if not first_data.groups:  # all of it was imported
                first_data, _ = self._ledger.dataset(self.theory, 0, kinds=("import",))
            for group in first_data.groups:
                self._usual[group.frames.composition] = float(np.median(group.labels.energies))
        return self._usual.get(frames.composition)


def _iteration(chunk: Chunk[Origin]) -> Mapping[str, Any]:
    return {"iteration": chunk.tags[0].iteration}
