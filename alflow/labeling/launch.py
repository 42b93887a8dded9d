"""Launch prefix of a label that is several MPI ranks: made on its worker, handed to engines as ALFLOW_LAUNCH.

A site file says in the environment what a label gets (ALFLOW_LAUNCHER, ALFLOW_RANKS, ALFLOW_CORES a rank,
ALFLOW_NODES, ALFLOW_SLOTS, ALFLOW_HOSTS; `alflow.execution.sites.labels` writes them). Which nodes and cores these are
depends on the worker.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import sysconfig
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from alflow.labeling import ranks

PINS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
OF_THE_WORKER = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Where Parsl binds the threads of the worker; those of every rank would be bound to the same cores."""
OF_ANOTHER_WORLD = ("PMI_FD", "PMI_RANK", "PMI_SIZE", "PMI_JOBID")
"""What Slurm hands to the pool of workers as to a rank; a program of MPI would take itself for that one."""
OF_THE_STEP = ("SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK", "SLURM_TRES_PER_TASK", "SLURM_LABELIO")
"""What `srun` takes over from the step of the worker: a step that shares its cores must not ask for any, and programs
read their own output, without numbers of ranks before each line."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of one label."""

    launcher: str
    count: int
    cores: int
    """Of each rank."""
    hosts: tuple[str, ...]
    bound: tuple[tuple[int, ...], ...]
    """Cores of each rank of a node; none where ranks are not bound."""
    program: str = ""
    """Path of the launcher, where it is not the first of its name on the PATH."""

    @property
    def here(self) -> int:
        """Ranks on each node."""
        return self.count // len(self.hosts)

    def command(self) -> list[str]:
        """Return the launcher's command line, to stand before that of the program."""
        made = {"srun": self._srun, "mpich": self._mpich, "openmpi": self._openmpi, "pals": self._pals}
        return made.get(self.launcher, self._own)()

    def _srun(self) -> list[str]:
        masks = ",".join(hex(sum(1 << core for core in cores)) for cores in self.bound)
        return [
            *(
                "srun",
                "--overlap",
                "--kill-on-bad-exit=1",
                f"--nodes={len(self.hosts)}",
                f"--nodelist={','.join(self.hosts)}",
            ),
            *(f"--ntasks={self.count}", f"--ntasks-per-node={self.here}"),
            f"--cpu-bind={'mask_cpu:' + masks if masks else 'none'}",
        ]

    def _mpich(self) -> list[str]:
        alone = ["-launcher", "fork"] if len(self.hosts) == 1 else []
        bound = ",".join("+".join(map(str, cores)) for cores in self.bound)
        binding = ["-bind-to", f"user:{bound}"] if bound else []
        return [*self._mpiexec("-ppn", "-hosts"), *alone, *binding]

    def _pals(self) -> list[str]:
        lists = ":".join(",".join(map(str, cores)) for cores in self.bound)
        return [*self._mpiexec("--ppn", "--hosts"), "--cpu-bind", f"list:{lists}" if lists else "none"]

    def _mpiexec(self, each: str, hosts: str) -> list[str]:
        return [self.program or "mpiexec", "-n", str(self.count), each, str(self.here), hosts, ",".join(self.hosts)]

    def _openmpi(self) -> list[str]:
        """Ranks stay on the cores of their worker where they are on its node; else the launcher binds them in turn."""
        hosts = ",".join(f"{host}:{self.here}" for host in self.hosts)
        binding = ["--bind-to", "none"]
        if self.bound and self.hosts != (this_node(),):
            binding = ["--map-by", f"slot:PE={self.cores}", "--bind-to", "core"]
        program = self.program or _outside("mpirun.openmpi") or _outside("mpirun") or "mpirun"
        return [program, "-n", str(self.count), "--host", hosts, *binding]

    def _own(self) -> list[str]:
        counts = {"ranks": self.count, "ranks_per_node": self.here, "cores": self.cores, "nodes": len(self.hosts)}
        text = self.launcher.replace("{hosts}", ",".join(self.hosts))
        for name, count in counts.items():
            text = text.replace(f"{{{name}}}", str(count))
        return shlex.split(text)


def ranks_of(environment: Mapping[str, str]) -> Ranks | None:
    """Return the ranks of a label of this worker; None where a label is one process."""
    count, nodes = int(environment.get("ALFLOW_RANKS", "1")), int(environment.get("ALFLOW_NODES", "1"))
    if count < 2 or not environment.get("ALFLOW_LAUNCHER"):
        return None
    worker, slots = int(environment.get("PARSL_WORKER_RANK", "0")), environment.get("ALFLOW_SLOTS", "")
    labels = _core_lists(slots)
    hosts = tuple(environment.get("ALFLOW_HOSTS", "").split())
    if hosts:
        first = worker * nodes if nodes > 1 else worker // max(1, len(labels))
        hosts = tuple(hosts[(first + step) % len(hosts)] for step in range(nodes))
    cores = labels[worker % len(labels)] if labels else ()
    each = len(cores) // (count // nodes)
    bound = tuple(cores[rank * each : (rank + 1) * each] for rank in range(count // nodes)) if each else ()
    return Ranks(
        environment["ALFLOW_LAUNCHER"],
        count,
        int(environment.get("ALFLOW_CORES", "1")),
        hosts or (this_node(environment),),
        bound,
        environment.get("ALFLOW_MPIEXEC", ""),
    )


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set ALFLOW_LAUNCH, and the threads of a rank, for the engine of this process; nothing where a label has one rank.

    The launcher runs under a small program that ends it, and its ranks on all nodes, when this process is gone. GPUs
    that Parsl cannot pin by itself (ALFLOW_GPUS) are pinned here.
    """
    for name in OF_ANOTHER_WORLD:
        environment.pop(name, None)
    sets = environment.get("ALFLOW_GPUS", "").split(":")
    if sets[0]:
        variable = environment.get("ALFLOW_GPU_VARIABLE", "CUDA_VISIBLE_DEVICES")
        environment[variable] = sets[int(environment.get("PARSL_WORKER_RANK", "0")) % len(sets)]
    found = ranks_of(environment)
    if found is None:
        return
    for name in (*OF_THE_WORKER, *(OF_THE_STEP if found.launcher == "srun" else ())):
        environment.pop(name, None)
    environment.update(dict.fromkeys(THREADS, str(found.cores)))
    pins = [f"{name}={environment[name]}" for name in PINS if name in environment]
    watcher = [sys.executable, "-I", "-S", str(Path(ranks.__file__))]
    environment[ranks.WATCHED] = str(os.getpid())
    environment["ALFLOW_LAUNCH"] = shlex.join([*watcher, *found.command(), *(["env", *pins] if pins else [])])


def filled_in(text: str, environment: Mapping[str, str] = os.environ) -> str | int:
    """Return a text with {launch}, {ranks} and {cores} filled in; the number where it is {ranks} or {cores} alone.

    Without a launcher, as on the driver, {launch} is nothing, {ranks} is 1, and {cores} the threads of this worker.
    """
    launched = "ALFLOW_LAUNCH" in environment
    threads = environment.get("OMP_NUM_THREADS", "").split(",")[0] or "1"
    counts = {
        "{ranks}": environment.get("ALFLOW_RANKS", "1") if launched else "1",
        "{cores}": environment.get("ALFLOW_CORES", threads) if launched else threads,
    }
    if text in counts:
        return int(counts[text])
    launch = environment.get("ALFLOW_LAUNCH", "")
    text = text.replace("{launch}", launch) if launch else text.replace("{launch} ", "").replace("{launch}", "")
    for name, count in counts.items():
        text = text.replace(name, count)
    return text


def this_node(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name by which a launcher knows this node."""
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def _outside(program: str) -> str | None:
    """Return a program that is not of this Python environment: the `mpich` wheel brings an `mpirun` of its own."""
    own = Path(sysconfig.get_path("scripts")).resolve()
    folders = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part]
    return shutil.which(program, path=os.pathsep.join(part for part in folders if Path(part).resolve() != own))


def _core_lists(text: str) -> list[tuple[int, ...]]:
    """Read 0-3:4,6 as (0, 1, 2, 3), (4, 6)."""
    return [tuple(core for part in slot.split(",") for core in _range(part)) for slot in text.split(":") if slot]


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
