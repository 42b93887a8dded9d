"""Late labels: what an iteration goes on without is decided once, and repeated by a run that is gone on with."""

import json
import shutil
import time
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from tinycampaign import TINY

from alflow.campaign import launch as launching
from alflow.campaign.late import late_keys, late_labels
from alflow.campaign.launch import launch
from alflow.config.load import validate_campaign
from alflow.display.view import Silent
from alflow.errors import RunError
from alflow.execution.graph import TaskGraph
from alflow.farm.farm import LabelFarm
from alflow.labeling.engines.sleep import SleepEngine
from alflow.ledger import Ledger, LedgerReader
from alflow.runs.directory import RunDirectory, load_dataset

SITE = {"kind": "threads", "workers": "16"}
SHARE, AUDIT = 0.7, 0.1
EVERY = 5
"""One of so many labels is late."""
ITERATIONS = 3
LIMIT_S = 120.0
TIMED = ("seconds", "tasks")
"""What differs from run to run."""


def settings_with(iterations=ITERATIONS, share=SHARE, **more):
    data = tomllib.loads(TINY)
    data["labels"] = {"engine": "sleep", "wait_share": share, "frames_per_task": 1, "guard": False}
    data["labels"]["settings"] = {"seconds_per_label": 0.0}
    data["selection"] = {"threshold": "calibrated", "cap_order": "diverse", "cap": 12, "audit": AUDIT}
    return validate_campaign(data | {"iterations": iterations, "augmentation": {"copies": 1}, **more}, "tiny")


class Slow:
    """Workers of this process that keep some labels until their iteration, or the one after, has gone on without."""

    def __init__(self):
        self.until, self.seen, self.gone = {}, set(), False

    def request(self, run, frames, origins):
        """Note which of the labels asked for are slow."""
        for positions, origin in zip(frames.positions, origins, strict=True):
            if origin.kind != "audit" and origin not in self.seen and origin.iteration < ITERATIONS - 1:
                self.seen.add(origin)
                if len(self.seen) % EVERY == 0:
                    after = origin.iteration + (len(self.seen) % (2 * EVERY) == 0)
                    last = min(after, ITERATIONS - 2)
                    self.until[positions.tobytes()] = run / f"iteration-{last:03d}" / "late.json"

    def wait(self, positions):
        """Wait as long as the label takes."""
        path, limit = self.until.get(positions.tobytes()), time.monotonic() + LIMIT_S
        while path is not None and not path.exists() and not self.gone and time.monotonic() < limit:
            time.sleep(0.01)


@pytest.fixture(scope="module", autouse=True)
def slow():
    """Let some labels be slow."""
    slow, request, compute = Slow(), LabelFarm.request, SleepEngine.compute

    def requesting(self, frames, origins):
        slow.request(self._ledger.path.parent, frames, origins)
        request(self, frames, origins)

    def computing(self, composition, positions, start=None):
        slow.wait(positions)
        return compute(self, composition, positions, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelFarm, "request", requesting)
        patch.setattr(SleepEngine, "compute", computing)
        yield slow


def run_of(settings, path):
    finished = launch(settings, "local", SITE, path, Silent())
    return RunDirectory(path), finished


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_of(settings_with(), tmp_path_factory.mktemp("late") / "run")[0]


def theory_of(run):
    return run.identity()["theory"]


def keys_of(run, dataset):
    from alflow.ledger import structure_keys

    return {key for group in dataset.groups for key in structure_keys(theory_of(run), group.frames)}


def learnt(run, iteration):
    return keys_of(run, load_dataset(run.iteration(iteration) / "dataset.npz"))


def trained_as_written(run, iterations):
    """Say whether each training learnt from what the iterations before had asked for, without what came late."""
    with LedgerReader.open(run.ledger) as ledger:
        for iteration in range(1, iterations):
            without = late_keys(run, iteration - 1, theory_of(run))
            expected = ledger.dataset(theory_of(run), iteration - 1, without=without)[0]
            found = load_dataset(run.iteration(iteration) / "dataset.npz")
            for one, other in zip(expected.groups, found.groups, strict=True):
                assert np.array_equal(one.frames.positions, other.frames.positions)
                assert np.array_equal(one.labels.energies, other.labels.energies)
                assert np.array_equal(one.labels.forces, other.labels.forces)


def plain(run):
    """Return the records without what differs from run to run."""
    lines = [json.loads(line) for line in (run.path / "iterations.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED} for line in lines]


def test_late_labels_are_left_out_and_learnt_from_later(finished):
    late = [late_keys(finished, iteration, theory_of(finished)) for iteration in range(ITERATIONS)]
    records = finished.records()
    assert late[0]
    assert late[1]
    assert late[0] & late[1]  # one is late twice
    assert [len(keys) for keys in late] == [record.late for record in records]
    assert not late[-1]  # the last planned iteration waits for all
    for iteration in range(1, ITERATIONS):
        assert not learnt(finished, iteration) & late[iteration - 1]
    assert late[0] - late[1] <= learnt(finished, 2)
    trained_as_written(finished, ITERATIONS)
    with LedgerReader.open(finished.ledger) as ledger:
        assert ledger.paid_again() == 0
        asked = ledger.counts().labelled - records[0].labels
        assert asked <= sum(record.new_labels for record in records) <= asked + ITERATIONS  # some were audited twice
        assert records[-1].labels + records[-1].new_labels > max(record.labels for record in records)


def test_enough_has_come_and_all_of_the_audit(finished):
    for record in finished.records():
        assert record.new_labels >= SHARE * (record.new_labels + record.late) - 1e-9
        assert record.audit.frames == round(AUDIT * 12 * 2)
        for one in late_labels(finished, record.iteration):
            assert {origin.kind for origin in one.origins} <= {"selected", "jitter"}


@pytest.mark.parametrize("done", [1, 2])
def test_an_iteration_that_is_done_again_goes_without_the_same(finished, tmp_path, done):
    again = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, again.path)
    lines = (again.path / "iterations.jsonl").read_text().splitlines(keepends=True)
    (again.path / "iterations.jsonl").write_text("".join(lines[:done]))
    for iteration in range(done, ITERATIONS):
        for name in ("ensemble.pt", "members.json", "dataset.npz", "audit.json"):
            (again.iteration(iteration) / name).unlink()
    run_of(settings_with(), again.path)
    assert plain(again) == plain(finished)
    for iteration in range(ITERATIONS):
        for name in ("ensemble.pt", "dataset.npz", "audit.json", "late.json"):
            old, new = (run.iteration(iteration) / name for run in (finished, again))
            if name == "dataset.npz":
                assert all(
                    np.array_equal(one.labels.energies, other.labels.energies)
                    for one, other in zip(load_dataset(old).groups, load_dataset(new).groups, strict=True)
                )
            elif name != "ensemble.pt":
                assert old.read_bytes() == new.read_bytes()
        weights = [_weights(run.iteration(iteration) / "ensemble.pt") for run in (finished, again)]
        assert weights[0] == weights[1]


def _weights(path):
    import torch

    found = []

    def walk(value):
        if isinstance(value, torch.Tensor):
            found.append(value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                walk(value[key])
        elif isinstance(value, list | tuple):
            for one in value:
                walk(one)
        else:
            found.append(repr(value))

    walk(torch.load(path, weights_only=True))
    return found


class Killed(BaseException):
    """The driver's process is gone."""


def killed_at(slow, monkeypatch, settings, path, moment):
    """Run until so many tasks have been handled, then end as a killed driver does: nothing that waits is written."""
    counted = SimpleNamespace(tasks=0)
    handle = TaskGraph._handle

    def handling(self, task):
        counted.tasks += 1
        if counted.tasks > moment:
            raise Killed
        handle(self, task)

    def closing(graph, ledger, events, write_status, state):
        ledger._connection.close()
        slow.gone = True
        graph.close()
        slow.gone = False
        events.close()

    slow.seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(TaskGraph, "_handle", handling)
        patch.setattr(launching, "_close", closing)
        try:
            launch(settings, "local", SITE, path, Silent())
        except Killed:
            return
    pytest.fail(f"the campaign has {counted.tasks} tasks only")


MOMENTS = [30, 46, 58, 88]
"""After so many of its 120 to 130 tasks: labels of the first iteration, just before it goes on, the second training and
its labels."""
MORE = [5, 20, 38, 42, 50, 54, 64, 70, 76, 82, 94, 100, 110]


@pytest.mark.parametrize("moment", [*MOMENTS, *(pytest.param(moment, marks=pytest.mark.slow) for moment in MORE)])
def test_killed_at_any_instant_it_trains_on_what_was_decided(slow, monkeypatch, tmp_path, moment):
    settings = settings_with()
    run = RunDirectory(tmp_path / "run")
    killed_at(slow, monkeypatch, settings, run.path, moment)
    decided = {path: path.read_bytes() for path in run.path.glob("iteration-*/late.json")}
    trained = {path: learnt(run, int(path.parent.name[-3:])) for path in run.path.glob("iteration-*/dataset.npz")}
    committed = plain(run) if (run.path / "iterations.jsonl").exists() else []
    run_of(settings, run.path)
    assert {path: path.read_bytes() for path in decided} == decided
    assert {path: learnt(run, int(path.parent.name[-3:])) for path in trained} == trained
    assert plain(run)[: len(committed)] == committed
    assert len(plain(run)) == ITERATIONS
    trained_as_written(run, ITERATIONS)
    with Ledger.open(run.ledger) as ledger:
        out = set().union(*(late_keys(run, iteration, theory_of(run)) for iteration in range(ITERATIONS)))
        assert out <= ledger.asked(theory_of(run), ITERATIONS)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"late": [{}]}', '{"late": 3}', '{"late": [{"numbers": [1]}]}'])
def test_a_damaged_list_is_named(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.iteration(0).mkdir()
    (run.iteration(0) / "late.json").write_text(content)
    with pytest.raises(RunError, match=r"late\.json"):
        late_labels(run, 0)
    assert late_labels(run, 1) == late_labels(run, -1) == []
