"""The audit of an ensemble: frames of its own pulls at random, what was predicted of them, and what the labels said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alflow.acquisition.calibration import ErrorModel, coverage, error_ratio, fit_error_model, rank_correlation
from alflow.types import FloatArray

FEWEST_ROWS = 8
"""Audited frames below which nothing is calibrated."""
ENOUGH_ROWS = 40
"""Audited frames from which on those of earlier iterations are left out."""
ITERATIONS = 3
"""Latest iterations whose audits may count."""


@dataclass(frozen=True)
class AuditRow:
    """One frame. Errors are those of what drove the pulls, before the label was learnt from."""

    pull: int
    step: int
    progress: float
    """Å; see `alflow.acquisition.progress`."""
    energy_uncertainty: float
    """As the estimator states it for the energy from the start of a pull, not calibrated."""
    force_uncertainty: float
    """Spread of the force on the least certain atom, eV/Å; not calibrated."""
    energy_error: float
    """Of the energy from the start of a pull, eV."""
    force_error: float
    """Length of the error of the force on the worst atom, eV/Å."""


@dataclass(frozen=True)
class Calibration:
    """Makes errors of uncertainties: of the energy from the start of a pull in eV, of the largest force in eV/Å."""

    energy: ErrorModel
    force: ErrorModel


@dataclass(frozen=True)
class Verdict:
    """How a calibration did on frames that it was not taken from, for one quantity."""

    frames: int
    rank: float | None
    """Rank correlation of error and calibrated uncertainty; None where either does not vary."""
    ratio: float
    """Ratio of root mean squares, error : calibrated uncertainty."""
    covered_68: float
    """Share of the errors within the interval that is to hold 68 %."""
    covered_95: float
    """Share of the errors within the interval that is to hold 95 %."""


def predictors(uncertainty: FloatArray, progress: FloatArray) -> FloatArray:
    """Return the predictors (F, 2) of an error: σ = a uᵇ exp(c s).

    Members agree too well on what none of them knows, and more so the further a pull has come: an uncertainty alone
    varies less along the way than the errors do.

    Args:
        uncertainty: (F,) u.
        progress: (F,) s, Å.
    """
    return np.stack([np.log(np.maximum(uncertainty, 1e-12)), progress], axis=1)


def calibrate(audits: Sequence[Sequence[AuditRow]]) -> Calibration | None:
    """Return the calibration by the audits of the latest iterations; None if they are too few.

    The latest audit counts, and those before it as long as there are fewer than `ENOUGH_ROWS` rows. Older ones belong
    to ensembles that knew less; what is learnt from them is how errors go with uncertainty.

    Args:
        audits: of each iteration so far, in order.
    """
    rows: list[AuditRow] = []
    for audit in list(reversed(audits))[:ITERATIONS]:
        if len(rows) >= ENOUGH_ROWS:
            break
        rows.extend(audit)
    if len(rows) < FEWEST_ROWS:
        return None
    columns = columns_of(rows)
    return Calibration(
        *(
            fit_error_model(columns[f"{of}_error"], predictors(columns[f"{of}_uncertainty"], columns["progress"]), 1)
            for of in ("energy", "force")
        )
    )


def verdicts(calibration: Calibration, audit: Sequence[AuditRow]) -> tuple[Verdict, Verdict]:
    """Return how a calibration did on an audit that it was not taken from: for the energy, for the largest force."""
    columns, (energy, force) = columns_of(audit), expected_errors(calibration, audit)
    return (
        verdict(columns["energy_error"], energy, calibration.energy),
        verdict(columns["force_error"], force, calibration.force),
    )


def expected_errors(calibration: Calibration, rows: Sequence[AuditRow]) -> tuple[FloatArray, FloatArray]:
    """Return the expected errors (F,) of the energy, eV, and of the largest force, eV/Å, of audited frames."""
    columns = columns_of(rows)
    energy = calibration.energy(predictors(columns["energy_uncertainty"], columns["progress"]))
    return energy, calibration.force(predictors(columns["force_uncertainty"], columns["progress"]))


def columns_of(rows: Sequence[AuditRow]) -> dict[str, FloatArray]:
    """Return the numbers of audited frames as arrays (F,), by the names of the fields."""
    names = ("progress", "energy_uncertainty", "force_uncertainty", "energy_error", "force_error")
    return {name: np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in names}


def verdict(errors: FloatArray, stated: FloatArray, model: ErrorModel) -> Verdict:
    """Return how a model did that states (F,) standard deviations of (F,) errors."""
    rank = rank_correlation(errors, stated)
    return Verdict(
        len(errors),
        rank if np.isfinite(rank) else None,
        error_ratio(errors, stated),
        coverage(errors, model.factor_68 * stated),
        coverage(errors, model.factor_95 * stated),
    )
