"""A worker that gives other numbers than the driver, or is far too slow, is refused."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import time
from dataclasses import replace

import numpy as np
import pytest

from alflow.errors import CanaryError, InputError, LabelError
from alflow.labeling.engines.sleep import SleepEngine
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.structures import alkane
from alflow.types import Evaluation
from alflow.workers import models as forcemodels
from alflow.workers import selftest as canary
from alflow.workers.models import EngineModel, engine_of
from alflow.workers.tasks import label

ETHANE = alkane(2)


class Wrong(SleepEngine):
    offset = 0.0
    seconds = 0.0

    def compute(self, composition, positions, start=None) -> Evaluation:
        time.sleep(self.seconds)
        right = super().compute(composition, positions)
        return replace(right, energy=right.energy + self.offset)


def worker(offset: float = 0.0, seconds: float = 0.0) -> Wrong:
    engine = Wrong(SleepSettings(seconds_per_label=0))
    engine.offset, engine.seconds = offset, seconds
    return engine


@pytest.fixture
def known() -> canary.Canary:
    return canary.make_canary(worker(), ETHANE.composition, ETHANE.positions[0])


def test_right_number_passes(known) -> None:
    canary.verify(worker(offset=5e-7), known)


@pytest.mark.parametrize("offset", [2e-6, -1.0])
def test_wrong_number_names_host_and_both_values(known, offset) -> None:
    with pytest.raises(CanaryError, match=socket.gethostname()) as caught:
        canary.verify(worker(offset), known)
    assert f"{known.energy:.9f}" in str(caught.value)
    assert f"{known.energy + offset:.9f}" in str(caught.value)


def test_far_too_slow_is_told_from_merely_slower(known, monkeypatch) -> None:
    monkeypatch.setattr(canary, "NEGLIGIBLE_SECONDS", 1e-3)
    quick = replace(known, seconds=1e-3)
    canary.verify(worker(seconds=0.004), quick)
    with pytest.raises(CanaryError, match="20 times"):
        canary.verify(worker(seconds=0.1), quick)


def test_slow_first_label_alone_is_forgiven(known, monkeypatch) -> None:
    monkeypatch.setattr(canary, "NEGLIGIBLE_SECONDS", 1e-3)
    engine = worker(seconds=0.1)
    compute = engine.compute

    def compiles_first(*args):
        result = compute(*args)
        engine.seconds = 0.0
        return result

    monkeypatch.setattr(engine, "compute", compiles_first)
    canary.verify(engine, replace(known, seconds=1e-3))


def test_other_theory_and_failing_label_are_refused(known) -> None:
    with pytest.raises(CanaryError, match="another theory"):
        canary.verify(SleepEngine(SleepSettings(seed=7)), known)
    failing = SleepEngine(SleepSettings(not_converged_share=1.0))
    with pytest.raises(CanaryError, match="not-converged"):
        canary.verify(failing, replace(known, theory=failing.theory))


def test_error_travels_with_its_pool(known, monkeypatch) -> None:
    monkeypatch.setenv("PARSL_WORKER_POOL_ID", "pool-7")
    with pytest.raises(CanaryError) as caught:
        canary.verify(worker(1.0), known)
    back = pickle.loads(pickle.dumps(caught.value))
    assert (str(back), back.pool) == (str(caught.value), "pool-7")


def sleeping(known, **settings):
    given = SleepSettings(seconds_per_label=0.0, **settings).model_dump(mode="json")
    fields = tuple(getattr(known, part.name) for part in dataclasses.fields(known))
    return EngineModel("sleep", given, canary=fields)


def test_a_worker_that_cannot_make_the_engine_is_refused(known, monkeypatch) -> None:
    def broken(model):
        raise InputError("no parameter files here")

    monkeypatch.setattr(forcemodels, "_make_engine", broken)
    with pytest.raises(CanaryError, match=r"no engine .*no parameter files here"):
        engine_of(sleeping(known))
    with pytest.raises(InputError):
        engine_of(replace(sleeping(known), canary=None))


def test_a_worker_that_labels_nothing_more_proves_itself_again(known, monkeypatch) -> None:
    model = sleeping(known)
    positions = ETHANE.positions + np.zeros((3, 1, 1))
    arguments = (model.engine, model.settings, ETHANE.composition, positions, 0.0, None, model.canary)
    assert len(label(*arguments).value["rows"]) == 3

    def fail(self, *_):
        raise LabelError(reason, "no space left on the device")

    reason = "engine-error"
    monkeypatch.setattr(SleepEngine, "compute", fail)
    with pytest.raises(CanaryError, match="no space left"):
        label(*arguments)
    reason = "not-converged"  # of the structures
    assert len(label(*arguments).value["failures"]) == 3
