"""Labels that hang, crash or do not converge become rows with their reason, and all others arrive."""

from __future__ import annotations

import labelfaults
import pytest


def test_failures_of_every_kind_in_a_guard(tmp_path) -> None:
    shares = dict.fromkeys(("hang_share", "crash_share", "not_converged_share", "nan_share", "error_share"), 0.1)
    options = {"kind": "threads", "workers": "2", "gpu_workers": "1"}
    found = labelfaults.label(tmp_path, 60, {"seconds_per_label": 0.001, **shares}, options, 0.5)
    assert len(found.expected) == 5
    assert found.failures == found.expected
    assert found.labelled == 60 - sum(found.expected.values())
    assert found.paid_again == 0


@pytest.mark.slow
def test_thousand_labels(tmp_path) -> None:
    shares = dict.fromkeys(("hang_share", "crash_share", "not_converged_share"), 0.05)
    options = {"kind": "threads", "workers": "8", "gpu_workers": "1"}
    found = labelfaults.label(tmp_path, 1000, {"seconds_per_label": 0.02, **shares}, options, 1.0)
    assert found.failures == found.expected
    assert found.labelled == 1000 - sum(found.expected.values())
    assert found.paid_again == 0


@pytest.mark.slow
def test_labels_that_kill_their_worker_are_isolated(tmp_path) -> None:
    """Without a guard: a lost task is tried again, then frame by frame.

    A worker that dies now and then takes the result of the task before with it, or the lock of the pool's results.
    """
    options = {"workers": "2", "gpu_workers": "1", "heartbeat_seconds": "1", "heartbeat_limit_seconds": "5"}
    settings = {"seconds_per_label": 0.01, "crash_share": 0.08}
    found = labelfaults.label(tmp_path, 30, settings, options, 0.0, frames_per_task=5)
    assert found.expected["engine-crash"] in (1, 2, 3, 4)
    assert found.failures == found.expected
    assert found.labelled == 30 - found.expected["engine-crash"]
