"""Any cluster under Slurm: label workers from one partition, GPU workers from another (or the same)."""

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
AFFINITIES = ("block", "block-reverse", "alternating", "none")
UNPACK = """ON_EACH="srun --nodes=$SLURM_JOB_NUM_NODES --ntasks-per-node=1"
$ON_EACH bash -c 'mkdir -p $COPY && tar -xf $COPY.tar -C $COPY' || exit 1
export PATH=$COPY/bin:$PATH
$ON_EACH conda-unpack || exit 1"""
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]
Cores = Annotated[int, ">= 1, <= 4096"]
Seconds = Annotated[int, ">= 1, <= 3600"]


def make_config(
    run_dir: pathlib.Path,
    *,
    partition: Name,
    cores_per_node: Cores,
    gpu_partition: Name | None = None,
    gpu_cores_per_node: Cores | None = None,
    gpus_per_node: int = 0,
    cores_per_label: Cores | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    label_gpus_per_node: int = 0,
    launcher: str = "srun",
    account: Name | None = None,
    qos: Name | None = None,
    constraint: Annotated[str, "word"] | None = None,
    nodes_per_block: Count = 1,
    max_blocks: Count = 4,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 60,
    drain_minutes: float = 5.0,
    idle_minutes: Annotated[float, "> 0"] = 2.0,
    exclusive: bool = True,
    threads_per_core: Annotated[int, ">= 1, <= 16"] = 1,
    cpu_affinity: Name = "block",
    heartbeat_seconds: Seconds = 10,
    heartbeat_limit_seconds: Seconds = 60,
    address: Name | None = None,
    environment: Annotated[str, "path"] | None = None,
    worker_init: str = "",
    scheduler_options: str = "",
) -> Config:
    """Describe a cluster under Slurm. https://slurm.schedmd.com/sbatch.html.

    Blocks are requested when tasks wait, and given back when they idle; the two kinds come and go on their own.
    Worker start: the driver's own Python from the shared file system, or, with `environment`, an archive that `sbcast`
    copies to every node once, so that no worker reads thousands of small files over the network.

    Args:
        run_dir: the campaign's run directory, on a file system that all nodes see.
        partition: where label workers run.
        cores_per_node: physical cores of a node of that partition; one label worker for each `cores_per_label`.
        gpu_partition: where training and pulls run; `partition` when not given.
        gpu_cores_per_node: cores of a node of the GPU partition; `cores_per_node` when not given.
        gpus_per_node: GPUs of such a node, one worker each, pinned; 0: training and pulls run on one CPU worker a node.
        cores_per_label: cores of one label, on all its nodes; one a rank, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees, of those of the label nodes.
        label_gpus_per_node: GPUs of a node of `partition`, for `gpus_per_label`.
        launcher: what starts ranks: srun, mpich, openmpi, pals, or a command with {ranks}, {ranks_per_node}, {cores}
            (of a rank), {nodes} and {hosts}.
        account: what is charged.
        qos: quality of service.
        constraint: node features, for both kinds of node.
        nodes_per_block: nodes a label job asks for.
        max_blocks: label jobs at a time.
        gpu_max_blocks: GPU jobs (one node each) at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        walltime_minutes: of every job.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        exclusive: ask for whole nodes.
        threads_per_core: threads that the system shows of a core, 2 with hyper-threading; one of each core is used.
        cpu_affinity: how workers are bound to cores where a core shows one thread: block, alternating or none.
        heartbeat_seconds: time between signs of life; a killed worker is noticed within it.
        heartbeat_limit_seconds: silence after which a node counts as lost.
        address: address of this host as the nodes see it; all of its addresses are tried when not given.
        environment: archive of a Python environment by conda-pack (a .tar file), to unpack on every node.
        worker_init: shell lines that run before the workers start, for example "module load python".
        scheduler_options: further #SBATCH lines.
    """
    gpu_cores = gpu_cores_per_node or cores_per_node
    if gpus_per_node > gpu_cores:
        raise ValueError(f"a GPU worker has a core at least; got gpus_per_node={gpus_per_node} and {gpu_cores} cores")
    if cpu_affinity not in AFFINITIES and not cpu_affinity.startswith("list:"):
        raise ValueError(f"cpu_affinity is one of {', '.join(AFFINITIES)}; got {cpu_affinity!r}")
    strange = [line for line in scheduler_options.splitlines() if line.strip() and not line.startswith("#SBATCH ")]
    if strange:
        raise ValueError(f"scheduler_options are lines that begin with '#SBATCH '; got {strange[0]!r}")
    share = label_share(
        f"a node of partition {partition!r}",
        range(cores_per_node),
        cores_per_label=cores_per_label,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=[str(gpu) for gpu in range(label_gpus_per_node)],
        nodes_per_block=nodes_per_block,
    )
    chosen = cpu_affinity == "none" or cpu_affinity.startswith("list:")
    affinity = cpu_affinity if chosen or (share.cores == threads_per_core == 1) else share.affinity
    labels = share.exports(launcher, HOSTS_OF_SLURM, bound=not chosen)
    start = [worker_init, f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH"]
    start += ["export NUMBA_CACHE_DIR=${TMPDIR:-/tmp}/alflow-numba-$USER"]
    if environment is not None:
        copy = f"sbcast -pf {shlex.quote(environment)} $COPY.tar || exit 1"
        start += ["export COPY=${TMPDIR:-/tmp}/alflow-$SLURM_JOB_ID", copy, UNPACK]

    def executor(label: str, where: str, cores: int, workers: int, gpus: int, blocks: int) -> HighThroughputExecutor:
        # The system numbers the first threads of all cores from 0 on, then the second ones.
        each = ":".join(f"{cores * w // workers}-{cores * (w + 1) // workers - 1}" for w in range(workers))
        bound = cpu_affinity if threads_per_core == 1 else f"list:{each}"
        one_pool = label == "cpu" and share.on_first_node
        provider = SlurmProvider(
            partition=where,
            account=account,
            qos=qos,
            constraint=constraint,
            nodes_per_block=nodes_per_block if label == "cpu" else 1,
            cores_per_node=cores * threads_per_core,
            gpus_per_node=gpus or None,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=blocks,
            walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
            exclusive=exclusive,
            scheduler_options=scheduler_options,
            worker_init="\n".join([*start, *(labels if label == "cpu" else [THREADS.format(cores // workers)])]),
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
            cpu_affinity=("none" if one_pool else affinity) if label == "cpu" else bound,
            available_accelerators=list(share.accelerators) if label == "cpu" else gpus,
            heartbeat_period=heartbeat_seconds,
            heartbeat_threshold=heartbeat_limit_seconds,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    return Config(
        executors=[
            executor(
                "cpu",
                partition,
                cores_per_node,
                share.workers,
                label_gpus_per_node if gpus_per_label else 0,
                max_blocks,
            ),
            executor(
                "gpu", gpu_partition or partition, gpu_cores, max(gpus_per_node, 1), gpus_per_node, gpu_max_blocks
            ),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        strategy_period=2,
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
