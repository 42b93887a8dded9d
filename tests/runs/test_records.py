"""Estimates over pulls."""

import math
from pathlib import Path

import numpy as np
import pytest

from alflow.report.curves import in_order
from alflow.runs.records import Estimate, IterationRecord, estimate_text


def test_a_pull_without_a_barrier_has_no_part_in_the_mean():
    whole, found = Estimate.of([1.0, 2.0, 3.0]), Estimate.of([1.0, math.nan, 2.0, 3.0])
    assert (found.mean, found.ci95) == (whole.mean, whole.ci95)
    assert whole.ci95 == pytest.approx(4.302652729911275 / np.sqrt(3))
    assert estimate_text(whole) == "2.000 ± 2.484"
    assert estimate_text(found, "+") == "+2.000 ± 2.484 (3 of 4)"
    assert estimate_text(Estimate.of([math.nan])) == estimate_text(None) == "–"
    assert estimate_text(Estimate.of([1.0, 2.0], alike=False)) == "–"
    assert estimate_text(Estimate.of([math.nan, 2.0])) == "2.000 (1 of 2)"


def test_segments_are_read_in_the_order_of_their_numbers(tmp_path):
    paths = [tmp_path / f"segment-{number:03d}.npz" for number in (1000, 999, 0, 101)]
    assert [path.stem for path in in_order(paths)] == ["segment-000", "segment-101", "segment-999", "segment-1000"]


def test_records_of_earlier_versions_are_read(tmp_path):
    line = next(Path(__file__).parents[2].glob("docs/results/*.jsonl")).read_text().splitlines()[0]
    assert '"threshold_ev"' in line
    record = IterationRecord.from_json(line)
    assert record.threshold
    assert record.replicas is None
    assert IterationRecord.from_json(record.to_json()) == record
