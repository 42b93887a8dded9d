"""Workers on hosts with addresses of their own, encrypted; one is unplugged in the middle."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from alflow.runs.events import read_events

HERE = Path(__file__).parent
pytestmark = [pytest.mark.netns, pytest.mark.slow]


@pytest.fixture
def hosts():
    missing = [name for name in ("ip", "nsenter", "unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: iproute2 util-linux)")
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    subprocess.run([HERE / "hosts_down.sh"], check=True)
    up = subprocess.run([HERE / "hosts_up.sh", "head", "cpu1", "cpu2"], capture_output=True, text=True, check=False)
    if up.returncode:
        subprocess.run([HERE / "hosts_down.sh"], check=True)
        pytest.skip(f"this machine makes no network namespaces: {up.stderr.strip()}")
    yield
    subprocess.run([HERE / "hosts_down.sh"], check=True)


def drive(folder, *arguments):
    command = [HERE / "on_host.sh", "head", sys.executable, HERE / "netns_driver.py", folder, *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"PYTHONPATH": str(HERE)}
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_two_hosts_share_the_work(hosts, tmp_path):
    told = drive(tmp_path)
    assert sum(told["hosts"].values()) == 60
    assert set(told["hosts"]) == {"cpu1", "cpu2"}
    assert told["retried"] == 0


def test_a_host_that_is_cut_off_costs_only_time(hosts, tmp_path):
    told = drive(tmp_path, "to-cpu2")
    assert sum(told["hosts"].values()) == 60
    assert told["hosts"]["cpu1"] > told["hosts"]["cpu2"]
    assert told["retried"] >= 1  # what ran on the lost host ran again on the other
    sys.stdout.write(f"\ninjected: cpu2 unplugged after {told['before']}; ended: all 60 tasks done, {told}\n")


def test_a_campaign_finishes_on_the_host_that_is_left(hosts, tiny_file, tmp_path):
    run, site = tmp_path / "run", HERE / "two_hosts.py"
    words = ["run", tiny_file, "--set", "labels.frames_per_task=1", "--set", "iterations=3", "--run-dir", run]
    options = {
        "address": "10.88.0.1",
        "next_host": HERE / "next_host.sh",
        "python_path": os.environ.get("PYTHONPATH", ""),
    }
    words += ["--site", site, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    alflow = Path(sys.executable).with_name("alflow")
    with (tmp_path / "output").open("wb") as output:
        driver = subprocess.Popen([HERE / "on_host.sh", "head", alflow, *words], stdout=output, stderr=output)
    try:
        while driver.poll() is None and hosts_of(run) != {"cpu1", "cpu2"}:
            time.sleep(0.1)
        before = len(list(read_events(run / "events.jsonl")))
        subprocess.run(["ip", "-n", "alflow-switch", "link", "set", "to-cpu2", "down"], check=True)
        code = driver.wait(timeout=300)
    finally:
        driver.kill()
    said = (tmp_path / "output").read_text()
    assert code == 0, said[-3000:]
    events = list(read_events(run / "events.jsonl"))
    labels = [event["host"] for event in events[before:] if event["what"] == "label" and event["outcome"] == "ok"]
    assert labels[-1] == "cpu1"
    again = [event["what"] for event in events if event.get("retries")]
    assert again  # what ran on the lost host, or was sent there, ran again on the other
    records = (run / "iterations.jsonl").read_text().splitlines()
    assert len(records) == 3
    assert "workers, " in said  # the user is told that workers are gone
    sys.stdout.write(
        f"\ninjected: cpu2 unplugged after {before} of {len(events)} events of a campaign over two hosts; ended: "
        f"{len(records)} iterations on cpu1, tasks run again: {dict(Counter(again))}\n"
    )


def hosts_of(run):
    """Return the hosts that labels came from."""
    events = read_events(run / "events.jsonl")
    return {event["host"] for event in events if event["what"] == "label" and event["outcome"] == "ok"}
