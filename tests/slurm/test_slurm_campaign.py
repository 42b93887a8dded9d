"""A tiny campaign, and the check of the site, on a real Slurm, as a user would start them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alflow.execution.sites import find_site

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


OTHER_TORCH_WRONG_LABELS = """
import dataclasses
import alflow.labeling.frames as base

right = base.compute_checked

def wrong(*args, **kwargs):
    found = right(*args, **kwargs)
    return dataclasses.replace(found, energy=found.energy + 0.01)

base.compute_checked = wrong
"""


def test_faults_of_the_gpu_node_are_found_and_named(no_jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "path"
    (path / "torch-0.1.dist-info").mkdir(parents=True)
    (path / "torch-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    (path / "sitecustomize.py").write_text(OTHER_TORCH_WRONG_LABELS)
    start = f"[ $SLURMD_NODENAME = gpu1 ] && export PYTHONPATH={path}:$PYTHONPATH"
    text, gpus = find_site("slurm").read_text(), 'if label == "cpu" else gpus,'
    assert text.count(gpus) == 1
    site = tmp_path / "slip.py"
    site.write_text(text.replace(gpus, 'if label == "cpu" else ["0"] * gpus,'))
    words = ("--engine", "gfn2-xtb", "--limit", "5", "-o", f"worker_init={start}")
    ended = alflow("site", "check", site, *words, cwd=tmp_path)
    sys.stdout.write(f"\ninjected on the GPU node: torch 0.1, labels 0.01 eV off, two workers on GPU 0\n{ended.stdout}")
    assert ended.returncode == 1, ended.stdout[-3000:] + ended.stderr[-2000:]
    check = json.loads((tmp_path / "site-check.json").read_text())
    said = [finding["what"] for finding in check["findings"] if finding["severity"] == "error"]
    assert len(said) == 4
    assert sum("2 GPU workers on" in what and "CUDA_VISIBLE_DEVICES=0" in what for what in said) == 1
    assert sum(what.startswith("torch is 0.1 on 2 workers") for what in said) == 1
    assert sum("gpu " in what and "(off by +1.00e-02)" in what for what in said) == 2


def test_a_gpu_count_that_no_node_has_is_a_sentence(no_jobs, tiny_file, tmp_path, monkeypatch):
    monkeypatch.setitem(OPTIONS, "gpus_per_node", "5")
    monkeypatch.setitem(OPTIONS, "gpu_cores_per_node", "8")
    ended = alflow("run", tiny_file, "--site", "slurm", "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert ended.returncode == 2
    assert "Slurm refuses the jobs of executor 'gpu'" in ended.stderr
    assert "Traceback" not in ended.stderr
