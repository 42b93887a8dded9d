"""Goal of a campaign: whether it is reached, and whether it is near, as functions of the records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alflow.acquisition.stopping import change_within, error_within, may_certify
from alflow.config.acquisition import StopSettings
from alflow.config.campaign import CampaignSettings
from alflow.config.sampling import ReplicaSettings
from alflow.runs.records import Estimate, IterationRecord
from alflow.types import FloatArray


def goal_reached(records: Sequence[IterationRecord], stop: StopSettings, replicas: ReplicaSettings) -> str:
    """Say why the campaign may end; empty if it may not. Only iterations that pulled all replicas count.

    Args:
        records: committed iterations, in order.
        stop: the rule.
        replicas: pulls of each molecule and rate.
    """
    changes = stop.stop_when == "change"
    since = records[-(stop.iterations + changes) :]
    if stop.stop_when == "never" or len(since) < stop.iterations + changes:
        return ""
    if any(any(record.stopped) or _pulled(record, replicas) < replicas.certify for record in since):
        return ""
    if stop.stop_when == "audit":
        found = [record.barrier_corrected_ev for record in since]
        told = all(one and all(each.within(stop.tolerance_ev) for each in one) for one in found)
        return "the barrier's error by the audit is within its tolerance" if told else ""
    if not changes:
        return "the barrier error is within its tolerance" if _errors_within(since, stop, replicas) else ""
    barriers = np.stack([_by_system(record.barrier_ev, replicas.certify) for record in since], axis=1)
    rests = [change_within(values, stop.iterations, stop.tolerance_ev) for values in barriers]
    return "the barrier no longer changes" if all(rests) else ""


def replicas_to_pull(records: Sequence[IterationRecord], settings: CampaignSettings, *, last: bool = False) -> int:
    """Return how many replicas of each molecule and rate the next iteration pulls: all of them where it may certify.

    It may where it is the last one planned, or where the last record leaves the goal possible for every molecule and
    rate: by the paired errors for `stop_when` "error" (`may_certify`), by the change of the barrier over the replicas
    that the last two iterations share for "change", by the labels around the break for "audit". So the iteration after
    one within the tolerance certifies again. Assumes that the next potential errs about as much as the last one, which
    trained on fewer labels.

    Args:
        records: committed iterations, in order.
        settings: of the campaign.
        last: whether none is to follow, whatever is planned.
    """
    replicas, stop = settings.sampling.replicas, settings.stop
    near = len(records) >= settings.iterations - 1 or any(
        (
            last,
            stop.stop_when == "error" and _errors_are_near(records, stop, replicas),
            stop.stop_when == "change" and _changes_are_near(records, stop, replicas),
            stop.stop_when == "audit" and _corrections_are_near(records, stop),
        )
    )
    return replicas.certify if near else replicas.search


def _errors_are_near(records: Sequence[IterationRecord], stop: StopSettings, replicas: ReplicaSettings) -> bool:
    last = records[-1] if records else None
    if last is None or last.barrier_error_ev is None or any(last.stopped):
        return False
    errors = _by_system(last.barrier_error_ev, _pulled(last, replicas))
    return all(may_certify(values, replicas.certify, stop.tolerance_ev) for values in errors)


def _changes_are_near(records: Sequence[IterationRecord], stop: StopSettings, replicas: ReplicaSettings) -> bool:
    last = records[-2:]
    if len(last) < 2 or any(any(record.stopped) for record in last):
        return False
    shared = min(_pulled(record, replicas) for record in last)
    before, after = (_by_system(record.barrier_ev, _pulled(record, replicas))[:, :shared] for record in last)
    return all(may_certify(values, replicas.certify, stop.tolerance_ev) for values in after - before)


def _corrections_are_near(records: Sequence[IterationRecord], stop: StopSettings) -> bool:
    last = records[-1] if records else None
    if last is None or any(last.stopped):
        return False
    found = last.barrier_corrected_ev
    return bool(found) and all(one.may_be_within(stop.tolerance_ev) for one in found)


def _errors_within(records: Sequence[IterationRecord], stop: StopSettings, replicas: ReplicaSettings) -> bool:
    """Say whether the error of every molecule and rate is within its tolerance in every record."""
    found = [
        _by_system(record.barrier_error_ev, replicas.certify)
        for record in records
        if record.barrier_error_ev is not None
    ]
    return len(found) == len(records) and all(
        error_within(values, stop.tolerance_ev) for values in np.concatenate(found)
    )


def _pulled(record: IterationRecord, replicas: ReplicaSettings) -> int:
    """Return the replicas that an iteration pulled."""
    return replicas.certify if record.replicas is None else record.replicas


def _by_system(estimate: Estimate, replicas: int) -> FloatArray:
    """Return (S, R) the values of each molecule and rate."""
    return np.reshape(estimate.values, (-1, replicas))
