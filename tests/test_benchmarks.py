"""The benchmarks run, and the table of the ablation says what its campaigns recorded."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shortcampaigns import CONFIGS, write_short

from alflow.campaign.plan import make_plan
from alflow.config.load import load_campaign
from alflow.types import Dataset, Frames, Group, Labels

FOLDER = Path(__file__).parent.parent / "benchmarks"
ENVIRONMENT = {**os.environ, "TORCHANI_NO_WARN_EXTENSIONS": "1"}
TABLES = ("accelerator_table",)
"""These write tables of what others measured."""
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in TABLES)
OF_CAMPAIGNS = ("ablation", "convergence")
"""These take the campaigns that they are given; the others make what they measure."""
LONG = ("overhead", "reference_pull", "several", "training", "label_efficiency", "accelerator_mace", "base_theory")
LONG += ("correction",)


def quick(script, folder, *options):
    """Run a benchmark's quick version; return what it printed and what it wrote."""
    target = folder / f"{script}.json"
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--quick", "--json", str(target), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=folder)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return done.stdout, json.loads(target.read_text())


def check(found):
    """See that a benchmark measured something: rows of finite numbers, and ratios between them."""
    assert found["machine"]
    assert found["rows"]
    numbers = [value for row in found["rows"] for value in row.values() if isinstance(value, int | float)]
    assert numbers
    assert all(math.isfinite(number) for number in numbers)
    assert found["ratios"]
    assert all(math.isfinite(ratio) for ratio in found["ratios"].values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_explains_itself(script):
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    assert "--quick" in said
    assert "--json" in said


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, marks=pytest.mark.bench) if script in LONG else script
        for script in SCRIPTS
        if script not in OF_CAMPAIGNS
    ],
)
def test_a_quick_benchmark_measures(script, tmp_path):
    printed, found = quick(script, tmp_path)
    check(found)
    assert printed
    if script == "reference_pull":  # physics, not speed: the first two barriers of docs/results
        assert [row["barrier_ev"] for row in found["rows"]] == pytest.approx([6.378, 6.551], abs=0.01)


def test_a_quick_convergence_of_a_short_campaign(tmp_path):
    campaign = write_short(CONFIGS / "hexane.toml", tmp_path / "hexane.toml", "sampling.replicas=2")
    options = ("--campaign", str(campaign), "--seeds", "3", "4", "--folder", "runs", "--figure", "figure.png")
    printed, found = quick("convergence", tmp_path, *options)
    check(found)
    assert [(row["seed"], row["iteration"]) for row in found["rows"]] == [(3, 0), (3, 1)]
    assert "seed 3: mean within 1 kcal/mol" in printed
    assert (tmp_path / "figure.png").stat().st_size > 1000


def load(script, monkeypatch):
    """Import a benchmark."""
    specification = importlib.util.spec_from_file_location(script, FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, script, module)  # its dataclass looks itself up there
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def ablation(monkeypatch):
    return load("ablation", monkeypatch)


def test_a_quick_ablation_of_short_campaigns(ablation, tmp_path, monkeypatch, capsys):
    (tmp_path / "common.toml").write_text(ablation.CAMPAIGN)
    campaign = write_short(tmp_path / "common.toml", tmp_path / "short.toml", "sampling.replicas=2")
    monkeypatch.setattr(ablation, "CAMPAIGN", campaign.read_text())
    options = ["--quick", "--folder", str(tmp_path / "runs"), "--json", str(tmp_path / "ablation.json")]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *options])
    ablation.main()
    found = json.loads((tmp_path / "ablation.json").read_text())
    check(found)
    assert [(row["variant"], row["seeds"], row["failed"]) for row in found["rows"]] == [
        (variant, 1, 0) for variant in ablation.QUICK
    ]
    assert ablation.QUICK[1] in capsys.readouterr().out


def write_records(run, means):
    run.mkdir()
    records = [
        {
            "barrier_error_ev": {"mean": mean, "values": [mean - 0.1, mean + 0.1]},
            "unseen_energy_mae_ev": 0.5 + mean,
            "unseen_force_mae_ev_per_angstrom": 0.02,
            "labels": 100,
        }
        for mean in means
    ]
    (run / "iterations.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    return run


def test_ablation_row(ablation, tmp_path):
    runs = [write_records(tmp_path / "a", [9.0, -0.5, 0.1]), write_records(tmp_path / "b", [9.0, 0.2, -0.3])]
    runs.append(write_records(tmp_path / "ended-early", [9.0]))
    row = ablation.summarise("some variant", runs, 3)
    assert row.mean_error_ev == pytest.approx(0.2)
    assert row.mean_error_sd_ev == pytest.approx(0.1 * 2**0.5)
    assert row.single_error_ev == pytest.approx(((0.0 + 0.2**2 + 0.4**2 + 0.2**2) / 4) ** 0.5)
    assert row.worst_later_error_ev == pytest.approx(9.0)
    assert (row.unseen_energy_mae_ev, row.unseen_energy_mae_sd_ev) == pytest.approx((0.4, 0.4 / 2**0.5))
    assert (row.unseen_force_mae_ev_per_angstrom, row.unseen_force_mae_sd_ev_per_angstrom) == pytest.approx((0.02, 0.0))
    assert (row.labels, row.failed) == (100, 1)
    assert "some variant" in ablation.table([row])


def test_ablation_of_campaigns_that_all_failed(ablation, tmp_path):
    row = ablation.summarise("hopeless", [tmp_path / "nothing"], 3)
    assert row.failed == 1
    assert row.mean_error_ev != row.mean_error_ev


def test_a_calibrated_uncertainty_is_judged_by_its_own_scale(monkeypatch):
    uncertainty = load("uncertainty", monkeypatch)
    errors, stated = np.array([1.0, -2.0, 3.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])
    plain = uncertainty.measures(errors, stated, None)
    assert plain["rank"] == pytest.approx(1.0)
    assert plain["ratio"] == pytest.approx((95 / 30) ** 0.5)
    assert (plain["covered_68"], plain["covered_95"]) == (0.0, 0.75)
    scaled = uncertainty.measures(errors, stated, (2.0 * np.ones(20), np.ones(20)))
    assert scaled["ratio"] == pytest.approx((95 / 30) ** 0.5 / 2.0)
    assert (scaled["covered_68"], scaled["covered_95"]) == (0.75, 1.0)
    assert (scaled["conformal_68"], scaled["conformal_95"]) == (0.75, 0.75)


def test_fresh_rows_and_the_force_along_a_distance(monkeypatch):
    uncertainty = load("uncertainty", monkeypatch)
    plan = make_plan(load_campaign(CONFIGS / "hexane.toml"))
    spec = plan.pulls[0]
    frames = Frames.of(spec.molecule.numbers, np.stack([spec.molecule.positions, spec.molecule.positions * 1.01]))
    one, other = spec.molecule.steered
    directions = uncertainty.directions_of(spec, frames)
    line = frames.positions[:, other] - frames.positions[:, one]
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    assert directions[:, other] == pytest.approx(line / 2.0, abs=1e-6)
    assert directions[:, one] == pytest.approx(-line / 2.0, abs=1e-6)
    assert np.abs(directions).sum() == pytest.approx(np.abs(line).sum(), abs=1e-6)
    before, after = (
        Dataset((Group(part, Labels(np.zeros(len(part)), np.zeros(part.positions.shape))),))
        for part in (frames.take(slice(1)), frames)
    )
    assert uncertainty.fresh_rows(before, after).tolist() == [1]


def test_an_audit_of_the_iterations_own_pulls(tmp_path):
    printed, found = quick("uncertainty", tmp_path, "--label")
    check(found)
    assert "own power" in printed
    assert {row["part"] for row in found["rows"]} >= {"all", "next"}
    assert {row["frames"] for row in found["rows"] if row["part"] == "next"} <= set(range(20, 137))


def test_an_audit_without_errors_agrees_with_its_references(monkeypatch):
    correction = load("correction", monkeypatch)
    spec = make_plan(load_campaign(CONFIGS / "hexane.toml")).pulls[0]
    target = np.linspace(6.0, 9.0, 300)
    coordinate = target - np.where(target < 8.0, 0.2 * (target - 6.0), np.maximum(0.4 - (target - 8.0), 0.0))
    rows, window = correction.audit_rows(target, coordinate, np.random.default_rng(0))
    frames = Frames(spec.molecule.composition, np.repeat(spec.molecule.positions[None], len(rows), axis=0))
    labels = Labels(np.zeros(len(rows)), np.zeros(frames.positions.shape))
    works = 6.5 + 0.1 * np.random.default_rng(1).normal(size=(2, 8))
    pulls = [
        correction.Pull(spec, target, coordinate, np.append(np.zeros(299), work), rows, window, frames, labels)
        for work in works[0]
    ]
    references = correction.References(works[1], works[1], np.zeros(8))
    row = correction.judged(("run", 3, correction.ENGINE), pulls, lambda _: labels, references, [4])
    assert (row.told, row.holds, row.labels) == (True, True, 40)
    assert (row.error, row.error_half_width) == (0.0, 0.0)
    assert row.true_error == pytest.approx(float((works[0] - works[1]).mean()))
    assert row.slack == pytest.approx(works[0].mean())
    assert row.groups[4][:2] == (2, 2)
    assert "1 of 1 could be told; held in 1" in correction.table([row])
    nothing = Labels(np.full(len(rows), np.nan), labels.forces)
    row = correction.judged(("run", 3, "other"), pulls, lambda _: nothing, references, [])
    assert not row.told
    assert row.error is None
