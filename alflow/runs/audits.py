"""Audits of iterations: ``audit.json`` in the folder of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from alflow.acquisition.audit import AuditRow
from alflow.files.whole import write_atomically
from alflow.runs.directory import RunDirectory

NAME = "audit.json"


def save_audit(run: RunDirectory, iteration: int, rows: Sequence[AuditRow]) -> None:
    """Write the audit of an iteration."""
    text = json.dumps([asdict(row) for row in rows], indent=0)
    write_atomically(run.iteration(iteration) / NAME, text.encode())


def load_audits(run: RunDirectory, iterations: int) -> list[tuple[AuditRow, ...]]:
    """Read the audits of the first so many iterations; one without has no rows."""
    found = []
    for iteration in range(iterations):
        path = run.iteration(iteration) / NAME
        rows = json.loads(path.read_text()) if path.exists() else []
        found.append(tuple(AuditRow(**row) for row in rows))
    return found
