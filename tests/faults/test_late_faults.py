"""A driver that is killed while labels are late: the run that goes on trains on what was decided."""

from __future__ import annotations

import os
import signal
import time

import pytest
from campaignrun import finish, start
from scenarios import CAMPAIGN

from alflow.campaign.late import late_keys
from alflow.ledger import LedgerReader, structure_keys
from alflow.runs.directory import RunDirectory, load_dataset

SLOW = "slow_share = 0.3\nslow_seconds = 4.0\nbeyond_angstrom = 3.6"
MOMENTS = {"decided": "iteration-000/late.json", "training": "iteration-001/dataset.npz", "late": "iterations.jsonl"}
LONGEST_SECONDS = 240.0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_with_late_labels_it_trains_on_what_was_decided(tmp_path, moment) -> None:
    campaign, run = tmp_path / "late.toml", RunDirectory(tmp_path / "run")
    text = CAMPAIGN.format(faults=SLOW, reference="false").replace("timeout_s = 4.0", "timeout_s = 30.0")
    text = text.replace("max_failed_share", "wait_share = 0.5\nmax_failed_share")
    text = text.replace("[selection]", "[selection]\naudit = 0.0").replace("iterations = 2", "iterations = 3")
    campaign.write_text(text)
    driver, limit = start(campaign, run.path), time.monotonic() + LONGEST_SECONDS
    while not (run.path / MOMENTS[moment]).exists() and time.monotonic() < limit:
        time.sleep(0.01)
    assert driver.process.poll() is None, driver.said()
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    decided = (run.iteration(0) / "late.json").read_bytes()
    again = start(campaign, run.path)
    assert finish(again) == 0, again.said()
    assert (run.iteration(0) / "late.json").read_bytes() == decided
    theory = run.identity()["theory"]
    late = late_keys(run, 0, theory)
    assert late
    assert [record.late for record in run.records()][::2] == [len(late), 0]
    with LedgerReader.open(run.ledger) as ledger:
        for iteration in (1, 2):
            without = late_keys(run, iteration - 1, theory)
            expected = ledger.dataset(theory, iteration - 1, without=without)[0]
            found = load_dataset(run.iteration(iteration) / "dataset.npz")
            keys = [
                [key for group in data.groups for key in structure_keys(theory, group.frames)]
                for data in (expected, found)
            ]
            assert keys[0] == keys[1]
            assert not without & set(keys[1])
