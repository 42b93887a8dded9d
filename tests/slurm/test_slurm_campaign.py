"""A tiny campaign, and the check of the site, on a real Slurm, as a user would start them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
OPTIONS = {
    "partition": "cpu",
    "cores_per_node": "2",
    "gpu_partition": "gpu",
    "gpu_cores_per_node": "4",
    "gpus_per_node": "2",
    "cpu_affinity": "none",
}


def alflow(*words, cwd):
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    command = [str(Path(sys.executable).parent / "alflow"), *map(str, words), *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=550, check=False)


def test_a_tiny_campaign_finishes(no_jobs, tiny_file, tmp_path):
    ended = alflow("run", tiny_file, "--site", "slurm", "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    records = (tmp_path / "run" / "iterations.jsonl").read_text().splitlines()
    assert records
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert {"label", "train", "pull-segment"} <= {event["what"] for event in events}
    left = subprocess.run(["squeue", "-h", "-t", "PD,R", "-o", "%i"], capture_output=True, text=True, check=True)
    assert left.stdout.split() == []


def test_the_site_is_checked(no_jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ended = alflow("site", "check", "slurm", "--engine", "gfn2-xtb", "--limit", "5", cwd=tmp_path)
    sys.stdout.write(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    check = json.loads((tmp_path / "site-check.json").read_text())
    assert sorted(report["visible"]["CUDA_VISIBLE_DEVICES"] for report in check["workers"] if report["visible"]) == [
        "0",
        "1",
    ]


def test_a_gpu_count_that_no_node_has_is_a_sentence(no_jobs, tiny_file, tmp_path, monkeypatch):
    monkeypatch.setitem(OPTIONS, "gpus_per_node", "9")
    ended = alflow("run", tiny_file, "--site", "slurm", "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert ended.returncode == 2
    assert "Slurm refuses the jobs of executor 'gpu'" in ended.stderr
    assert "Traceback" not in ended.stderr
