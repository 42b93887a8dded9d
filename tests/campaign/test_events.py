"""Campaigns along variables: cut, interrupted and resumed alike, paired with references, recorded, refused."""

import math

import numpy as np
import pytest
from basecampaigns import fail_at_call, run, settings_with

from alflow.campaign.plan import make_plan
from alflow.errors import CampaignError
from alflow.report.report import write_report
from alflow.runs.directory import RunDirectory, load_segment

BOND = [{"name": "bond", "distance": [0, 1]}]
TRANSFER = [{"name": "transfer", "combine": [{"distance": [0, 5]}, {"distance": [0, 2], "weight": -1.0}]}]
STEERED = {"kind": "steered", "to": 2.0, "force_constant": 10.0}
GRID = {"lower": 0.9, "upper": 3.0, "spacing": 0.1}
HILLS = {"kind": "metadynamics", "hill_height_ev": 0.05, "hill_width": 0.1, "hill_every": 10, **GRID}
HOT = {"sampling__pull__thermostat": "langevin", "sampling__pull__temperature_k": 300.0}
EVENTS = {
    "bond": {"sampling__variables": BOND, "sampling__bias": STEERED},
    "transfer": {
        "sampling__variables": TRANSFER,
        "sampling__bias": {"kind": "steered", "to": 0.5, "force_constant": 10.0},
        "selection__cap_order": "progress",
        **HOT,
    },
    "hills": {"sampling__variables": BOND, "sampling__bias": HILLS, **HOT},
    "windows": {
        "sampling__variables": BOND,
        "sampling__bias": {"kind": "umbrella", "centres": [1.5, 1.7], "force_constant": 10.0, "approach_steps": 10},
    },
}


def segments(path, pull, iteration=0):
    folder = RunDirectory(path).iteration(iteration) / f"pull-{pull:02d}"
    return [load_segment(file) for file in sorted(folder.glob("segment-*.npz"))]


def committed(outcome):
    """Return what a campaign gave, with not-a-numbers that are equal."""
    return repr(outcome)


@pytest.mark.parametrize("name", ["transfer", "hills"])
def test_a_campaign_is_cut_and_goes_on_without_a_seam(tmp_path, monkeypatch, name):
    changes = {**EVENTS[name], "iterations": 1}
    whole = run(tmp_path / "whole", sampling__pull__segment_steps=60, **changes)
    with monkeypatch.context() as patched:
        fail_at_call(patched, "pull-segment", 2)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "parts", **changes)
    assert committed(run(tmp_path / "parts", **changes)) == committed(whole)
    (one,), parts = segments(tmp_path / "whole", 0), segments(tmp_path / "parts", 0)
    assert len(parts) == 3
    for field in ("coordinate", "variables", "bias_energy", "work"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        assert np.array_equal(joined, getattr(one, field), equal_nan=True)


def test_work_is_paired_with_that_of_the_label_engine(tmp_path):
    run(tmp_path / "run", iterations=1, sampling__replicas=2, **EVENTS["transfer"])
    (record,) = RunDirectory(tmp_path / "run").records()
    pairs = zip(record.barrier_ev.values, record.reference_barrier_ev.values, strict=True)
    assert record.barrier_error_ev.values == tuple(pulled - reference for pulled, reference in pairs)
    assert all(math.isfinite(value) for value in record.barrier_error_ev.values)
    assert record.selected > 0
    write_report(RunDirectory(tmp_path / "run"), tell=pytest.fail)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "transfer (Å)" in page
    assert "Å apart" not in page
    chosen = (tmp_path / "run" / "iteration-000" / "selected.xyz").read_text()
    assert " coordinate=" in chosen
    assert "distance_angstrom" not in chosen


def test_windows_are_pulls_of_their_own_and_keep_their_place(tmp_path):
    changes = {**EVENTS["windows"], "sampling__replicas": 2}
    plan = make_plan(settings_with(**changes))
    assert [(spec.window, spec.replica) for spec in plan.pulls] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert plan.systems == ("C2 in window 0 (1.5)", "C2 in window 1 (1.7)")
    run(tmp_path / "run", iterations=1, **changes)
    for pull, centre in enumerate((1.5, 1.5, 1.7, 1.7)):
        recorded = segments(tmp_path / "run", pull)
        target = np.concatenate([part.target for part in recorded])
        variables = np.concatenate([part.variables for part in recorded])[:, 0]
        energy = np.concatenate([part.bias_energy for part in recorded])
        assert set(target[10:]) == {centre}
        np.testing.assert_allclose(energy[10:], 5.0 * (variables[10:] - centre) ** 2, atol=1e-10)
    write_report(RunDirectory(tmp_path / "run"), tell=pytest.fail)
    assert "Energy of the bias along its first variable" in (tmp_path / "run" / "report.html").read_text()
    (record,) = RunDirectory(tmp_path / "run").records()
    assert all(math.isnan(value) for value in record.barrier_ev.values)  # a window does no work


def test_noise_and_velocities_are_those_of_the_reference():
    plan = make_plan(settings_with(sampling__replicas=2, **EVENTS["transfer"]))
    again = make_plan(settings_with(sampling__replicas=3, **EVENTS["transfer"]))
    assert [spec.noise for spec in plan.pulls] == [spec.noise for spec in again.pulls[:2]]
    assert len({spec.noise for spec in again.pulls}) == 3
    assert [spec.steered for spec in plan.pulls] == [(), ()]
    assert plan.molecules[0].steered == (0, 2, 5)


def test_a_torsion_of_butane_turns_with_dftb3(tmp_path):
    changes = {
        "labels": {"engine": "dftb3"},
        "system": {"carbons": [4]},
        "sampling__variables": [{"name": "torsion", "dihedral": [0, 1, 2, 3]}],
        "sampling__bias": {"kind": "steered", "from": 180.0, "to": 120.0, "force_constant": 0.02, "steps": 60},
        "training": {"epochs": 1},
        **HOT,
    }
    run(tmp_path / "run", iterations=1, first_data__md__steps=20, sampling__reference=False, **changes)
    recorded = segments(tmp_path / "run", 0)
    angles = np.concatenate([part.coordinate for part in recorded])
    assert angles[0] == pytest.approx(180.0, abs=10.0)
    assert angles[-1] < 165.0
    assert np.abs(np.diff(angles)).max() < 10.0  # no jump at 180°


BAD = {
    "words": (
        'kind = "colvars"\ntext = "colvar {\\n  name d\\n  distance {\\n  }\\n}\\n"',
        "",
        "Colvars has to accept",
    ),
    "no-such-atom": ('kind = "steered"\nto = 2.0\nforce_constant = 9.0', "distance = [0, 99]", "counted from 0 to 7"),
    "far": ('kind = "steered"\nfrom = 9.0\nto = 2.0\nforce_constant = 9.0', "distance = [0, 1]", "the centre 9"),
    "hills": ('kind = "metadynamics"', "distance = [0, 1]", "hill_height_ev: this key is required"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_ends_with_a_sentence_and_exit_code_2(alflow, tiny_file, name):
    bias, variable, words = BAD[name]
    variables = f'[[sampling.variables]]\nname = "d"\n{variable}\n' if variable else ""
    tiny_file.write_text(f"{tiny_file.read_text()}\n{variables}[sampling.bias]\n{bias}\n")
    code, out, err = alflow("run", tiny_file, "--site", "local")
    told = " ".join((out + err).split())
    assert code == 2, told
    assert words in told
    assert "Traceback" not in told
    assert not any("parsl" in path.name for path in tiny_file.parent.rglob("*"))


def test_settings_of_an_event_are_written_and_read_again(tmp_path):
    for name, changes in EVENTS.items():
        settings = settings_with(**changes)
        run_directory = RunDirectory(tmp_path / name)
        run_directory.open(settings)
        run_directory.open(settings)
        assert run_directory.settings() == settings
        text = (tmp_path / name / "campaign.toml").read_text()
        assert "coordinate" not in text
        assert "[sampling.bias]" in text
