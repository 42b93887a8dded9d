"""CPU nodes of one Slurm partition and GPU nodes of another, each with its own account, modules and walltime."""

from __future__ import annotations

import pathlib
import shlex
import sysconfig
from typing import Annotated

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import SimpleLauncher, SrunLauncher
from parsl.providers import SlurmProvider

from alflow.execution.sites.labels import HOSTS_OF_SLURM, label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]
Cores = Annotated[int, ">= 1, <= 4096"]


def make_config(
    run_dir: pathlib.Path,
    *,
    cpu_partition: Name,
    cores_per_node: Cores,
    gpu_partition: Name,
    gpu_cores_per_node: Cores,
    gpus_per_node: int,
    cores_per_label: Cores | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    label_gpus_per_node: int = 0,
    launcher: str = "srun",
    threads_per_core: Annotated[int, ">= 1, <= 16"] = 1,
    cpu_account: Name | None = None,
    gpu_account: Name | None = None,
    cpu_worker_init: str = "",
    gpu_worker_init: str = "",
    cpu_walltime_minutes: Count = 60,
    gpu_walltime_minutes: Count = 240,
    nodes_per_block: Count = 1,
    max_blocks: Count = 4,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    drain_minutes: float = 5.0,
    idle_minutes: Annotated[float, "> 0"] = 2.0,
    address: Name | None = None,
) -> Config:
    """Describe two partitions of one cluster. https://slurm.schedmd.com/sbatch.html.

    For clusters whose GPU nodes need other modules, another project or other limits than the CPU nodes. GPU jobs are
    not held while only labels run: each kind is requested when its tasks wait and given back when it idles.

    Args:
        run_dir: the campaign's run directory, on a file system that all nodes see.
        cpu_partition: where label workers run.
        cores_per_node: physical cores of a node of that partition; one label worker for each `cores_per_label`.
        gpu_partition: where training and pulls run.
        gpu_cores_per_node: cores of a node of that partition.
        gpus_per_node: GPUs of such a node, one worker each, pinned.
        threads_per_core: threads that the system shows of a core, 2 with hyper-threading; one of each core is used.
        cpu_account: what label jobs are charged to.
        gpu_account: what GPU jobs are charged to; `cpu_account` when not given.
        cpu_worker_init: shell lines that run before the label workers start.
        gpu_worker_init: shell lines that run before the GPU workers start, for example "module load cuda".
        cpu_walltime_minutes: of label jobs.
        gpu_walltime_minutes: of GPU jobs.
        cores_per_label: cores of one label, on all its nodes; one a rank, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees, of those of the label nodes.
        label_gpus_per_node: GPUs of a node of `cpu_partition`, for `gpus_per_label`.
        launcher: what starts ranks: srun, mpich, openmpi, pals, or a command with {ranks}, {ranks_per_node}, {cores}
            (of a rank), {nodes} and {hosts}.
        nodes_per_block: nodes a label job asks for.
        max_blocks: label jobs at a time.
        gpu_max_blocks: GPU jobs (one node each) at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        address: address of this host as the nodes see it; all of its addresses are tried when not given.
    """
    if gpus_per_node < 1:
        raise ValueError(f"a GPU node has at least one GPU; got gpus_per_node={gpus_per_node}. Without: --site slurm")
    if gpus_per_node > gpu_cores_per_node:
        raise ValueError(
            f"a GPU worker has a core at least; got gpus_per_node={gpus_per_node} and {gpu_cores_per_node} cores"
        )
    share = label_share(
        f"a node of partition {cpu_partition!r}",
        range(cores_per_node),
        cores_per_label=cores_per_label,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=[str(gpu) for gpu in range(label_gpus_per_node)],
        nodes_per_block=nodes_per_block,
    )
    labels = share.exports(launcher, HOSTS_OF_SLURM)
    start = [
        f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH",
        "export NUMBA_CACHE_DIR=${TMPDIR:-/tmp}/alflow-numba-$USER",
    ]

    def executor(label: str, where: str, account: str | None, init: str, minutes: int) -> HighThroughputExecutor:
        cores, workers = (gpu_cores_per_node, gpus_per_node) if label == "gpu" else (cores_per_node, share.workers)
        one_pool = label == "cpu" and share.on_first_node
        threads = labels if label == "cpu" else [THREADS.format(cores // workers)]
        affinity = "block" if threads_per_core == 1 and (label == "gpu" or share.cores == 1) else "list"
        label_gpus = label_gpus_per_node if gpus_per_label else None
        # The system numbers the first threads of all cores from 0 on, then the second ones.
        each = ":".join(f"{cores * w // workers}-{cores * (w + 1) // workers - 1}" for w in range(workers))
        provider = SlurmProvider(
            partition=where,
            account=account,
            nodes_per_block=nodes_per_block if label == "cpu" else 1,
            cores_per_node=cores * threads_per_core,
            gpus_per_node=gpus_per_node if label == "gpu" else label_gpus,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=max_blocks if label == "cpu" else gpu_max_blocks,
            walltime=f"{minutes // 60:02d}:{minutes % 60:02d}:00",
            worker_init="\n".join([init, *start, *threads]),
            launcher=SimpleLauncher()
            if one_pool
            else SrunLauncher(
                overrides=f"--ntasks-per-node=1 --cpus-per-task={cores * threads_per_core} --cpu-bind=none"
            ),
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            address=address,
            max_workers_per_node=workers,
            cores_per_worker=1e-6 if one_pool else cores / workers,
            cpu_affinity=affinity if affinity == "block" else share.affinity if label == "cpu" else f"list:{each}",
            available_accelerators=gpus_per_node if label == "gpu" else list(share.accelerators),
            heartbeat_period=10,
            heartbeat_threshold=60,
            drain_period=round(60 * (minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    return Config(
        executors=[
            executor("cpu", cpu_partition, cpu_account, cpu_worker_init, cpu_walltime_minutes),
            executor("gpu", gpu_partition, gpu_account or cpu_account, gpu_worker_init, gpu_walltime_minutes),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
