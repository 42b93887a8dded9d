"""Few replicas while a campaign searches, all of them where it may certify."""

import functools
import json
import shutil
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakegraph import FakeGraph
from hypothesis import given
from hypothesis import strategies as st
from tinycampaign import TINY

from alflow.campaign.budget import Allotment
from alflow.campaign.forecast import forecast_from_first_iteration
from alflow.campaign.goal import goal_reached, replicas_to_pull
from alflow.campaign.launch import launch
from alflow.campaign.plan import make_plan
from alflow.campaign.pulling import _Pulling
from alflow.campaign.reference import References
from alflow.config.load import validate_campaign
from alflow.display.view import Silent, View
from alflow.errors import CampaignError
from alflow.execution import graph
from alflow.ledger import LedgerReader
from alflow.report import curves
from alflow.report.report import write_report
from alflow.runs.directory import RunDirectory
from alflow.runs.records import Estimate

SEARCH, CERTIFY = 8, 80
TOLERANCE = 0.043


def settings_with(stop=(), **sampling):
    data = tomllib.loads(TINY)
    data["sampling"].update({"replicas": {"search": SEARCH, "certify": CERTIFY}} | sampling)
    data["stop"] = dict(stop)
    return validate_campaign(data | {"iterations": 9}, "tiny")


def scattered(mean, scatter, count):
    """Return so many values of exactly this mean and standard deviation."""
    values = np.random.default_rng(3).normal(size=count)
    return mean + scatter * (values - values.mean()) / values.std(ddof=1)


def record(errors, replicas, stopped=False):
    """Return a record of errors (S, R) by molecule and replica; the reference barrier is 5 eV everywhere."""
    values = np.concatenate(errors)
    return SimpleNamespace(
        barrier_ev=Estimate.of(5.0 + values),
        barrier_error_ev=Estimate.of(values),
        stopped=("left what the ensemble knows" if stopped else "",) * len(values),
        replicas=replicas,
    )


def of(means, replicas=SEARCH, scatter=0.15, **changes):
    return record([scattered(mean, scatter, replicas or CERTIFY) for mean in means], replicas, **changes)


def next_one(records, stop_when="error", **stop):
    settings = settings_with({"stop_when": stop_when, "tolerance_ev": TOLERANCE, "iterations": 2} | stop)
    return replicas_to_pull(records, settings)


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        (of([0.16, -0.16]), CERTIFY),
        (of([0.0, 0.18]), SEARCH),
        (of([0.0, 0.0], scatter=0.5), SEARCH),  # even 80 pulls would not do
        (of([0.0, 0.0], stopped=True), SEARCH),
        (of([0.0, np.nan]), SEARCH),
        (of([0.0, 0.0], CERTIFY), CERTIFY),
        (of([0.07, 0.0], CERTIFY), CERTIFY),  # undecided
        (of([0.09, 0.0], CERTIFY), SEARCH),
        (of([0.0, 0.0], None), CERTIFY),  # of an earlier version, which pulled all
    ],
)
def test_an_iteration_certifies_unless_an_error_rules_the_goal_out(last, wanted):
    assert next_one([of([3.0, 3.0]), last]) == wanted


def test_the_first_searches_and_the_last_one_certifies():
    for stop_when in ("never", "error", "change"):
        assert next_one([], stop_when) == SEARCH
        assert next_one([of([3.0, 3.0])] * 7, stop_when) == (SEARCH if stop_when != "change" else CERTIFY)
        assert next_one([of([3.0, 3.0])] * 8, stop_when) == CERTIFY
    assert next_one([of([0.0, 0.0])], "never") == SEARCH


def test_changes_are_over_the_replicas_that_two_iterations_share():
    many = scattered(0.5, 0.15, CERTIFY)
    few, far = many[:SEARCH] + 0.01, many[:SEARCH] + 0.5
    assert next_one([record([far], SEARCH), record([few], SEARCH)], "change") == SEARCH
    assert next_one([record([few], SEARCH), record([many], CERTIFY)], "change") == CERTIFY
    assert next_one([record([many], CERTIFY), record([few], SEARCH)], "change") == CERTIFY
    assert next_one([record([many], CERTIFY), record([few], SEARCH, stopped=True)], "change") == SEARCH
    assert next_one([record([few], SEARCH)], "change") == SEARCH


@pytest.mark.parametrize(("stop_when", "needed"), [("error", 2), ("change", 3)])
def test_the_goal_counts_iterations_that_pulled_all_replicas(stop_when, needed):
    settings = settings_with({"stop_when": stop_when, "iterations": 2})
    few, many, old = (of([0.0, 0.0], replicas, scatter=0.01) for replicas in (SEARCH, CERTIFY, None))

    def reached(*records):
        return bool(goal_reached(records, settings.stop, settings.sampling.replicas))

    assert reached(few, *[many] * needed)
    assert reached(old, *[many] * (needed - 1))
    assert not reached(*[few] * 5)
    assert not reached(many, many, few)
    assert not reached(many, few, *[many] * (needed - 1))


@given(
    st.lists(st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8), min_size=1, max_size=3),
    st.sampled_from(["error", "change"]),
)
def test_what_was_within_the_tolerance_is_certified_again(errors, stop_when):
    settings = settings_with({"stop_when": stop_when, "iterations": 1}, replicas={"search": 2, "certify": 8})
    records = [record([[0.0] * 8] * len(errors), 8), record(errors, 8)]
    decided = replicas_to_pull(records, settings)
    assert decided == replicas_to_pull(records, settings)
    if goal_reached(records, settings.stop, settings.sampling.replicas):
        assert decided == 8


def test_a_plan_holds_all_and_gives_the_first_replicas_of_each():
    data = tomllib.loads(TINY) | {"system": {"carbons": [2, 3]}}
    data["sampling"] |= {"replicas": {"search": 2, "certify": 3}, "rates_angstrom_per_ps": [10.0, 20.0]}
    plan = make_plan(validate_campaign(data, "tiny"))
    assert [spec.index for spec in plan.pulls_of(2)] == [0, 1, 3, 4, 6, 7, 9, 10]
    assert plan.pulls_of(3) == plan.pulls_of(None) == plan.pulls
    assert len(plan.systems) == 4


@pytest.mark.parametrize(
    ("stop", "pulls"),
    [({}, 8 * 2 + 3), ({"stop_when": "error"}, 7 * 2 + 2 * 3), ({"stop_when": "change"}, 6 * 2 + 3 * 3)],
)
def test_a_forecast_counts_as_few_iterations_that_certify_as_the_goal_takes(stop, pulls):
    plan = make_plan(settings_with(stop, replicas={"search": 2, "certify": 3}))
    events = [
        {"what": what, "iteration": 0, "outcome": "ok", "started": 0.0, "ended": 12.0}
        for what in ("train", "pull-segment")
    ]
    first = SimpleNamespace(labels=41, stopped=("", ""))
    stages = {stage.name: stage for stage in forecast_from_first_iteration(plan, 0.1, first, events).stages}
    assert stages["pull (steps)"].tasks == 3 * pulls
    assert stages["pull (steps)"].seconds == pytest.approx(6.0 * pulls)
    assert stages["reference (steps)"].tasks == 4 * 3


def test_pulls_of_a_search_share_the_cap_and_the_windows_among_themselves():
    settings = settings_with(replicas={"search": 2, "certify": 30})
    specs = make_plan(settings).pulls
    stage = SimpleNamespace(
        _settings=settings,
        _given=Allotment.whole(settings, 2),
        _iteration=1,
        _judge=SimpleNamespace(rule=lambda spec, cap, turn: (spec.index, cap, turn)),
    )
    assert _Pulling._rules(stage, specs[:2]) == [(0, 2, 1), (1, 2, 2)]
    assert _Pulling._rules(stage, specs)[:5] == [(0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 1, 0), (4, 0, 1)]


def test_references_are_run_for_the_pulls_that_are_asked_for_and_once(tmp_path):
    settings = settings_with(replicas={"search": 1, "certify": 3})
    tasks, run = FakeGraph(answers={"relax": MemoryError("no room")}), RunDirectory(tmp_path)
    farm = SimpleNamespace(theory="theory", model=None)
    said = []
    plan = make_plan(settings)
    campaign = SimpleNamespace(
        plan=plan, settings=settings, graph=tasks, run=run, farm=farm, say=said.append, view=View("tiny", 9)
    )
    references, few = References(campaign), plan.pulls_of(1)
    for _ in range(2):
        references.start(few)
    assert {task.detail["pull"] for task in tasks.waiting} == {0}
    assert sum(task.what == "relax" for task in tasks.waiting) == 1
    tasks.run_until(lambda: references.done(few))
    assert not references.done(plan.pulls)
    assert np.isnan(references.barriers(few)).tolist() == [True]
    assert len(said) == 1
    assert len(references.segments(few)) == 1
    references.start(plan.pulls)
    assert sorted(task.detail["pull"] for task in tasks.waiting if task.what == "relax") == [1, 2]


def run_tiny(path, **changes):
    data = tomllib.loads(TINY) | {"iterations": 3, "system": {"carbons": [2, 3]}} | changes
    data["sampling"] |= {"replicas": {"search": 2, "certify": 3}}
    settings = validate_campaign(data, "tiny")
    launch(settings, "local", {"kind": "threads", "workers": "2"}, path, Silent())
    return RunDirectory(path)


def result(run):
    with LedgerReader.open(run.ledger) as ledger:
        digest = ledger.digest()
    numbers = [
        (record.replicas, record.barrier_ev.values, record.barrier_error_ev, record.threshold)
        for record in run.records()
    ]
    return digest, numbers


CERTIFIED = {"stop": {"stop_when": "error", "tolerance_ev": 1e6}, "iterations": 9}
"""Whatever the error is, it is within the tolerance: one iteration searches, two certify."""


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("certified") / "run", **CERTIFIED)


def test_a_campaign_searches_certifies_and_ends(certified):
    records = certified.records()
    assert [record.replicas for record in records] == [2, 3, 3]
    for record in records:
        lists = (record.stopped, record.threshold, record.largest_spread_ev, record.barrier_ev.values)
        assert {len(each) for each in lists} == {2 * record.replicas}
        pairs = zip(record.barrier_ev.values, record.reference_barrier_ev.values, strict=True)
        assert record.barrier_error_ev.values == tuple(pulled - reference for pulled, reference in pairs)
        assert np.isnan(record.barrier_ev.mean)  # of two molecules
    few, many = (records[number].reference_barrier_ev.values for number in (0, 1))
    assert few == (many[0], many[1], many[3], many[4])
    assert [folder.name for folder in curves.pull_folders(certified, 0)] == ["pull-00", "pull-01", "pull-03", "pull-04"]


def test_other_references_wait_for_the_first_iteration_that_certifies(certified):
    events = [json.loads(line) for line in certified.events.read_text().splitlines()]
    train = [event["submitted"] for event in events if event["what"] == "train" and event["iteration"] == 1]
    pulls = [event["ended"] for event in events if event["what"] == "pull-segment" and event["iteration"] == 0]
    for pull in range(6):
        submitted = [event["submitted"] for event in events if event["what"] in ("relax", "reference-segment")
                     and event["pull"] == pull]  # fmt: skip
        assert len(submitted) == 4
        assert (min(submitted) > max(pulls)) == (pull in (2, 5))
        assert max(submitted) < min(train)


def fail_once(patched, iteration, what):
    """Let the last segment of the last pull of an iteration, or another kind of task, fail."""
    submit = graph.TaskGraph.submit

    def submit_failing(self, call, handler, **detail):
        if call.what == what and detail.get("iteration") == iteration and detail.get("segment", 2) == 2:

            @functools.wraps(call.function)
            def fails(*arguments, **keywords):
                raise RuntimeError("planted")

            call = replace(call, function=fails)
        return submit(self, call, handler, **detail)

    patched.setattr(graph.TaskGraph, "submit", submit_failing)


@pytest.mark.parametrize(("iteration", "what"), [(0, "pull-segment"), (1, "train"), (2, "pull-segment")])
def test_an_interrupted_campaign_goes_on_with_as_many_replicas_and_the_same_bits(
    certified, tmp_path, monkeypatch, iteration, what
):
    with monkeypatch.context() as patched:
        fail_once(patched, iteration, what)
        with pytest.raises(CampaignError, match="planted"):
            run_tiny(tmp_path / "run", **CERTIFIED)
    assert len(RunDirectory(tmp_path / "run").records()) == iteration
    assert result(run_tiny(tmp_path / "run", **CERTIFIED)) == result(certified)


def test_without_a_goal_the_last_one_certifies(tmp_path):
    run = run_tiny(tmp_path / "run", iterations=2)
    assert [record.replicas for record in run.records()] == [2, 3]
    assert run_tiny(tmp_path / "run", iterations=2).records() == run.records()
    more = run_tiny(tmp_path / "run", iterations=3)
    assert [record.replicas for record in more.records()] == [2, 3, 3]


@pytest.mark.parametrize("committed", [1, 3])
def test_the_report_shows_each_pull_where_it_was_made(certified, tmp_path, committed):
    shutil.copytree(certified.path, tmp_path / "run", ignore=shutil.ignore_patterns("parsl"))
    run = RunDirectory(tmp_path / "run")
    lines = (run.path / "iterations.jsonl").read_text().splitlines()[:committed]
    (run.path / "iterations.jsonl").write_text("\n".join(lines) + "\n")
    page = write_report(run).read_text()
    assert "could not be made" not in page
    assert "4 or, where the barrier may be certified, 6 pulls an iteration" in page
    records, plan = run.records(), make_plan(run.settings())
    barriers, reference = curves.barriers_of(plan, records)
    assert np.isnan(barriers[0]).tolist() == [False, False, True, False, False, True]
    assert barriers[0, 3] == records[0].barrier_ev.values[2]
    assert np.isfinite(reference).sum() == (4 if committed == 1 else 6)
    assert reference[3] == records[0].reference_barrier_ev.values[2]
    (curve,) = curves.reference_curves(run, 3)
    assert curve.work[-1] == pytest.approx(reference[3])
    assert curves.draw_work(run).exists()
