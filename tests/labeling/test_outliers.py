"""An absurd energy is a failure; the labels beside it stay."""

from __future__ import annotations

import numpy as np

from alflow.labeling.outliers import refuse_outliers
from alflow.types import LabelBatch, LabelFailure, Labels


def batch(energies: list[float], rows: list[int], failed: tuple[int, ...] = ()) -> LabelBatch:
    forces = np.arange(len(energies) * 6.0).reshape(-1, 2, 3)
    failures = tuple(LabelFailure(row, "timeout", "late", "a") for row in failed)
    count = len(rows) + len(failed)
    return LabelBatch(
        np.array(rows), Labels(np.array(energies), forces), failures, np.zeros(count), np.zeros(count, dtype=np.int64)
    )


def test_far_energies_become_failures_in_order() -> None:
    given = batch([-10.0, 1e6, -9.0, -600.0], [0, 1, 3, 4], failed=(2,))
    kept = refuse_outliers(given, -9.5, 500.0, "b")
    assert kept.rows.tolist() == [0, 3]
    assert kept.labels.energies.tolist() == [-10.0, -9.0]
    assert np.array_equal(kept.labels.forces, given.labels.forces[[0, 2]])
    assert [(failure.frame, failure.reason) for failure in kept.failures] == [
        (1, "energy-outlier"), (2, "timeout"), (4, "energy-outlier"),
    ]  # fmt: skip
    assert "1e+06 eV" in kept.failures[0].detail


def test_nothing_far_changes_nothing() -> None:
    given = batch([-10.0, -9.0], [0, 1])
    assert refuse_outliers(given, -9.5, 500.0, "b") is given
