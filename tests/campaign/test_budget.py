"""A budget of labels: never overspent, shared out so that what is learnt is audited, and an end with its reason."""

import itertools
import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinycampaign import TINY
from typer.testing import CliRunner

from alflow.campaign.budget import Allotment, allot, budget_words, check_budget, first_labels, planned
from alflow.campaign.forecast import Start, _stages
from alflow.campaign.launch import launch
from alflow.campaign.plan import make_plan
from alflow.config.load import to_toml, validate_campaign
from alflow.display.view import Silent
from alflow.errors import ConfigError, LabelError
from alflow.farm.farm import LabelFarm
from alflow.labeling.engines.sleep import SleepEngine
from alflow.ledger import LedgerReader
from alflow.runs.directory import RunDirectory
from alflow.runs.status import read_status

FIRST = 41
CAP, AUDIT = 10, 5
BATCH = CAP + AUDIT + 1
"""With the frame that an audit starts from."""


def settings_with(budget=None, iterations=9, cap=CAP, copies=0, audit=0.5, replicas=1, stop=(), carbons=(2,), **more):
    data = tomllib.loads(TINY) | {"iterations": iterations, "augmentation": {"copies": copies}, "stop": dict(stop)}
    data["system"] = {"carbons": list(carbons)}
    data["selection"] = {"threshold": "calibrated", "cap_order": "diverse", "cap": cap, "audit": audit} | more
    data["sampling"]["replicas"] = replicas
    data["labels"] |= {} if budget is None else {"budget": budget}
    return validate_campaign(data, "tiny")


def plan_of(**given):
    return make_plan(settings_with(**given))


def run_of(campaign, path):
    finished = launch(campaign, "local", {"kind": "threads", "workers": "2"}, path, Silent())
    return RunDirectory(path), finished


def count(run):
    with LedgerReader.open(run.ledger) as ledger:
        return ledger.count_asked(run.identity()["theory"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """71 labels: 41 of first data, 16 of the first iteration, 9 frames less than a batch, an audit at the end."""
    return run_of(settings_with(FIRST + BATCH + 14), tmp_path_factory.mktemp("budget") / "run")


def test_a_budget_is_spent_and_not_overspent(finished):
    run, found = finished
    budget, records = FIRST + BATCH + 14, run.records()
    assert [record.selected for record in records] == [CAP, 4, 0]
    assert [record.audit.frames for record in records] == [AUDIT] * 3
    assert [record.last_of_budget for record in records] == [False, False, True]
    assert [record.labels_spent for record in records] == [FIRST + BATCH, FIRST + BATCH + 9, FIRST + BATCH + 14]
    assert count(run) == records[-1].labels_spent == budget
    assert records[-1].labels == records[1].labels_spent  # the last one trains on all that was asked for
    assert found.reason.startswith(f"the budget of {budget} labels is spent ({count(run)} were asked for); the barrier")
    assert found.records == records
    assert read_status(run.path).label_budget == (count(run), budget)


def test_the_same_command_says_so_again_and_asks_for_nothing(finished):
    run, found = finished
    before = (run.path / "iterations.jsonl").read_bytes(), count(run)
    assert run_of(settings_with(FIRST + BATCH + 14), run.path)[1].reason == found.reason
    assert ((run.path / "iterations.jsonl").read_bytes(), count(run)) == before


def test_a_raised_budget_goes_on_and_an_iteration_that_has_begun_keeps_its_own(finished, tmp_path):
    import shutil

    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished[0].path, run.path)
    lines = (run.path / "iterations.jsonl").read_text().splitlines(keepends=True)
    (run.path / "iterations.jsonl").write_text("".join(lines[:2]))
    budget = FIRST + BATCH + 40
    run, found = run_of(settings_with(budget), run.path)
    records = run.records()
    assert [record.selected for record in records[:4]] == [CAP, 4, 0, CAP]
    assert records[2].audit == finished[0].records()[2].audit
    assert count(run) <= budget
    assert records[-1].last_of_budget
    assert str(budget) in found.reason


def test_reference_errors_are_told_with_the_end(finished):
    run, found = finished
    last = run.records()[-1]
    assert last.barrier_error_ev is not None
    assert f"{last.barrier_error_ev.mean:+.3f}" in found.reason


def test_failed_labels_count(tmp_path, monkeypatch):
    """One of four labels fails, all trajectories hold."""
    bad, seen, request, compute = set(), itertools.count(), LabelFarm.request, SleepEngine.compute

    def requesting(self, frames, origins):
        bad.update(one.tobytes() for one in frames.positions if next(seen) % 4 == 3)
        request(self, frames, origins)

    def computing(self, composition, positions, start=None):
        if positions.tobytes() in bad:
            raise LabelError("not-converged", "It is one of four.")
        return compute(self, composition, positions, start)

    monkeypatch.setattr(LabelFarm, "request", requesting)
    monkeypatch.setattr(SleepEngine, "compute", computing)
    data = tomllib.loads(TINY) | {"iterations": 9, "augmentation": {"copies": 0}}
    data["labels"] = {"engine": "sleep", "guard": False, "max_failed_share": 1.0, "budget": FIRST + 60}
    data["selection"] = {"threshold": "calibrated", "cap_order": "diverse", "cap": 20, "audit": 0.2}
    run, _ = run_of(validate_campaign(data, "tiny"), tmp_path / "run")
    with LedgerReader.open(run.ledger) as ledger:
        counts = ledger.counts()
    assert counts.failed > 5
    assert count(run) == counts.labelled + counts.failed == run.records()[-1].labels_spent <= FIRST + 60
    assert run.records()[-1].last_of_budget


PLANS = {
    "cap": st.integers(1, 40),
    "copies": st.integers(0, 3),
    "audit": st.sampled_from([0.05, 0.1, 0.5, 1.0]),
    "replicas": st.sampled_from([1, 2, 5, {"search": 2, "certify": 4}]),
    "audited": st.integers(0, 4),
    "carbons": st.sampled_from([(2,), (2, 3)]),
    "iterations": st.integers(1, 12),
    "budget": st.integers(1, 1500),
}


def drawn(cap, copies, audit, replicas, audited, carbons, iterations, budget):
    stop = {"audited_pulls": audited}
    return plan_of(
        budget=budget,
        iterations=iterations,
        cap=cap,
        copies=copies,
        audit=audit,
        replicas=replicas,
        stop=stop,
        carbons=carbons,
    )


@settings(max_examples=150, deadline=None)
@given(**PLANS)
def test_any_budget_is_refused_in_a_sentence_or_kept(**given):
    plan = drawn(**given)
    replicas, many = plan.settings.sampling.replicas, given["iterations"] > 1
    whole = Allotment.whole(plan.settings, replicas.search if many else replicas.certify)
    closing, budget = Allotment.closing(plan.settings), given["budget"]
    first = first_labels(plan)
    batch = first + whole.labels(plan, 0) + (closing.labels(plan, 1) if many else 0)
    if budget < batch:
        with pytest.raises(ConfigError, match=rf"labels\.budget must pay .* {batch} labels here.*got {budget}\."):
            check_budget(plan)
        return
    check_budget(plan)
    found = planned(plan)
    spent = first + sum(one.labels(plan, iteration) for iteration, one in enumerate(found))
    assert spent <= budget
    assert found[0] == whole
    assert [one.last for one in found[:-1]] == [False] * (len(found) - 1)
    assert found[-1].last or len(found) == given["iterations"]
    assert all(0 < one.cap <= whole.cap and one.audit == whole.audit for one in found if not one.last)
    if found[-1].last:
        assert found[-1].cap == 0
        assert found[-1].audit >= whole.audit
        assert found[-1].audited_pulls == closing.audited_pulls
        assert spent == budget or not whole.audit
    assert f"{spent} of {budget} labels" in budget_words(plan)
    assert (
        sum(stage.units for stage in _stages(plan, Start(), 1.0, 1.0, 1.0) if stage.name == "labels") == spent - first
    )


@settings(max_examples=150, deadline=None)
@given(spent=st.integers(0, 2000), iteration=st.integers(0, 12), **PLANS)
def test_whatever_is_left_an_iteration_gets_no_more(spent, iteration, **given):
    plan = drawn(**given)
    left = max(given["budget"] - spent, 0)
    found = allot(plan, spent, iteration, plan.settings.sampling.replicas.search)
    assert found.labels(plan, iteration) <= max(left, 0)
    assert min(found.cap, found.audit, found.audited_pulls) >= 0
    assert found.last == (found.cap == 0)


def test_without_a_budget_an_iteration_gets_what_the_settings_say():
    plan = plan_of(copies=2, stop={"audited_pulls": 3}, replicas=4)
    assert allot(plan, 10**6, 3, 4) == Allotment(CAP, 15, 3)
    assert budget_words(plan) == ""


def test_the_first_data_are_counted_as_they_are_made(finished):
    run, _ = finished
    with LedgerReader.open(run.ledger) as ledger:
        made = ledger.dataset(run.identity()["theory"], kinds=("first-data",))[0]
    assert len(made) == first_labels(make_plan(settings_with())) == FIRST


@pytest.mark.parametrize("dry", [True, False])
def test_a_budget_smaller_than_one_batch_is_exit_code_2(tmp_path, dry):
    from alflow.cli import app

    campaign = tmp_path / "small.toml"
    campaign.write_text(to_toml(settings_with(FIRST + 5)))
    command = ["run", str(campaign), "--run-dir", str(tmp_path / "run"), *["--dry-run"] * dry]
    done = CliRunner().invoke(app, command)
    said = " ".join(f"{done.output} {done.exception}".split())
    assert getattr(done.exception, "code", done.exit_code) == 2
    assert "labels.budget must pay for one batch" in said
    assert not (tmp_path / "run" / "iterations.jsonl").exists()


def test_a_dry_run_knows_the_budget(tmp_path):
    from alflow.cli import app

    campaign = tmp_path / "dry.toml"
    campaign.write_text(to_toml(settings_with(FIRST + BATCH + 14)))
    done = CliRunner().invoke(app, ["run", str(campaign), "--run-dir", str(tmp_path / "run"), "--dry-run"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert f"Budget: {FIRST + BATCH + 14} of {FIRST + BATCH + 14} labels, {FIRST} of them first data" in said
    assert "3 iterations" in said


def test_a_records_line_of_an_earlier_version_is_read(finished):
    from alflow.runs.records import IterationRecord

    line = json.loads((finished[0].path / "iterations.jsonl").read_text().splitlines()[0])
    for name in ("late", "labels_spent", "last_of_budget"):
        del line[name]
    old = IterationRecord.from_json(json.dumps(line))
    assert (old.late, old.labels_spent, old.last_of_budget) == (0, None, False)
