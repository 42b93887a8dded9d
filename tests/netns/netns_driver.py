"""Runs on the host "head": tasks on the hosts cpu1 and cpu2, one of which is unplugged in the middle.

netns_driver.py FOLDER [LINK_TO_CUT]
"""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider

from alflow.execution.graph import TaskGraph
from alflow.runs.events import EventLog
from alflow.workers.result import App, reported

HERE = Path(__file__).parent
NETWORK = os.environ.get("NETWORK", "10.88.0")


@reported
def work(seconds):
    """Say which host this is."""
    time.sleep(seconds)
    return socket.gethostname()


def config(folder):
    """Two blocks of two workers, each on a host of its own; everything encrypted."""
    scripts = sysconfig.get_path("scripts")
    lines = f"export PATH={scripts}:$PATH PYTHONPATH={HERE} OMP_NUM_THREADS=1"
    executor = HighThroughputExecutor(
        label="cpu",
        address=f"{NETWORK}.1",
        encrypted=True,
        max_workers_per_node=2,
        cores_per_worker=1e-6,
        heartbeat_period=1,
        heartbeat_threshold=6,
        interchange_launch_cmd=["setpriv", "--pdeathsig", "TERM", f"{scripts}/interchange.py"],
        provider=LocalProvider(
            init_blocks=2,
            max_blocks=2,
            worker_init=lines,
            launcher=WrappedLauncher(prepend=f"{HERE}/next_host.sh {folder} cpu1 cpu2 --"),
        ),
    )
    return Config(executors=[executor], run_dir=str(folder / "parsl"), strategy="none", strategy_period=0.2)


def main():
    folder = Path(sys.argv[1])
    graph = TaskGraph(config(folder), EventLog(folder / "events.jsonl"))
    hosts, retried, cut = Counter(), [], None
    began = time.monotonic()

    def handle(result):
        nonlocal cut
        if isinstance(result, BaseException):
            raise result
        hosts[result.value] += 1
        if len(sys.argv) > 2 and cut is None and len(hosts) == 2:
            subprocess.run(["ip", "-n", "alflow-switch", "link", "set", sys.argv[2], "down"], check=True)
            cut = dict(hosts)

    for _ in range(60):
        graph.submit(App("work", "cpu", netns_work)(0.5), handle)
    graph.run_until(lambda: graph.pending() == 0)
    seconds = time.monotonic() - began
    graph.close()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    retried = [event["task"] for event in events if event["what"] == "work" and event["retries"]]
    sys.stdout.write(json.dumps({"hosts": hosts, "before": cut, "retried": len(retried), "seconds": seconds}) + "\n")


if __name__ == "__main__":
    from netns_driver import work as netns_work  # workers find it by this name, not in __main__

    main()
