"""The stage that ends an iteration: what was selected and, last and whole, its record."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import numpy as np

from alflow.acquisition.audit import AuditRow, calibrate
from alflow.campaign.budget import spent_before
from alflow.campaign.campaign import Campaign
from alflow.campaign.correcting import corrections
from alflow.campaign.difference import added_labels
from alflow.campaign.forecast import Start, forecast_from_first_iteration
from alflow.campaign.judging import Judge
from alflow.campaign.pulling import Pulled
from alflow.campaign.record import audit_record, barrier, make_record
from alflow.campaign.reference import References
from alflow.campaign.training import Trained
from alflow.files.whole import write_atomically
from alflow.runs.audits import load_audits, save_audit
from alflow.runs.events import read_events
from alflow.runs.records import AuditRecord, BarrierCorrection, IterationRecord
from alflow.runs.xyz import COORDINATE, DISTANCE, write_selected


def commit(campaign: Campaign, references: References, iteration: int, ensemble: Trained, pulled: Pulled) -> None:
    """Write what was selected and, last and whole, the record of the iteration."""
    specs = [pull.spec for pull in pulled.pulls]
    campaign.enter(iteration, "commit" if references.done(specs) else "reference")
    campaign.graph.run_until(lambda: references.done(specs))
    campaign.enter(iteration, "commit")
    chosen = campaign.settings.selection
    by_energy = chosen.spread_of == "energy" and chosen.threshold != "calibrated"
    name = "spread_ev" if by_energy else "spread_ev_per_angstrom"
    picked = [(pull.spec.steering.molecule, pull.selected) for pull in pulled.pulls]
    along = DISTANCE if campaign.settings.sampling.bias is None else COORDINATE
    write_selected(campaign.run.iteration(iteration) / "selected.xyz", picked, name, along)
    record = _record(campaign, references, iteration, ensemble, pulled)
    campaign.run.commit(record)
    campaign.view.records = list(campaign.run.records())
    campaign.view.labels_spent = record.labels_spent or 0
    campaign.seconds, campaign.counted = {}, campaign.graph.counts.copy()
    if iteration == 0:
        _write_forecast(campaign, record)


def _record(
    campaign: Campaign, references: References, iteration: int, ensemble: Trained, pulled: Pulled
) -> IterationRecord:
    specs = [pull.spec for pull in pulled.pulls]
    barriers, pulls = references.barriers(specs), pulled.pulls
    spent = None if campaign.settings.labels.budget is None else spent_before(campaign, iteration + 1)
    judge = Judge.of(campaign.settings, ensemble.path, ensemble.dataset, ensemble.best)
    return make_record(
        iteration,
        len(ensemble.dataset),
        ensemble.members,
        ensemble.best.index,
        [(pull.chain.segments, pull.threshold(campaign.settings.selection), len(pull.selected)) for pull in pulls],
        barriers,
        alike=len(campaign.plan.systems) == 1,
        replicas=len(pulls) // len(campaign.plan.systems),
        unseen=judge.unseen_errors(references.segments(specs), added_labels(campaign)) if barriers else (None, None),
        audit=_audit(campaign, iteration, pulled),
        corrections=_corrections(campaign, pulled),
        new_labels=pulled.came.labels,
        late=pulled.came.late,
        labels_spent=spent,
        last_of_budget=pulled.given.last,
        failures=pulled.came.failures,
        tasks=Counter(name.split(":")[0] for name in (campaign.graph.counts - campaign.counted).elements()),
        seconds=campaign.seconds,
    )


def _audit(campaign: Campaign, iteration: int, pulled: Pulled) -> AuditRecord | None:
    """Set the audit's labels against what was predicted; write both down, and what comes of it."""
    if not pulled.audited:
        return None
    rows, theory = list[AuditRow](), campaign.farm.theory
    for one in pulled.audited:
        _, start = campaign.ledger.labels(theory, pulled.starts[one.frames.composition])
        if len(start):
            rows.extend(one.compared(*campaign.ledger.labels(theory, one.frames), float(start.energies[0])))
    save_audit(campaign.run, iteration, rows)
    before = load_audits(campaign.run, iteration)
    return audit_record(rows, calibrate(before), calibrate([*before, rows]))


def _corrections(campaign: Campaign, pulled: Pulled) -> tuple[BarrierCorrection, ...]:
    """Return what the labels around the break say of the barriers; nothing where none were asked for."""
    if not campaign.settings.stop.audited_pulls:
        return ()
    works = [float("nan") if pull.chain.segments[-1].stopped else barrier(pull.chain.segments) for pull in pulled.pulls]
    by_system = np.reshape(works, (len(campaign.plan.systems), -1))
    return corrections(campaign, pulled.around_the_break, by_system)


def _write_forecast(campaign: Campaign, first: IterationRecord) -> None:
    """Say, from what the first iteration took, what the whole campaign will."""
    plan, farm = campaign.plan, campaign.farm
    events = read_events(campaign.run.events)
    times = campaign.ledger.label_seconds(farm.theory, plan.molecules[0].numbers)
    times = times[times > 0]  # first data took no time of their own
    label_seconds = float(np.mean(times)) if len(times) else farm.label_seconds()
    start = Start.of(plan.settings, campaign.given, campaign.base)
    found = forecast_from_first_iteration(plan, label_seconds, first, events, start)
    if found is not None:
        write_atomically(campaign.run.path / "forecast.json", json.dumps(asdict(found)).encode())
