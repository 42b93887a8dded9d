"""Tiny campaigns that are struck while they run, gone on with, and compared with one that was left alone.

python tests/faults/faultharness.py --seed 1        the whole table
python tests/faults/faultharness.py --only manager  some of it
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alflow.events import read_events
from alflow.ledger import LedgerReader

CAMPAIGN = """
name = "faults"
seed = 3
iterations = 3
[system]
carbons = [2]
[labels]
engine = "sleep"
timeout_s = 4.0
memory_gb = 1.5
frames_per_task = 2
max_failed_share = 0.9
[labels.settings]
seconds_per_label = 0.05
{faults}
[first_data]
segment_steps = 20
[first_data.md]
steps = 60
stride = 2
temperature_k = 300.0
[training]
epochs = 6
checkpoint_every_s = 0.0
[split]
members = 2
[selection]
threshold = "first-steps"
first_steps = 20
sigmas = 0.0
cap = 8
similarity_distance_angstrom = 0.0
similarity_energy_ev = 0.0
[augmentation]
copies = 2
[sampling]
relax_with = "label-engine"
reference = {reference}
[sampling.relax]
langevin_steps = 20
berendsen_steps = 20
[sampling.pull]
steps = 120
segment_steps = 30
rate_angstrom_per_ps = 40.0
"""
HEALTHY = "hang_share = 0.0"
BAD = """
beyond_angstrom = 3.6
hang_share = 0.1
crash_share = 0.15
nan_share = 0.15
not_converged_share = 0.15
eat_memory_share = 0.15
"""
SITE = ("workers=2", "gpu_workers=1", "gpu_threads=1", "heartbeat_seconds=1", "heartbeat_limit_seconds=5")
LONGEST_SECONDS = 300.0
LONGEST_ORPHAN_SECONDS = 30.0
MOST_RESTARTS = 3
DISK_BYTES = 48 << 20


@dataclass(frozen=True)
class Scenario:
    """What happens to a campaign."""

    name: str
    victim: str
    """driver, worker, manager, interchange, disk, term; empty for none."""
    engine: str = "healthy"


SCENARIOS = (
    *(Scenario(f"driver SIGKILL {number}", "driver") for number in range(1, 7)),
    *(Scenario(f"worker SIGKILL {number}", "worker") for number in range(1, 4)),
    *(Scenario(f"manager SIGKILL {number}", "manager") for number in range(1, 3)),
    *(Scenario(f"interchange SIGKILL {number}", "interchange") for number in range(1, 3)),
    *(Scenario(f"disk full {number}", "disk") for number in range(1, 3)),
    Scenario("driver SIGTERM", "term"),
    Scenario("bad engine, driver SIGKILL 1", "driver", "bad"),
    Scenario("bad engine, driver SIGKILL 2", "driver", "bad"),
    Scenario("bad engine, worker SIGKILL", "worker", "bad"),
    Scenario("bad engine, manager SIGKILL", "manager", "bad"),
)


@dataclass(frozen=True)
class Content:
    """What a finished campaign leaves."""

    digest: str
    labels: int
    failures: dict[str, int]
    barriers: tuple[tuple[float, ...], ...]
    paid_again: int
    """Labels that came back though the ledger had them."""
    computed: int
    """Labels that came back from workers: those that came and were lost before they were committed count twice."""


@dataclass
class Result:
    """How a struck campaign fared."""

    scenario: Scenario
    struck_after: float | None = None
    """Seconds; None if the campaign ended before."""
    restarts: int = 0
    seconds: float = 0.0
    survived: bool = False
    lost: int = -1
    paid_twice: int = -1
    equal: bool = False
    orphan_seconds: float = 0.0
    """How long processes outlived a killed driver."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Driver:
    """A running `alflow run`."""

    process: subprocess.Popen[bytes]
    run: Path
    output: Path

    def said(self) -> str:
        """Return the last lines of its output."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-3:])


def write_campaign(folder: Path, engine: str) -> Path:
    """Write the campaign file of an engine, healthy or bad."""
    path = folder / f"{engine}.toml"
    bad = engine == "bad"
    path.write_text(CAMPAIGN.format(faults=BAD if bad else HEALTHY, reference="false" if bad else "true"))
    return path


def start(campaign: Path, run: Path) -> Driver:
    """Start, or go on with, a campaign in a process group of its own."""
    output = campaign.with_name(run.name + ".log")
    command = [
        str(Path(sys.executable).with_name("alflow")),
        "run",
        str(campaign),
        "--run-dir",
        str(run),
        "--site",
        "local",
    ]
    for option in SITE:
        command += ["-o", option]
    with output.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    return Driver(process, run, output)


def finish(driver: Driver) -> int | None:
    """Wait for the end; None if it does not come."""
    try:
        return driver.process.wait(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in [*descendants(driver.process.pid), driver.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.process.wait()
        return None


def content(run: Path) -> Content:
    """Read what a finished campaign leaves."""
    with LedgerReader.open(run / "ledger.sqlite") as ledger:
        counts = ledger.counts()
        digest, paid, failures = ledger.digest(), ledger.paid_again(), ledger.failures_by_reason()
    lines = (run / "iterations.jsonl").read_text().splitlines()
    barriers = tuple(tuple(json.loads(line)["barrier_ev"]["values"]) for line in lines)
    tasks = [event for event in read_events(run / "events.jsonl") if event["what"] == "label"]
    computed = sum(event["frames"] for event in tasks if event["outcome"] == "ok")
    return Content(digest, counts.labelled + counts.failed, failures, barriers, paid, computed)


# ---- processes ------------------------------------------------------------------------------------------------------


def processes() -> dict[int, tuple[int, list[str]]]:
    """Return pid -> (parent, arguments) of all that live."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    found[int(folder.name)] = (int(parent), arguments)
    return found


def descendants(pid: int) -> list[int]:
    """Return children, their children and so on."""
    everyone = processes()
    family, queue = [], [pid]
    while queue:
        parent = queue.pop()
        children = [child for child, (its_parent, _) in everyone.items() if its_parent == parent]
        family += children
        queue += children
    return family


def victims(driver: Driver, kind: str) -> list[int]:
    """Return the processes of a driver that are of a kind."""
    everyone = processes()
    family = [pid for pid in descendants(driver.process.pid) if pid in everyone]

    def is_manager(pid: int) -> bool:  # detached: none of the family
        arguments = everyone[pid][1] if pid in everyone else []
        of_run = f"{driver.run}/parsl/" in " ".join(arguments)
        return of_run and any(argument.endswith("process_worker_pool.py") for argument in arguments[:3])

    if kind == "manager":
        return [pid for pid in everyone if is_manager(pid)]
    if kind == "worker":
        return [
            pid
            for pid, (parent, arguments) in everyone.items()
            if is_manager(parent) and any("spawn_main" in argument for argument in arguments)
        ]
    if kind == "interchange":
        return [pid for pid in family if "interchange" in everyone[pid][1][0] or "interchange.py" in str(everyone[pid])]
    return [driver.process.pid]


def wait_for_orphans(pids: list[int], run: Path) -> float:
    """Return the seconds until none of the processes, nor any that names the run in its command line, lives."""
    began = time.monotonic()
    left: set[int] | None = None
    while left != set() and time.monotonic() - began < LONGEST_ORPHAN_SECONDS:
        time.sleep(0.1 if left else 0.0)
        everyone = processes()
        named = {pid for pid, (_, arguments) in everyone.items() if f"{run}/parsl/" in " ".join(arguments)}
        left = (set(pids) & everyone.keys()) | named
    return time.monotonic() - began


# ---- one scenario ---------------------------------------------------------------------------------------------------


def events(run: Path) -> int:
    """Return how many events a run has written."""
    path = run / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def undisturbed(folder: Path, engine: str) -> tuple[Content, int]:
    """Run the campaign that nothing happens to; return what it leaves and the number of its events."""
    driver = start(write_campaign(folder, engine), folder / f"undisturbed-{engine}")
    code = finish(driver)
    if code != 0:
        raise RuntimeError(f"the undisturbed campaign ended with {code}: {driver.said()}")
    return content(driver.run), events(driver.run)


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
    name = scenario.name.replace(" ", "-").replace(",", "")
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
        if wait_for_orphans([], driver.run) > LONGEST_ORPHAN_SECONDS:
            result.notes.append("processes are left")
    result.lost = expected.labels - found.labels
    result.paid_twice = max(found.paid_again, found.computed - expected.computed)
    result.equal = (found.digest, found.barriers) == (expected.digest, expected.barriers)
    return result


def await_instant(driver: Driver, count: int, delay: float) -> None:
    """Wait until a run has written so many events, and a little longer."""
    while driver.process.poll() is None and events(driver.run) < count:
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
        family = descendants(driver.process.pid)
        driver.process.kill()
        driver.process.wait()
        result.orphan_seconds = wait_for_orphans(family, driver.run)
    else:
        os.kill(rng.choice(found), signal.SIGKILL)


def fill(folder: Path) -> None:
    """Leave no byte on the disk."""
    with (folder / "filler").open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system in memory; root only."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "alflow-faults", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def can_mount() -> bool:
    """Say whether a small disk can be had."""
    try:
        with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


# ---- the table ------------------------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    """Return the table of faults."""
    lines = [
        f"{'fault':<30} {'at s':>6} {'starts':>6} {'survived':>8} {'lost':>5} {'twice':>5} {'equal':>5} {'orphans':>9}"
    ]
    for result in results:
        at = "never" if result.struck_after is None else f"{result.struck_after:.1f}"
        lines.append(
            f"{result.scenario.name:<30} {at:>6} {1 + result.restarts:>6} {_yes(result.survived):>8} {result.lost:>5} "
            f"{result.paid_twice:>5} {_yes(result.equal):>5} {result.orphan_seconds:>9.1f}  {'; '.join(result.notes)}"
        )
    survived = sum(result.survived for result in results)
    lost, twice = sum(result.lost for result in results), sum(result.paid_twice for result in results)
    equal = sum(result.equal for result in results)
    lines.append(f"{len(results)} faults: {survived} survived, {lost} lost, {twice} paid twice, {equal} equal")
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


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
        say(table(results[-1:]).splitlines()[1])
    say(table(results))
    if not chosen.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
