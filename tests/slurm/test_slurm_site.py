"""executors/slurm.py on a real Slurm: both kinds of worker, pinning, and what dies in the middle."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from slurm_tasks import where

from alflow.errors import CampaignError, SiteError
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.runs.events import EventLog
from alflow.workers.result import App

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
OPTIONS = {
    "partition": "cpu",
    "cores_per_node": "2",  # of the 8 that each node claims
    "gpu_cores_per_node": "4",
    "gpu_partition": "gpu",
    "gpus_per_node": "4",
    "cpu_affinity": "none",  # the nodes are emulated: they share this machine's few cores
    "heartbeat_seconds": "1",
    "heartbeat_limit_seconds": "6",
}


def quick(config):
    """Let the providers look at the queue every second (Parsl's own poll is once a minute)."""
    for executor in config.executors:
        kind = type(executor.provider)
        executor.provider.__class__ = type(kind.__name__, (kind,), {"status_polling_interval": 1})
    return config


@pytest.fixture
def farm(no_jobs, tmp_path, monkeypatch):
    """Start a graph on the site; it is closed at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import this module
    graphs = []

    def start(site="slurm", **changes):
        config = quick(load_site(find_site(site), tmp_path, OPTIONS | changes))
        graphs.append(TaskGraph(config, EventLog(tmp_path / "events.jsonl")))
        return graphs[-1]

    yield start
    for graph in graphs:
        graph.close()


def gather(graph, what, *arguments, count):
    """Submit tasks; give their results once all are there."""
    found = []
    for _ in range(count):
        graph.submit(App(what, what, where)(*arguments), found.append)
    graph.run_until(lambda: graph.pending() == 0)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return [result.value for result in found]


def report(line):
    """Say what was injected and how it ended (shown by `pytest -s`)."""
    sys.stdout.write(f"\n{line}\n")


def jobs(partition):
    answer = subprocess.run(
        ["squeue", "-h", "-t", "R", "-p", partition, "-o", "%i"], capture_output=True, text=True, check=True
    )
    return answer.stdout.split()


def test_both_partitions_work_and_gpus_are_pinned(farm):
    graph = farm()
    assert jobs("gpu") == []
    labels = gather(graph, "cpu", 0.2, count=4)
    assert {found["SLURMD_NODENAME"] for found in labels} <= {"cpu1", "cpu2"}
    assert {found["OMP_NUM_THREADS"] for found in labels} == {"1"}
    assert jobs("gpu") == []  # no GPU is held while only labels run
    pulls = gather(graph, "gpu", 1.0, count=8)
    assert {found["SLURMD_NODENAME"] for found in pulls} == {"gpu1"}
    device_of = {found["pid"]: found["CUDA_VISIBLE_DEVICES"] for found in pulls}
    assert sorted(device_of.values()) == ["0", "1", "2", "3"]
    report(f"pinning: {device_of}")


def test_an_idle_block_is_given_back(farm):
    graph = farm(idle_minutes="0.05")
    gather(graph, "cpu", 0.0, count=1)
    assert jobs("cpu")
    until = time.monotonic() + 40
    graph.run_until(lambda: not jobs("cpu") or time.monotonic() > until)
    assert jobs("cpu") == []
    assert gather(graph, "cpu", 0.0, count=1)  # and asked for again when work comes


def test_a_gpu_block_is_kept_when_told_so(farm):
    graph = farm(idle_minutes="0.05", gpu_min_blocks="1")
    gather(graph, "gpu", 0.0, count=1)
    held = jobs("gpu")
    gather(graph, "cpu", 2.0, count=10)  # three times as long as an idle block lives
    assert jobs("gpu") == held != []


def test_an_archive_is_unpacked_on_every_node(farm, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what the emulated nodes take for their own disk
    folder = tmp_path / "packed" / "bin"
    folder.mkdir(parents=True)
    pool = Path(sys.executable).with_name("process_worker_pool.py")
    (folder / "process_worker_pool.py").write_text(f'#!/bin/sh\nexec {pool} "$@"\n')
    (folder / "conda-unpack").write_text("#!/bin/sh\necho $SLURMD_NODENAME >> $COPY/unpacked\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    subprocess.run(["tar", "-cf", tmp_path / "packed.tar", "-C", folder.parent, "."], check=True)
    graph = farm(environment=str(tmp_path / "packed.tar"), nodes_per_block="2", max_blocks="1")
    done = gather(graph, "cpu", 0.5, count=8)
    copies = {found["COPY"] for found in done}
    assert {found["pool"] for found in done} == {f"{copy}/bin/process_worker_pool.py" for copy in copies}
    assert sorted(Path(copies.pop(), "unpacked").read_text().split()) == ["cpu1", "cpu2"]


def test_a_cancelled_block_loses_nothing(farm):
    graph = farm(max_blocks="1")
    gather(graph, "cpu", 0.0, count=1)
    victim = jobs("cpu")
    threading.Timer(2.0, subprocess.run, [["scancel", *victim]]).start()
    began = time.monotonic()
    done = gather(graph, "cpu", 0.5, count=40)
    assert len(done) == 40
    assert jobs("cpu") != victim
    report(
        f"injected: scancel {victim}; ended: all 40 tasks done after {time.monotonic() - began:.0f} s in another block"
    )


def test_a_node_set_down_loses_nothing(farm):
    graph = farm(max_blocks="1")
    first = gather(graph, "cpu", 0.0, count=1)[0]
    node, job = first["SLURMD_NODENAME"], first["SLURM_JOB_ID"]
    set_state = ["scontrol", "update", f"NodeName={node}"]
    answers = []

    def set_down():
        answers.append(subprocess.run([*set_state, "State=DOWN", "Reason=test"], check=False).returncode)

    threading.Timer(1.0, set_down).start()
    done = gather(graph, "cpu", 0.5, count=40)
    subprocess.run([*set_state, "State=RESUME"], check=False, stderr=subprocess.DEVNULL)  # it may be back by itself
    assert answers == [0]
    assert len(done) == 40
    later = [found for found in done if found["SLURM_JOB_ID"] != job or found["SLURM_RESTART_COUNT"]]
    assert later
    report(f"injected: {node} set down; ended: all 40 tasks done, {len(later)} of them after the restart")


def test_a_block_is_replaced_before_its_walltime(farm):
    graph = farm(max_blocks="1", walltime_minutes="1", drain_minutes="0.6")  # workers stop after 24 s
    done = gather(graph, "cpu", 0.5, count=100)
    used = {found["SLURM_JOB_ID"] for found in done}
    assert len(done) == 100
    assert len(used) > 1
    events = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    assert [event for event in events if event.get("retries")] == []  # nothing was running when the block ended
    report(f"injected: a walltime of one minute; ended: all 100 tasks done in {len(used)} blocks, none run twice")


def test_a_worker_start_that_fails_ends_with_a_sentence(farm):
    graph = farm(worker_init="exit 7")
    with pytest.raises(CampaignError, match=r"[Ee]xecutor '?cpu"):
        gather(graph, "cpu", 0.0, count=1)
    assert jobs("cpu") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "nosuch"}, "executor 'cpu' of site 'slurm': .*[Pp]artition"),
        (
            {"gpus_per_node": "5", "gpu_cores_per_node": "8"},
            "executor 'gpu' of site 'slurm': .*node configuration is not available",
        ),
        ({"cores_per_node": "64"}, "executor 'cpu' of site 'slurm': "),
    ],
)
def test_what_slurm_would_refuse_is_refused_before_anything_is_submitted(no_jobs, tmp_path, changes, words):
    with pytest.raises(SiteError, match=words):
        load_site(find_site("slurm"), tmp_path, OPTIONS | changes)
    queue = subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True)
    assert [line for line in queue.stdout.splitlines() if " CG " not in line] == []


def test_srun_binds_one_gpu_to_each_worker_as_on_frontier(no_jobs, tmp_path):
    srun = "srun --ntasks 1 --ntasks=4 --ntasks-per-node=4 -c 2 --gpus-per-task=1"
    script = f"#!/bin/sh\n{srun} sh -c 'echo $SLURM_LOCALID $CUDA_VISIBLE_DEVICES'\n"
    header = ["-p", "gpu", "--exclusive", "--gpus-per-node=4", "--ntasks-per-node=1", "--wait", "-o", tmp_path / "out"]
    subprocess.run(["sbatch", *header], input=script, text=True, check=True, stdout=sys.stderr)
    lines = sorted(line.split() for line in (tmp_path / "out").read_text().splitlines() if line[:1].isdigit())
    assert [task for task, _ in lines] == ["0", "1", "2", "3"]
    assert len({device for _, device in lines}) == 4 or {device for _, device in lines} == {"0"}
