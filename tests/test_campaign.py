"""A campaign draws the same numbers however it is run: twice, cut differently, interrupted, on more workers."""

import functools
import tomllib

import pytest
from tinycampaign import TINY

from alflow.config.load import validate_campaign
from alflow.errors import CampaignError
from alflow.launch import launch
from alflow.ledger import LedgerReader
from alflow.potentials import load_potential
from alflow.progress import Silent
from alflow.rundir import RunDirectory, load_segment


def settings_with(**changes):
    data = tomllib.loads(TINY)
    for key, value in changes.items():
        table = data
        *parents, last = key.split("__")
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return validate_campaign(data, "tiny")


def run(path, workers=1, **changes):
    launch(settings_with(**changes), "local", {"kind": "threads", "workers": str(workers)}, path, Silent())
    return result(path)


def result(path):
    found = RunDirectory(path)
    with LedgerReader.open(found.ledger) as ledger:
        digest = ledger.digest()
    return digest, [(record.barrier_ev, record.energy_rmse_ev, record.threshold_ev) for record in found.records()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed") / "run")


def test_two_runs_give_the_same_ledger_and_barriers(undisturbed, tmp_path):
    assert run(tmp_path / "again", workers=3) == undisturbed


def test_streamed_and_batch_selection_give_the_same_ledger(undisturbed, tmp_path):
    whole = run(tmp_path / "whole", sampling__pull__segment_steps=60, labels__frames_per_task=1)
    assert whole == undisturbed
    folder = RunDirectory(tmp_path / "whole").iteration(0) / "pull-00"
    assert len(load_segment(folder / "segment-000.npz").steps) == 61


def test_another_seed_gives_another_ledger(undisturbed, tmp_path):
    assert run(tmp_path / "other", seed=2)[0] != undisturbed[0]


def test_a_campaign_goes_on_from_its_last_committed_iteration(undisturbed, tmp_path):
    run(tmp_path / "run", iterations=1)
    assert run(tmp_path / "run", iterations=2) == undisturbed


@pytest.mark.parametrize("what", ["pull-segment", "train", "label"])
def test_a_campaign_that_failed_in_the_middle_goes_on_and_ends_the_same(undisturbed, tmp_path, monkeypatch, what):
    from alflow import graph

    function, executor = graph.APPS[what]
    calls = []

    @functools.wraps(function)
    def fails_at_its_second_call(*arguments, **keywords):
        calls.append(what)
        if len(calls) == 2:
            raise RuntimeError("planted")
        return function(*arguments, **keywords)

    apps = {**graph.APPS, what: (fails_at_its_second_call, executor)}
    with monkeypatch.context() as patched:
        patched.setattr(graph.TaskGraph, "__init__", functools.partialmethod(graph.TaskGraph.__init__, apps=apps))
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run")
    assert run(tmp_path / "run") == undisturbed


def test_several_replicas_share_one_budget_and_have_paired_references(tmp_path):
    run(tmp_path / "run", sampling__replicas=2, iterations=1)
    (record,) = RunDirectory(tmp_path / "run").records()
    assert len(record.barrier_ev.values) == len(record.reference_barrier_ev.values) == 2
    assert record.barrier_error_ev.ci95 is not None
    assert record.selected <= 4


def test_schnet_is_chosen_by_the_campaign_file(tmp_path):
    pytest.importorskip("torch_geometric")
    schnet = {"features": 8, "gaussians": 5, "interactions": 1, "epochs": 2}
    changes = {"potential__kind": "schnet", "potential__schnet": schnet, "training__members_per_task": 1}
    digest, records = run(tmp_path / "run", **changes)
    assert len(records) == 2
    assert run(tmp_path / "again", **changes) == (digest, records)
    ensemble = load_potential(RunDirectory(tmp_path / "run").iteration(1) / "ensemble.pt")
    assert type(ensemble).__name__ == "SchNetEnsemble"
    assert ensemble.members == 2


def test_members_may_be_trained_in_tasks_of_their_own(tmp_path):
    run(tmp_path / "run", training__members_per_task=1, iterations=2)
    assert load_potential(RunDirectory(tmp_path / "run").iteration(1) / "ensemble.pt").members == 2
