"""A campaign with a base that is killed again and again, at every stage of its start, gives the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import basecampaigns
import pytest
from basecampaigns import CHEAP, EXPENSIVE, result, settings_with

from alflow.config.load import to_toml

MARKS = (
    "base/iteration-000/ensemble.pt",
    "first-data/base.pt",
    "first-data/base.npz",
    "iteration-000/pull-00/segment-000.npz",
)
"""Files in the order in which they are written: the driver is killed as soon as one is there."""
LIMIT_S = 600.0
OWN = {
    "engine": "ase",
    "settings": CHEAP,
    "structures": 8,
    "campaign": {"iterations": 1, "sampling": {"replicas": 1}, "selection": {"cap": 4}},
}


@pytest.fixture(params=["transfer", pytest.param("delta", marks=pytest.mark.slow)])
def campaign(request, tmp_path):
    """Write the campaign file; return its folder."""
    settings = settings_with(base={**OWN, "use": request.param}, labels__settings=EXPENSIVE, labels__frames_per_task=2)
    (tmp_path / "tiny.toml").write_text(to_toml(settings))
    return tmp_path


def start(folder, name):
    code = "from alflow.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "tiny.toml", "-o", "kind=threads", "--run-dir", name]
    paths = [str(Path(basecampaigns.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)


def run_until(folder, name, mark):
    """Start the driver and kill it, and all that it started, as soon as a file is there."""
    target, process = folder / name / mark, start(folder, name)
    until = time.monotonic() + LIMIT_S
    while not target.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    ended = process.poll()
    if ended is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert target.exists(), (folder / f"{name}.log").read_text()


@pytest.mark.timeout(1800)
def test_killed_at_every_stage_of_its_start_it_ends_the_same(campaign):
    assert start(campaign, "whole").wait(LIMIT_S) == 0, (campaign / "whole.log").read_text()
    for mark in MARKS:
        run_until(campaign, "killed", mark)
    assert start(campaign, "killed").wait(LIMIT_S) == 0, (campaign / "killed.log").read_text()
    assert result(campaign / "killed") == result(campaign / "whole")
    assert result(campaign / "killed" / "base") == result(campaign / "whole" / "base")
