"""The labels of a campaign: frames in, ledger rows out. A frame that the ledger knows is not paid for again."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.farm.exchange import SharedLabelQueue
from alflow.farm.queue import Chunk, LabelQueue
from alflow.labeling.outliers import refuse_outliers
from alflow.ledger import Ledger, Origin, label_rows
from alflow.types import Composition, Frames
from alflow.workers.models import EngineModel
from alflow.workers.reply import LabelReply
from alflow.workers.result import Report

FEW_LABELS = 20
"""An iteration that asks for fewer labels is judged as if it had asked for so many."""


class LabelFarm:
    """Asks for the labels that the ledger does not hold, and writes what comes back into it."""

    def __init__(
        self, graph: TaskGraph, ledger: Ledger, model: EngineModel, settings: LabelSettings, theory: str
    ) -> None:
        """Start with nothing asked for.

        Args:
            graph: Runs the tasks.
            ledger: Where labels are kept.
            model: The label engine.
            settings: Of the labels.
            theory: Fingerprint of the engine.
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
            detail=_iteration,
        )
        self.wanted = self.done = self.failed = 0
        self.known = 0
        """Found in the ledger."""
        self._usual: dict[Composition, float] = {}

    def request(self, frames: Frames, origins: Sequence[Origin]) -> None:
        """Ask for labels of frames; those in the ledger are taken from there."""
        known = self._ledger.lookup(self.theory, frames)
        held = np.sort(np.concatenate([known.labelled, known.failed]))
        self._ledger.add_origins(self.theory, frames.take(held), [origins[row] for row in held])
        self.wanted += len(frames) - len(known.repeated)
        self.known += len(held)
        self.done += len(held)
        self.failed += len(known.failed)
        self._queue.request(frames.take(known.missing), [origins[row] for row in known.missing])

    def label_seconds(self) -> float:
        """Return the mean time of a label measured so far, s."""
        return self._queue.label_seconds()

    def rate(self) -> float:
        """Return labels a second, counted since `new_account`, over the time that any was in flight."""
        return self._queue.rate()

    def idle(self) -> bool:
        """Say whether all that was asked for has come back."""
        return self._queue.idle()

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

    def new_account(self) -> None:
        """Start counting anew: wanted, done, known, failed, and the rate."""
        self.wanted = self.done = self.known = self.failed = 0
        self._queue.count_anew()

    def _take(self, chunk: Chunk[Origin], reply: LabelReply, report: Report | None) -> None:
        """Write down what came back of a task; labels that cannot be right are failures."""
        batch, host = reply.batch, report.host if report is not None else ""
        usual = self._usual_energy(chunk.frames)
        if usual is not None and len(batch.rows):
            batch = refuse_outliers(batch, usual, self._settings.max_energy_offset_ev, host or socket.gethostname())
        rows = label_rows(self.theory, chunk.frames, batch, chunk.tags, host, time.time())
        self.done += len(rows)
        self.failed += sum(row.reason is not None for row in rows)
        self._ledger.add(rows)

    def _usual_energy(self, frames: Frames) -> float | None:
        """Return the median energy of the first data of a composition, eV; None without any."""
        if not self._usual:
            first_data, _ = self._ledger.dataset(self.theory, kinds=("first-data",))
            for group in first_data.groups:
                self._usual[group.frames.composition] = float(np.median(group.labels.energies))
        return self._usual.get(frames.composition)


def _iteration(chunk: Chunk[Origin]) -> Mapping[str, Any]:
    return {"iteration": chunk.tags[0].iteration}
