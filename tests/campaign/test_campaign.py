"""A campaign draws the same numbers however it is run: twice, cut differently, interrupted, on more workers."""

import contextlib
import sqlite3
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from basecampaigns import fail_at_call, result, run

from alflow.campaign.record import barrier, largest_work
from alflow.cli.ledger import import_labels
from alflow.errors import CampaignError, RunError
from alflow.labeling.guard import GuardedEngine
from alflow.ledger import LedgerReader
from alflow.potentials import load_potential
from alflow.runs.directory import RunDirectory, load_dataset, load_members, load_segment
from alflow.runs.events import read_events
from alflow.structures import alkane
from alflow.types import Frames, Segment
from alflow.workers.tasks import empty_segment


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
    with monkeypatch.context() as patched:
        fail_at_call(patched, what, 2)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run")
    assert run(tmp_path / "run") == undisturbed


def test_a_pull_that_ends_early_ends_at_the_same_frame_however_it_is_cut_or_resumed(tmp_path, monkeypatch):
    changes = {"stop__pull_spread_factor": 1.0001, "stop__pull_frames": 13, "sampling__pull__record_stride": 2}
    cut = {**changes, "sampling__pull__segment_steps": 10}
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    run(whole, sampling__pull__segment_steps=60, **changes)
    with monkeypatch.context() as patched:
        fail_at_call(patched, "pull-segment", 2)
        with pytest.raises(CampaignError, match="planted"):
            run(parts, **cut)
    run(parts, **cut)
    assert result(parts) == result(whole)
    stopped = [record.stopped[0] for path in (whole, parts) for record in RunDirectory(path).records()]
    assert "13 records in a row" in stopped[0]
    assert stopped[:2] == stopped[2:]


def test_replicas_that_are_pulled_together_go_on_where_the_driver_was_killed_and_end_the_same(tmp_path, monkeypatch):
    changes = {"sampling__batch": 2, "sampling__replicas": 3, "iterations": 1}
    whole = run(tmp_path / "whole", **changes)
    with monkeypatch.context() as patched:
        fail_at_call(patched, "pull-segments", 3)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes)
    folder = RunDirectory(tmp_path / "run").iteration(0)
    kept = [len(list((folder / f"pull-{index:02d}").glob("segment-*.npz"))) for index in range(3)]
    assert sum(kept) < 9
    assert max(kept) > 0
    assert run(tmp_path / "run", **changes) == whole
    (record,) = RunDirectory(tmp_path / "whole").records()
    assert len(set(record.barrier_ev.values)) == 3
    events = list(read_events(RunDirectory(tmp_path / "whole").events))
    pulls = [event["pulls"] for event in events if event["what"] == "pull-segments"]
    assert sorted(pulls) == [[0, 1]] * 3 + [[2]] * 3
    run(tmp_path / "alone", sampling__replicas=3, iterations=1)
    (alone,) = RunDirectory(tmp_path / "alone").records()
    assert record.barrier_ev.values == pytest.approx(alone.barrier_ev.values, rel=1e-4)


def test_a_pull_without_a_record_in_its_last_segment_has_the_work_of_the_one_before():
    segment = Segment(Frames.of(np.array([6]), np.zeros((2, 1, 3))), *[np.arange(2.0)] * 8, end=None)
    last = replace(empty_segment(segment), stopped="at step 3 the energy is inf")
    assert barrier([segment, last]) == largest_work([segment, last]) == 1.0
    assert np.isnan([barrier([last]), largest_work([last])]).all()


def test_members_share_their_rows_where_a_threshold_is_calibrated_on_them(tmp_path):
    run(tmp_path / "run", selection__threshold="conformal", iterations=2)
    for iteration in range(2):
        one, other = load_members(RunDirectory(tmp_path / "run").iteration(iteration) / "members.json")
        assert np.array_equal(one.split.valid, other.split.valid)


def test_labels_imported_once_the_first_ensemble_is_trained_are_learnt_from(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        fail_at_call(patched, "pull-segment", 2)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run")
    ethane = molecule("C2H6")
    ethane.calc = EMT()
    ethane.get_forces()
    ase.io.write(tmp_path / "mine.xyz", ethane)
    import_labels(tmp_path / "run", tmp_path / "mine.xyz", theory="own")
    _, records = run(tmp_path / "run", iterations=3)
    assert len(records) == 3
    labels = [len(load_dataset(tmp_path / "run" / f"iteration-00{number}" / "dataset.npz")) for number in range(3)]
    assert labels == [record.labels for record in RunDirectory(tmp_path / "run").records()]
    assert labels[0] == 41
    with LedgerReader.open(tmp_path / "run" / "ledger.sqlite") as ledger:
        (theory,) = ledger.theories()
        _, origins = ledger.dataset(theory, 1)
    assert [origin.iteration for origin in origins if origin.kind == "import"] == [1]
    before = RunDirectory(tmp_path / "run").records()[1]
    assert labels[2] == labels[1] + before.new_labels + 1
    ethane.positions += 0.01 * np.arange(24).reshape(8, 3)
    ethane.get_forces()
    ase.io.write(tmp_path / "more.xyz", ethane)
    import_labels(tmp_path / "run", tmp_path / "more.xyz", theory="own")
    assert "The members of iteration 3 learn from them." in capsys.readouterr().out
    run(tmp_path / "run", iterations=4)
    last = RunDirectory(tmp_path / "run").records()
    assert last[3].labels == last[2].labels + last[2].new_labels + 1


def test_a_run_whose_engine_or_molecules_have_changed_is_refused(tmp_path, monkeypatch):
    structure = tmp_path / "butane.xyz"
    ase.io.write(structure, Atoms(alkane(4).numbers, alkane(4).positions[0]))
    run(tmp_path / "run", iterations=1, system={"structure": str(structure)})
    butane = ase.io.read(structure)
    butane.positions[0, 0] += 1e-3
    ase.io.write(structure, butane)
    with pytest.raises(RunError, match="was made with another molecule under the same settings"):
        run(tmp_path / "run", iterations=2, system={"structure": str(structure)})
    butane.positions[0, 0] -= 1e-3
    ase.io.write(structure, butane)
    monkeypatch.setattr(GuardedEngine, "theory", "of another version")
    with pytest.raises(RunError, match="was made with another theory under"):
        run(tmp_path / "run", iterations=2, system={"structure": str(structure)})


def test_what_failed_within_limits_that_were_raised_is_asked_for_again(tmp_path):
    run(tmp_path / "run", iterations=1)
    path = tmp_path / "run" / "ledger.sqlite"
    with LedgerReader.open(path) as ledger:
        (theory,) = ledger.theories()
        _, origins = ledger.dataset(theory)
    with contextlib.closing(sqlite3.connect(path)) as edited, edited:
        selected = "(SELECT label FROM origins WHERE kind IN ('selected', 'jitter'))"
        edited.execute(
            "UPDATE labels SET status = 'failed', energy = NULL, forces = NULL, reason = 'timeout' "
            f"WHERE id IN {selected}"
        )
    (tmp_path / "run" / "iterations.jsonl").unlink()
    with pytest.raises(CampaignError, match=r"labels.max_failed_share.* timeout"):
        run(tmp_path / "run", iterations=1)
    run(tmp_path / "run", iterations=1, labels__timeout_s=1234.0)
    with LedgerReader.open(path) as ledger:
        assert ledger.dataset(theory)[1] == origins
        assert ledger.counts().failed == 0


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
