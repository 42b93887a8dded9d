"""Three campaigns under one driver that are struck while they run: each ends as the undisturbed one does alone.

Two are healthy and ask for the same labels; the engine of the third hangs, crashes, returns NaN and eats memory.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import faultharness
import processes
import pytest
from campaignrun import Content, Driver, content, finish
from faultharness import LONGEST_ORPHAN_SECONDS, MOST_RESTARTS
from faulttable import Result
from scenarios import LABELS_IN_FLIGHT, SITE, Scenario, write_campaign
from smalldisk import can_mount, small_disk

NAMES = ("one", "two", "bad")
VICTIMS = ("driver", "worker", "interchange", "term", "manager", "table", "disk")
CASES = [
    pytest.param(victim, marks=pytest.mark.slow if victim in ("driver", "disk") else pytest.mark.faults)
    for victim in VICTIMS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("several-faults")


@pytest.fixture(scope="module")
def expected(folder) -> dict[str, Content]:
    """Return what the campaigns leave when each runs alone, undisturbed."""
    healthy, _ = faultharness.undisturbed(folder, "healthy")
    bad, _ = faultharness.undisturbed(folder, "bad")
    return {"one": healthy, "two": healthy, "bad": bad}


def start_three(folder: Path) -> Driver:
    """Start, or go on with, three campaigns in a process group of its own."""
    output, options = folder / "three.log", [word for option in SITE for word in ("-O", option)]
    files = [str(folder / f"{name}.toml") for name in NAMES]
    command = [str(Path(sys.executable).with_name("alflow")), "run", *files, "--run-dir", str(folder / "runs")]
    with output.open("ab") as file:
        process = subprocess.Popen(
            [*command, *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return Driver(process, folder / "runs" / "allocation", output)


def write_three(folder: Path) -> None:
    """Write the campaign files."""
    folder.mkdir(exist_ok=True)
    for name, engine in zip(NAMES, ("healthy", "healthy", "bad"), strict=True):
        text = write_campaign(folder, engine).read_text().replace('name = "faults"', f'name = "{name}"')
        (folder / f"{name}.toml").write_text(text)


@contextlib.contextmanager
def place_of_bad(folder: Path, victim: str) -> Iterator[Path]:
    """Give the third campaign a small disk of its own where the disk is struck."""
    place = folder / "runs" / "bad"
    place.mkdir(parents=True)
    with small_disk(place) if victim == "disk" else contextlib.nullcontext(place) as where:
        yield where


def await_tasks(driver: Driver, count: int) -> None:
    """Wait until so many tasks have ended."""
    events = driver.run / "events.jsonl"
    while driver.process.poll() is None:
        if events.exists() and events.read_bytes().count(b'"campaign"') >= count:
            return
        time.sleep(0.01)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", CASES)
def test_three_struck_campaigns_end_as_each_does_alone(folder, expected, fault_table, victim) -> None:
    if victim == "disk" and not can_mount():
        pytest.skip("a small file system can be mounted by root only")
    rng, here = random.Random(victim), folder / victim
    write_three(here)
    result = Result(Scenario(f"three campaigns, {victim}", victim))
    began = time.monotonic()
    with place_of_bad(here, victim) as place:
        driver = start_three(here)
        await_tasks(driver, rng.randrange(20, 60))
        if victim == "disk":
            faultharness.fill(place)
        else:
            faultharness.strike_now(driver, victim, began, rng, result)
        code = finish(driver)
        (place / "filler").unlink(missing_ok=True)
        if victim == "disk":
            assert code == 1
            assert "bad: A ledger needs a disk" in driver.said() or "bad: A run needs a disk" in driver.said()
            for name in ("one", "two"):
                assert content(here / "runs" / name) is not None
                assert (content(here / "runs" / name).digest) == expected[name].digest
        while code != 0 and code is not None and result.restarts < MOST_RESTARTS:
            result.restarts += 1
            driver = start_three(here)
            code = finish(driver)
        result.seconds, result.survived = time.monotonic() - began, code == 0
        assert result.survived, driver.said()
        assert "Traceback" not in driver.output.read_text(errors="replace")
        found = {name: content(here / "runs" / name) for name in NAMES}
        left = processes.seconds_until_gone([], driver.run / "parsl", LONGEST_ORPHAN_SECONDS)
    result.lost = sum(expected[name].labels - found[name].labels for name in NAMES)
    result.paid_twice = sum(found[name].paid_again for name in NAMES)
    result.equal = all(
        (found[name].digest, found[name].barriers) == (expected[name].digest, expected[name].barriers) for name in NAMES
    )
    fault_table.append(result)
    assert (result.lost, result.equal) == (0, True)
    assert result.paid_twice <= (LABELS_IN_FLIGHT if victim == "disk" else 0)
    assert left < LONGEST_ORPHAN_SECONDS
    shutil.rmtree(here, ignore_errors=True)
