"""The reply of a label task: plain data, so that it travels between versions, and what the driver makes of it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.errors import FailureReason
from alflow.types import LabelBatch, LabelFailure, Labels


@dataclass(frozen=True)
class LabelReply:
    """What a task of labels gave."""

    batch: LabelBatch
    theory: str | None
    """Fingerprint of the engine that labelled; None where no engine answered."""

    def pack(self) -> dict[str, Any]:
        """Return it as plain data: arrays, numbers, texts."""
        batch = self.batch
        return {
            "rows": batch.rows,
            "energies": batch.labels.energies,
            "forces": batch.labels.forces,
            "failures": [(f.frame, f.reason, f.detail, f.host) for f in batch.failures],
            "seconds": batch.seconds,
            "cycles": batch.cycles,
            "diagnostics": [dict(told) for told in batch.diagnostics],
            "theory": self.theory,
        }

    @classmethod
    def unpack(cls, value: Mapping[str, Any]) -> LabelReply:
        """Return what `pack` packed."""
        labels = Labels(value["energies"], value["forces"])
        failures = tuple(LabelFailure(*failure) for failure in value["failures"])
        told = tuple(value.get("diagnostics", ()))  # an earlier version tells none
        batch = LabelBatch(value["rows"], labels, failures, value["seconds"], value["cycles"], told)
        return cls(batch, value["theory"])

    @classmethod
    def given_up(cls, reason: FailureReason, detail: str) -> LabelReply:
        """Return the reply of a task that never came back, with its only frame."""
        nothing = Labels(np.empty(0), np.empty((0, 0, 3)))
        failure = LabelFailure(0, reason, detail, socket.gethostname())
        rows, seconds, cycles = np.empty(0, dtype=np.int64), np.zeros(1), np.full(1, -1, dtype=np.int64)
        return cls(LabelBatch(rows, nothing, (failure,), seconds, cycles), None)
