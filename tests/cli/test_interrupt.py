"""Ctrl-C and SIGTERM end a campaign cleanly, and the same command goes on to the same result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tinycampaign import TINY

from alflow.ledger import LedgerReader
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events

START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from alflow.cli import main
main()
"""
COMMAND = [sys.executable, "-c", START, "run", "tiny.toml", "-o", "workers=2"]


def start(folder):
    output = (folder / "output.txt").open("w")
    return subprocess.Popen(COMMAND, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def processes_of(session):
    """Return the command lines of live processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("the campaign did not get so far in time")


def digest(folder):
    with LedgerReader.open(RunDirectory(folder / "runs" / "tiny").ledger) as ledger:
        return ledger.digest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.toml").write_text(TINY)
    assert start(folder).wait(300) == 0, (folder / "output.txt").read_text()
    return digest(folder)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_campaign_cleanly_and_it_goes_on(undisturbed, tmp_path, number, code):
    (tmp_path / "tiny.toml").write_text(TINY)
    events = tmp_path / "runs" / "tiny" / "events.jsonl"
    driver = start(tmp_path)
    wait_for(lambda: any(event["what"] == "md-segment" for event in read_events(events)))
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # a terminal's Ctrl-C reaches all of its processes
    else:
        driver.send_signal(number)
    assert driver.wait(60) == code
    output = (tmp_path / "output.txt").read_text()
    assert "Run the same command again to go on" in " ".join(output.split())
    assert "Traceback" not in output
    wait_for(lambda: not processes_of(driver.pid), 20)
    assert start(tmp_path).wait(300) == 0
    assert digest(tmp_path) == undisturbed
