"""Audits: what calibrates an uncertainty, and what checks it."""

import numpy as np
import pytest

from alflow.acquisition.audit import (
    ENOUGH_ROWS,
    FEWEST_ROWS,
    AuditRow,
    calibrate,
    expected_errors,
    verdicts,
)


def audit(count, seed, size=1.0):
    """Return an audit whose errors grow with progress more than the spread does."""
    rng = np.random.default_rng(seed)
    rows = []
    for step in range(count):
        way = rng.uniform(0.0, 4.5)
        energy, force = rng.lognormal(-3.0, 0.7), rng.lognormal(-4.0, 0.5)
        errors = rng.standard_normal(2)
        force_error = abs(size * 4.0 * force * np.exp(0.5 * way) * errors[1])
        rows.append(AuditRow(0, step, way, energy, force, size * 0.1 * energy * errors[0], force_error))
    return tuple(rows)


def test_a_calibration_is_right_for_the_next_audit():
    model = calibrate([audit(4000, 1)])
    for verdict in verdicts(model, audit(4000, 2)):
        assert verdict.frames == 4000
        assert verdict.ratio == pytest.approx(1.0, abs=0.1)
        assert verdict.covered_68 == pytest.approx(0.68, abs=0.03)
        assert verdict.covered_95 == pytest.approx(0.95, abs=0.015)
        assert verdict.rank > 0.3
    energy, force = expected_errors(model, audit(4000, 3))
    assert energy.shape == force.shape == (4000,)


def test_what_is_three_times_as_wrong_is_said_to_be():
    model = calibrate([audit(4000, 1)])
    for verdict in verdicts(model, audit(4000, 2, size=3.0)):
        assert verdict.ratio == pytest.approx(3.0, rel=0.1)
        assert verdict.covered_95 < 0.6


def test_earlier_audits_count_while_the_latest_is_small():
    few, many = audit(FEWEST_ROWS - 1, 1), audit(ENOUGH_ROWS, 2)
    assert calibrate([]) is None
    assert calibrate([few]) is None
    assert calibrate([few, ()]) is None
    assert calibrate([few, few]).force.rows == 2 * len(few)
    assert calibrate([many, few]).force.rows == len(many) + len(few)
    assert calibrate([few, many]).force.rows == len(many)
    assert calibrate([many, few, few, few]).force.rows == 3 * len(few)  # the first is too long ago
