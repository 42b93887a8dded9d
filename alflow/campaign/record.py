"""The record of an iteration: what was learnt, pulled and asked for, and how it compares with the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alflow.acquisition.audit import AuditRow, Calibration, verdicts
from alflow.runs.records import AuditRecord, BarrierCorrection, Estimate, IterationRecord
from alflow.types import Member, Segment


def make_record(
    iteration: int,
    labels: int,
    members: Sequence[Member],
    best: int,
    pulls: Sequence[tuple[Sequence[Segment], float, int]],
    references: Sequence[float],
    *,
    alike: bool,
    replicas: int,
    unseen: tuple[float | None, float | None],
    audit: AuditRecord | None,
    corrections: tuple[BarrierCorrection, ...],
    new_labels: int,
    late: int,
    labels_spent: int | None,
    last_of_budget: bool,
    failures: Mapping[str, int],
    tasks: Mapping[str, int],
    seconds: Mapping[str, float],
) -> IterationRecord:
    """Return the record of an iteration.

    Args:
        iteration: its number.
        labels: labels that the members learnt from.
        members: of the ensemble.
        best: index of the best of them.
        pulls: of each pull its segments, its threshold, and the number of frames selected.
        references: barrier of each pull with the label engine, eV; empty if there are none.
        alike: whether all pulls are of one molecule and rate, so that their barriers have a mean.
        replicas: pulls of each molecule and rate.
        unseen: errors along the reference pulls: energy in eV, force in eV/Å.
        audit: of the ensemble.
        corrections: of the barrier of each molecule and rate, by labels around the break; empty if there are none.
        new_labels: labels that came in.
        late: labels that it went on without.
        labels_spent: labels asked for so far; None where there is no budget.
        last_of_budget: whether the budget ends with it.
        failures: labels that did not, by reason.
        tasks: tasks that ended, by name.
        seconds: what each stage took, s.
    """
    segments = [found for found, _, _ in pulls]
    barriers = [barrier(found) for found in segments]
    stopped = tuple(found[-1].stopped for found in segments)
    errors = [
        float("nan") if cut else pulled - reference
        for cut, pulled, reference in zip(stopped, barriers, references, strict=False)
    ]
    spreads = [np.concatenate([segment.spread for segment in found]) for found in segments]
    valid = [member.valid_errors for member in members]
    return IterationRecord(
        iteration=iteration,
        labels=labels,
        selected=sum(selected for _, _, selected in pulls),
        new_labels=new_labels,
        late=late,
        labels_spent=labels_spent,
        last_of_budget=last_of_budget,
        failures=dict(failures),
        best_member=best,
        threshold=tuple(threshold for _, threshold, _ in pulls),
        largest_spread_ev=tuple(float(np.max(spread, initial=0.0)) for spread in spreads),
        energy_mae_ev=tuple(found.energy_mae_ev for found in valid),
        energy_rmse_ev=tuple(found.energy_rmse_ev for found in valid),
        force_mae_ev_per_angstrom=tuple(found.force_mae_ev_per_angstrom for found in valid),
        barrier_ev=Estimate.of(barriers, alike=alike),
        barrier_max_ev=Estimate.of([largest_work(found) for found in segments], alike=alike),
        reference_barrier_ev=Estimate.of(references, alike=alike) if references else None,
        barrier_error_ev=Estimate.of(errors) if references else None,
        unseen_energy_mae_ev=unseen[0],
        unseen_force_mae_ev_per_angstrom=unseen[1],
        stopped=stopped,
        audit=audit,
        barrier_corrected_ev=corrections,
        tasks=dict(tasks),
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        replicas=replicas,
    )


def barrier(segments: Sequence[Segment]) -> float:
    """Return the work of what steers at the last record of a pull, eV; not-a-number if it has none."""
    recorded = [segment.work for segment in segments if len(segment.work)]
    return float(recorded[-1][-1]) if recorded else float("nan")


def audit_record(
    audit: Sequence[AuditRow], before: Calibration | None, after: Calibration | None
) -> AuditRecord | None:
    """Return what an audit says; None if no audited frame got a label.

    Args:
        audit: of this iteration.
        before: calibration by the audits of the iterations before.
        after: the same with this one's.
    """
    if not audit:
        return None
    checked = (None, None) if before is None else verdicts(before, audit)
    squares = [np.mean([getattr(row, name) ** 2 for row in audit]) for name in ("energy_error", "force_error")]
    return AuditRecord(
        frames=len(audit),
        energy_rmse_ev=float(np.sqrt(squares[0])),
        force_rmse_ev_per_angstrom=float(np.sqrt(squares[1])),
        energy=None if after is None else after.energy,
        force=None if after is None else after.force,
        energy_checked=checked[0],
        force_checked=checked[1],
    )


def largest_work(segments: Sequence[Segment]) -> float:
    """Return the largest work on the way, eV; not-a-number if nothing was recorded."""
    return max((float(segment.work.max()) for segment in segments if len(segment.work)), default=float("nan"))
