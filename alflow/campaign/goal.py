"""Goal of a campaign: whether it may end before its last iteration, as a function of its records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alflow.acquisition.stopping import change_within, error_within
from alflow.config.acquisition import StopSettings
from alflow.runs.records import Estimate, IterationRecord
from alflow.types import FloatArray


def goal_reached(records: Sequence[IterationRecord], stop: StopSettings, replicas: int) -> str:
    """Say why the campaign may end; empty if it may not.

    Args:
        records: committed iterations, in order.
        stop: the rule.
        replicas: pulls of each molecule and rate.
    """
    recent = records[-stop.iterations :]
    if stop.stop_when == "never" or len(recent) < stop.iterations:
        return ""
    if stop.stop_when == "error":
        return "the barrier error is within its tolerance" if _errors_within(recent, stop, replicas) else ""
    since = records[-(stop.iterations + 1) :]
    if any(any(record.stopped) for record in since):
        return ""
    barriers = np.stack([_by_system(record.barrier_ev, replicas) for record in since], axis=1)
    rests = [change_within(values, stop.iterations, stop.tolerance_ev) for values in barriers]
    return "the barrier no longer changes" if all(rests) else ""


def _errors_within(records: Sequence[IterationRecord], stop: StopSettings, replicas: int) -> bool:
    """Say whether the error of every molecule and rate is within its tolerance in every record."""
    errors = [record.barrier_error_ev for record in records if not any(record.stopped)]
    found = [_by_system(error, replicas) for error in errors if error is not None]
    return len(found) == len(records) and all(
        error_within(values, stop.tolerance_ev) for values in np.concatenate(found)
    )


def _by_system(estimate: Estimate, replicas: int) -> FloatArray:
    """Return (S, R) the values of each molecule and rate."""
    return np.reshape(estimate.values, (-1, replicas))
