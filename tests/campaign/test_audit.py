"""Audits and batches in a campaign that takes seconds."""

import itertools
import json
import shutil
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from tinycampaign import TINY

from alflow.campaign.goal import goal_reached, replicas_to_pull
from alflow.campaign.launch import launch
from alflow.config.load import validate_campaign
from alflow.config.sampling import ReplicaSettings
from alflow.display.view import Silent
from alflow.errors import ConfigError
from alflow.ledger import LedgerReader
from alflow.report.report import write_report
from alflow.runs.audits import load_audits
from alflow.runs.directory import RunDirectory
from alflow.runs.records import BarrierCorrection

CAP, AUDIT = 20, 0.5
FRAMES = 5
"""Around the break of one pull."""


def settings_with(iterations=3, stop=(), **selection):
    data = tomllib.loads(TINY)
    chosen = {"threshold": "calibrated", "cap_order": "diverse", "cap": CAP, "audit": AUDIT} | selection
    data["selection"].update(chosen)
    data["sampling"]["replicas"] = 2
    return validate_campaign(
        data | {"iterations": iterations, "augmentation": {"copies": 0}, "stop": dict(stop)}, "tiny"
    )


def run_of(settings, path):
    launch(settings, "local", {"kind": "threads", "workers": "2"}, path, Silent())
    return RunDirectory(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_of(settings_with(), tmp_path_factory.mktemp("audited") / "run")


def test_every_iteration_is_audited_and_checked_from_the_second_on(finished):
    records = finished.records()
    audits = load_audits(finished, 3)
    assert [record.audit.frames for record in records] == [len(rows) for rows in audits] == [AUDIT * CAP] * 3
    assert [record.audit.energy_checked is not None for record in records] == [False, True, True]
    for record, rows in zip(records, audits, strict=True):
        assert record.audit.force_rmse_ev_per_angstrom == pytest.approx(
            np.sqrt(np.mean([row.force_error**2 for row in rows]))
        )
        assert record.audit.energy.rows == len(rows) * min(record.iteration + 1, 3)


def test_audited_errors_are_those_of_the_ensemble_that_pulled(finished):
    from alflow.potentials import load_potential

    rows = {(row.pull, row.step): row for row in load_audits(finished, 2)[1]}
    ensemble = load_potential(finished.iteration(1) / "ensemble.pt")
    with LedgerReader.open(finished.ledger) as ledger:
        audited = list(ledger.rows(kinds=("audit",)))
        (start,) = (row for row in audited if (row.origin.pull, row.origin.step) == (0, 0))
        found = [row for row in audited if row.origin.iteration == 1]
        assert {(row.origin.pull, row.origin.step) for row in found} == set(rows) - {(0, 0)}
        offset = ensemble.evaluate(_frames(start))[0].mean() - start.energy
        for row in found:
            energies, forces = ensemble.evaluate(_frames(row))
            said = rows[row.origin.pull, row.origin.step]
            assert said.energy_error + offset == pytest.approx(energies.mean() - row.energy, abs=1e-9)
            errors = np.linalg.norm(forces.mean(axis=0)[0] - row.forces, axis=-1)
            assert said.force_error == pytest.approx(errors.max(), abs=1e-9)


def _frames(row):
    from alflow.types import Frames

    return Frames(row.composition, row.positions[None])


def test_a_batch_is_of_all_pulls_within_the_cap_and_learnt_from(finished):
    records = finished.records()
    assert records[0].selected == CAP
    assert all(record.selected <= CAP for record in records)
    for before, after in itertools.pairwise(records):
        start = not before.iteration  # its label is that of a frame of the first data
        assert before.new_labels == before.selected + before.audit.frames + start
        assert after.labels == before.labels + before.new_labels - start


def test_nothing_is_asked_for_where_nothing_is_expected_to_be_wrong(tmp_path):
    settings = settings_with(2, tolerance_ev=1e6, tolerance_ev_per_angstrom=1e6)
    first, second = run_of(settings, tmp_path / "run").records()
    assert (first.selected, second.selected) == (CAP, 0)
    assert second.new_labels == AUDIT * CAP


def test_an_iteration_that_is_done_again_asks_for_the_same(finished, tmp_path):
    again = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, again.path)
    lines = (again.path / "iterations.jsonl").read_text().splitlines(keepends=True)
    (again.path / "iterations.jsonl").write_text("".join(lines[:2]))
    (again.iteration(2) / "audit.json").unlink()
    run_of(settings_with(), again.path)
    kept = ("labels", "selected", "new_labels", "audit")
    old, new = json.loads(lines[2]), json.loads((again.path / "iterations.jsonl").read_text().splitlines()[2])
    assert {key: new[key] for key in kept} == {key: old[key] for key in kept}


def test_the_report_shows_what_was_audited(finished, tmp_path):
    text = write_report(finished, tmp_path / "report.html").read_text()
    assert "How far the uncertainty is to be trusted" in text
    assert "could not be made" not in text


def test_labels_around_the_break_correct_the_barrier(tmp_path):
    settings = settings_with(2, {"stop_when": "audit", "audited_pulls": 2}, cap=0)
    run = run_of(settings, tmp_path / "run")
    for record in run.records():
        (found,) = record.barrier_corrected_ev
        assert found.barrier_ci95 is None  # EMT's ethane comes apart without a snap: the labels cannot tell
        assert 2 * (FRAMES - 3) <= record.new_labels <= 2 * FRAMES + 1
    with LedgerReader.open(run.ledger) as ledger:
        assert {row.origin.kind for row in ledger.rows()} == {"first-data", "audit"}
    assert RunDirectory(run.path).records() == run.records()


def correction(error, half_width):
    return BarrierCorrection(error, half_width, 6.0, 0.1, 0.3, error, 0.0, 0.0)


def records_with(*found, replicas=80):
    return [SimpleNamespace(barrier_corrected_ev=one, stopped=("",), replicas=replicas) for one in found]


def test_an_audit_ends_a_campaign_and_says_that_its_end_is_near():
    settings = settings_with(9, {"stop_when": "audit", "audited_pulls": 8, "tolerance_ev": 0.04})
    settings = settings.model_copy(
        update={"sampling": settings.sampling.model_copy(update={"replicas": ReplicaSettings(search=8, certify=80)})}
    )
    good, fair, bad, unknown = (
        correction(0.01, 0.02),
        correction(0.06, 0.03),
        correction(0.09, 0.03),
        correction(0.0, None),
    )

    def reached(*found, replicas=80):
        return goal_reached(records_with(*found, replicas=replicas), settings.stop, settings.sampling.replicas)

    assert reached((good,), (good, good)) != ""
    assert (
        reached((good,), (good, fair)) == reached((good,)) == reached((good,), ()) == reached((good,), (unknown,)) == ""
    )
    assert reached((good,), (good,), replicas=8) == ""
    wanted = [
        replicas_to_pull(records_with(found), settings)
        for found in ((good,), (fair,), (bad,), (good, bad), (unknown,), ())
    ]
    assert wanted == [80, 80, 8, 8, 8, 8]


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        ({"stop_when": "audit"}, "audited_pulls = 8"),
        ({"stop_when": "audit", "audited_pulls": 1}, "audited_pulls = 8"),
    ],
)
def test_an_audit_needs_two_pulls(stop, words):
    with pytest.raises(ConfigError, match=words):
        settings_with(stop=stop)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cap_order": "progress"}, "go together"),
        ({"threshold": "lower"}, "go together"),
        ({"audit": 0.0}, "selection.audit above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        settings_with(**wrong)
