"""Campaigns that are struck while they run end as the undisturbed one does."""

from __future__ import annotations

import functools
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faultharness
import pytest
from campaignrun import Content
from scenarios import CAMPAIGN, REPRESENTATIVES, SCENARIOS, SITE
from smalldisk import can_mount

CASES = [
    pytest.param(
        scenario, id=scenario.name, marks=pytest.mark.slow if scenario in REPRESENTATIVES else pytest.mark.faults
    )
    for scenario in SCENARIOS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def expected(folder) -> Callable[[str], tuple[Content, int]]:
    """Return what the undisturbed campaign of an engine leaves; it is run when it is first asked for."""
    return functools.cache(lambda engine: faultharness.undisturbed(folder, engine))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", CASES)
def test_struck_campaign_ends_as_the_undisturbed_one(folder, expected, fault_table, scenario) -> None:
    if scenario.victim == "disk" and not can_mount():
        pytest.skip("a small file system can be mounted by root only")
    result = faultharness.strike(folder, scenario, *expected(scenario.engine), random.Random(scenario.name))
    fault_table.append(result)
    assert result.survived, result.notes
    assert (result.lost, result.equal, result.notes) == (0, True, [])
    assert result.paid_twice <= scenario.may_pay_twice


BAD_NODE = """
import os
from ase.calculators.emt import EMT


class OnBadNodes(EMT):
    def get_potential_energy(self, *args, **kwargs):
        right = super().get_potential_energy(*args, **kwargs)
        return right + 1e-4 * ("PARSL_WORKER_BLOCK_ID" in os.environ)
"""


@pytest.mark.slow
def test_workers_with_wrong_numbers_are_named_and_get_no_work(folder, monkeypatch) -> None:
    (folder / "badnode.py").write_text(BAD_NODE)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    campaign = folder / "bad-node.toml"
    campaign.write_text(
        CAMPAIGN.format(faults="", reference="true")
        .replace('engine = "sleep"', 'engine = "ase"')
        .replace("seconds_per_label = 0.05", 'calculator = "badnode.OnBadNodes"')
    )
    alflow = str(Path(sys.executable).with_name("alflow"))
    options = [word for option in SITE for word in ("-o", option)]
    command = [alflow, "run", str(campaign), "--run-dir", str(folder / "bad-node"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert "No worker of executor 'cpu' is fit for work" in said
    assert socket.gethostname() in said
    assert "Traceback" not in said
