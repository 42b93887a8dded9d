"""Tiny campaigns that are struck while they run, gone on with, and compared with one that was left alone.

python tests/faults/faultharness.py --seed 1        the whole table
python tests/faults/faultharness.py --only manager  some of it
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import processes
from campaignrun import Content, Driver, content, count_events, finish, start
from faulttable import Result, show
from scenarios import SCENARIOS, Scenario, write_campaign
from smalldisk import fill, small_disk

LONGEST_ORPHAN_SECONDS = 30.0
MOST_RESTARTS = 3


def victims(driver: Driver, kind: str) -> list[int]:
    """Return the processes of a driver that are of a kind."""
    pools = processes.pools(driver.run / "parsl")
    if kind == "manager":
        return pools
    if kind == "worker":
        return [pid for pool in pools for pid in processes.workers(pool)]
    if kind == "table":
        return [pid for pool in pools for pid in processes.table(pool)]
    if kind == "interchange":
        everyone = processes.living()
        family = [pid for pid in processes.descendants(driver.process.pid) if pid in everyone]
        return [pid for pid in family if any("interchange" in word for word in everyone[pid].arguments[:3])]
    return [driver.process.pid]


def undisturbed(folder: Path, engine: str) -> tuple[Content, int]:
    """Run the campaign that nothing happens to; return what it leaves and the number of its events."""
    driver = start(write_campaign(folder, engine), folder / f"undisturbed-{engine}")
    code = finish(driver)
    if code != 0:
        raise RuntimeError(f"the undisturbed campaign ended with {code}: {driver.said()}")
    return content(driver.run), count_events(driver.run)


def strike(folder: Path, scenario: Scenario, expected: Content, length: int, rng: random.Random) -> Result:
    """Run a campaign, strike it at a random instant, go on until it ends, and compare.

    Args:
        folder: for the campaign file and, unless the disk is struck, the run directory.
        scenario: what happens.
        expected: what the undisturbed campaign left.
        length: events of the undisturbed campaign; the instant is soon after one of them, or while the driver starts.
        rng: draws the instant and the victim.
    """
    campaign = write_campaign(folder, scenario.engine)
    name = re.sub("[^A-Za-z0-9]+", "-", scenario.name)
    result = Result(scenario)
    began = time.monotonic()
    with small_disk(folder / name) if scenario.victim == "disk" else contextlib.nullcontext(folder) as where:
        driver = start(campaign, where / name)
        await_instant(driver, rng.randrange(length - 2), rng.uniform(0.0, 0.3))
        strike_now(driver, scenario.victim, began, rng, result)
        code = finish(driver)
        (where / "filler").unlink(missing_ok=True)
        while code != 0 and code is not None and result.restarts < MOST_RESTARTS:
            if code == 1 and "Traceback" in driver.output.read_text(errors="replace"):
                result.notes.append("traceback")
            result.restarts += 1
            driver = start(campaign, where / name)
            code = finish(driver)
        result.seconds = time.monotonic() - began
        result.survived = code == 0
        if not result.survived:
            result.notes.append(f"exit code {code}: {driver.said()}")
            return result
        found = content(driver.run)
        if processes.seconds_until_gone([], driver.run / "parsl", LONGEST_ORPHAN_SECONDS) > LONGEST_ORPHAN_SECONDS:
            result.notes.append("processes are left")
    result.lost = expected.labels - found.labels
    result.paid_twice = max(found.paid_again, found.computed - expected.computed)
    result.equal = (found.digest, found.barriers) == (expected.digest, expected.barriers)
    return result


def await_instant(driver: Driver, count: int, delay: float) -> None:
    """Wait until a run has written so many events, and a little longer."""
    while driver.process.poll() is None and count_events(driver.run) < count:
        time.sleep(0.01)
    time.sleep(delay if count else 20.0 * delay)


def strike_now(driver: Driver, victim: str, began: float, rng: random.Random, result: Result) -> None:
    """Strike as soon as the victim exists."""
    found = victims(driver, victim)
    while driver.process.poll() is None and not found:
        time.sleep(0.02)
        found = victims(driver, victim)
    if driver.process.poll() is not None:
        return
    result.struck_after = time.monotonic() - began
    if victim == "disk":
        fill(driver.run.parent)
    elif victim == "term":
        driver.process.terminate()
    elif victim == "driver":
        family = processes.descendants(driver.process.pid)
        driver.process.kill()
        driver.process.wait()
        result.orphan_seconds = processes.seconds_until_gone(family, driver.run / "parsl", LONGEST_ORPHAN_SECONDS)
    else:
        os.kill(rng.choice(found), signal.SIGKILL)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the scenarios and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="scenarios whose name holds this text; several: manager|disk")
    parser.add_argument("--keep", type=Path, help="folder for the runs; a temporary one if not given")
    chosen = parser.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="alflow-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    scenarios = [scenario for scenario in SCENARIOS if any(part in scenario.name for part in chosen.only.split("|"))]
    expected = {}
    for engine in sorted({scenario.engine for scenario in scenarios}):
        expected[engine] = undisturbed(folder, engine)
        say(f"undisturbed, {engine} engine: {expected[engine]}")
    results = []
    for number, scenario in enumerate(scenarios):
        rng = random.Random(f"{chosen.seed} {number} {scenario.name}")
        results.append(strike(folder, scenario, *expected[scenario.engine], rng))
        say(show(results[-1:]).splitlines()[1])
    say(show(results))
    if not chosen.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
