"""The benchmarks start, and the table of the ablation says what its campaigns recorded."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_explains_itself(script):
    environment = {**os.environ, "TORCHANI_NO_WARN_EXTENSIONS": "1"}
    command = [sys.executable, str(script), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert "--quick" in said
    assert "--json" in said


@pytest.fixture
def ablation(monkeypatch):
    specification = importlib.util.spec_from_file_location("ablation", FOLDER / "ablation.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "ablation", module)  # its dataclass looks itself up there
    specification.loader.exec_module(module)
    return module


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
