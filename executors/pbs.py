"""Any cluster under PBS Pro or OpenPBS: label workers from one queue, GPU workers from another (or the same)."""

from __future__ import annotations

import pathlib
import shlex
import sysconfig
from typing import Annotated, Literal

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import MpiExecLauncher, MpiRunLauncher, SimpleLauncher
from parsl.providers import PBSProProvider

from alflow.execution.sites.labels import HOSTS_OF_PBS, label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
# The scheduler's mpiexec, not the one that came with this Python environment.
MPIEXEC = """MPIEXEC=$(type -aP {command} | grep -vFm1 {scripts}/ || type -P {command})
{command}() {{ "$MPIEXEC" "$@"; }}"""
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]
Cores = Annotated[int, ">= 1, <= 4096"]


def make_config(
    run_dir: pathlib.Path,
    *,
    queue: Name,
    cores_per_node: Cores,
    gpu_queue: Name | None = None,
    gpu_cores_per_node: Cores | None = None,
    gpus_per_node: int = 0,
    cores_per_label: Cores | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    label_gpus_per_node: int = 0,
    launcher: str | None = None,
    threads_per_core: Annotated[int, ">= 1, <= 16"] = 1,
    account: Name | None = None,
    nodes_per_block: Count = 1,
    mpi: Literal["mpich", "openmpi"] = "mpich",
    max_blocks: Count = 4,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 60,
    drain_minutes: float = 5.0,
    idle_minutes: Annotated[float, "> 0"] = 2.0,
    address: Name | None = None,
    worker_init: str = "",
    scheduler_options: str = "",
) -> Config:
    """Describe a cluster under PBS. https://parsl.readthedocs.io/en/stable/stubs/parsl.providers.PBSProProvider.html.

    Blocks are requested when tasks wait, and given back when they idle; the two kinds come and go on their own.
    Worker start: the driver's own Python from the shared file system; unpack a copy on the node's disk in `worker_init`
    when many nodes start at once.

    Args:
        run_dir: the campaign's run directory, on a file system that all nodes see.
        queue: where label workers run.
        cores_per_node: physical cores of a node of that queue; one label worker for each `cores_per_label`.
        gpu_queue: where training and pulls run; `queue` when not given.
        gpu_cores_per_node: cores of a node of the GPU queue; `cores_per_node` when not given.
        gpus_per_node: GPUs of such a node, one worker each, pinned; 0: training and pulls run on one CPU worker a node.
        cores_per_label: cores of one label, on all its nodes; one a rank, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees, of those of the label nodes.
        label_gpus_per_node: GPUs of a node of `queue`, for `gpus_per_label`.
        launcher: what starts ranks, if not what `mpi` names: mpich, openmpi, pals, or a command with {ranks},
            {ranks_per_node}, {cores} (of a rank), {nodes} and {hosts}.
        threads_per_core: threads that the system shows of a core, 2 with hyper-threading; one of each core is used.
        account: what is charged.
        nodes_per_block: nodes a label job asks for; with more than one, `mpiexec` starts a worker pool on each.
        mpi: whose `mpiexec` that is: MPICH and its kin (Intel, Cray), or Open MPI's.
        max_blocks: label jobs at a time.
        gpu_max_blocks: GPU jobs (one node each) at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        walltime_minutes: of every job.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        address: address of this host as the nodes see it; all of its addresses are tried when not given.
        worker_init: shell lines that run before the workers start.
        scheduler_options: further #PBS lines.
    """
    gpu_cores = gpu_cores_per_node or cores_per_node
    if gpus_per_node > gpu_cores:
        raise ValueError(f"a GPU worker has a core at least; got gpus_per_node={gpus_per_node} and {gpu_cores} cores")
    strange = [line for line in scheduler_options.splitlines() if line.strip() and not line.startswith("#PBS ")]
    if strange:
        raise ValueError(f"scheduler_options are lines that begin with '#PBS '; got {strange[0]!r}")
    share = label_share(
        f"a node of queue {queue!r}",
        range(cores_per_node),
        cores_per_label=cores_per_label,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=[str(gpu) for gpu in range(label_gpus_per_node)],
        nodes_per_block=nodes_per_block,
        from_first_node=True,
    )
    scripts = shlex.quote(sysconfig.get_path("scripts"))
    start = [worker_init, f"cd {run_dir}", f"export PATH={scripts}:$PATH"]
    start += ["export NUMBA_CACHE_DIR=${TMPDIR:-/tmp}/alflow-numba-$USER"]

    many_nodes, command = MpiExecLauncher(overrides="--ppn 1"), "mpiexec"
    if mpi == "openmpi":
        many_nodes, command = MpiRunLauncher(overrides="--map-by node --bind-to none"), "mpirun"

    def executor(label: str, where: str, cores: int, workers: int, gpus: int, nodes: int) -> HighThroughputExecutor:
        # The system numbers the first threads of all cores from 0 on, then the second ones.
        each = ":".join(f"{cores * w // workers}-{cores * (w + 1) // workers - 1}" for w in range(workers))
        labels, one_pool = label == "cpu", label == "cpu" and share.on_first_node
        init = [*start, THREADS.format(cores // workers)]
        if labels:
            init = [*start, *share.exports(launcher or mpi, HOSTS_OF_PBS)]
        if nodes > 1 or (labels and share.launched):
            init.insert(len(start), MPIEXEC.format(command=command, scripts=scripts))
        if labels and share.launched:
            init.append('export ALFLOW_MPIEXEC="$MPIEXEC"')
        listed = share.affinity if labels else f"list:{each}"
        block = threads_per_core == 1 and not (labels and share.cores > 1)
        provider = PBSProProvider(
            account=account,
            queue=where,
            cpus_per_node=cores * threads_per_core,
            select_options=f"ngpus={gpus}" if gpus else "",
            nodes_per_block=nodes,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=max_blocks if label == "cpu" else gpu_max_blocks,
            walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
            scheduler_options=scheduler_options,
            worker_init="\n".join(init),
            launcher=many_nodes if nodes > 1 and not one_pool else SimpleLauncher(),
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            address=address,
            max_workers_per_node=workers,
            cores_per_worker=1e-6 if one_pool else cores / workers,
            cpu_affinity="block" if block else listed,
            available_accelerators=list(share.accelerators) if labels else gpus,
            heartbeat_period=10,
            heartbeat_threshold=60,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    return Config(
        executors=[
            executor(
                "cpu",
                queue,
                cores_per_node,
                share.workers,
                label_gpus_per_node if gpus_per_label else 0,
                nodes_per_block,
            ),
            executor("gpu", gpu_queue or queue, gpu_cores, max(gpus_per_node, 1), gpus_per_node, 1),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
