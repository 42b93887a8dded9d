"""Frontier (OLCF): labels on the 56 free cores of its nodes, training and pulls on their 8 GPUs."""

from __future__ import annotations

import pathlib
import shlex
import sysconfig
from typing import Annotated

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import SimpleLauncher, SrunLauncher
from parsl.providers import SlurmProvider

from alflow.execution.sites.labels import HOSTS_OF_SLURM, label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
FREE_CORES = [core for core in range(64) if core % 8]  # core 0 of each group of 8 serves the system
GPUS = ("4", "5", "2", "3", "6", "7", "0", "1")  # next to the cores 0-7, 8-15, ...
UNPACK = """ON_EACH="srun --nodes=$SLURM_JOB_NUM_NODES --ntasks-per-node=1"
$ON_EACH bash -c 'mkdir -p $COPY && tar -xf $COPY.tar -C $COPY' || exit 1
export PATH=$COPY/bin:$PATH
$ON_EACH conda-unpack || exit 1"""
ONE_WORKER_A_TASK = DEFAULT_LAUNCH_CMD.replace("{max_workers_per_node}", "--max_workers_per_node=1")
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]


def make_config(
    run_dir: pathlib.Path,
    *,
    account: Name,
    partition: Name = "batch",
    qos: Name | None = None,
    nodes_per_block: Count = 1,
    max_blocks: Count = 3,
    cores_per_label: Count | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    launcher: str = "srun",
    gpus: int = 8,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 120,
    drain_minutes: float = 10.0,
    idle_minutes: Annotated[float, "> 0"] = 5.0,
    environment: Annotated[str, "path"] | None = None,
    worker_init: str = "",
) -> Config:
    """Describe Frontier. https://docs.olcf.ornl.gov/systems/frontier_user_guide.html.

    A node has one AMD EPYC of 64 cores, of which Slurm's default core specialisation (-S 8) leaves 56: all but the
    first of each group of 8 that share a cache. Its 4 AMD MI250X show as 8 GPUs, each next to one such group (GPU 4 to
    cores 0-7, then 5, 2, 3, 6, 7, 0, 1). srun binds each GPU worker to one GPU and the 7 cores next to it
    (--gpus-per-task=1 --gpu-bind=closest -c7, as the guide does); Parsl's own pinning would set CUDA_VISIBLE_DEVICES
    as well, which HIP applies on top of ROCR_VISIBLE_DEVICES
    (https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html).
    Jobs of up to 91 nodes last 2 hours at most, those of the partition "extended" (64 nodes) 24 hours; four jobs of a
    user run or wait with rising priority at a time. QOS "debug" takes one job a user: too few for two executors.
    Training takes the GPUs with the build of torch for ROCm; with another it runs on cores.
    Worker start: with `environment`, `sbcast` copies one archive to each node's own disk (-C nvme), where it is
    unpacked (https://docs.olcf.ornl.gov/software/python/sbcast_conda.html: 2 s instead of 51 s on 8 nodes).

    Args:
        run_dir: the campaign's run directory, on Orion ($MEMBERWORK): purged after 90 days.
        account: project that is charged.
        partition: batch or extended.
        qos: quality of service, if not the default.
        nodes_per_block: nodes a label job asks for, 56 label workers each with one core a label.
        max_blocks: label jobs at a time.
        cores_per_label: cores of one label, on all its nodes; one a rank, 7 a GPU, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees (ROCR_VISIBLE_DEVICES, set for the label engine alone).
        launcher: what starts ranks: srun, or a command with {ranks}, {ranks_per_node}, {cores} (of a rank), {nodes}
            and {hosts}.
        gpus: GPUs used of a node, one worker each (the whole node is charged).
        gpu_max_blocks: GPU jobs (one node each) at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        walltime_minutes: of every job.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        environment: archive of a Python environment by conda-pack (a .tar file), to unpack on every node.
        worker_init: shell lines that run before the workers start, for example "module load rocm".
    """
    if not 1 <= gpus <= 8:
        raise ValueError(f"a node of Frontier shows 8 GPUs; got gpus={gpus}")
    share = label_share(
        "a node of Frontier",
        FREE_CORES,
        cores_per_label=cores_per_label,
        cores_per_gpu=7,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=GPUS,
        nodes_per_block=nodes_per_block,
    )
    labels = share.exports(launcher, HOSTS_OF_SLURM)
    if share.accelerators and not share.on_first_node:
        labels.append(f"export ALFLOW_GPUS={':'.join(share.accelerators)} ALFLOW_GPU_VARIABLE=ROCR_VISIBLE_DEVICES")
    start = [worker_init, f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH"]
    start += ["export NUMBA_CACHE_DIR=/dev/shm/alflow-numba-$USER"]
    if environment is not None:
        copy = f"sbcast -pf {shlex.quote(environment)} $COPY.tar || exit 1"
        start += ["export COPY=/mnt/bb/$USER/alflow", copy, UNPACK]

    def executor(label: str, workers: int, cores: int, affinity: str, srun: str) -> HighThroughputExecutor:
        one_pool = label == "cpu" and share.on_first_node
        threads = labels if label == "cpu" else [THREADS.format(cores)]
        provider = SlurmProvider(
            partition=partition,
            account=account,
            qos=qos,
            constraint="nvme" if environment is not None else None,
            gpus_per_node=8 if label == "gpu" or gpus_per_label else None,
            nodes_per_block=nodes_per_block if label == "cpu" else 1,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=max_blocks if label == "cpu" else gpu_max_blocks,
            walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
            worker_init="\n".join([*start, *threads]),
            launcher=SimpleLauncher() if one_pool else SrunLauncher(overrides=srun),
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            max_workers_per_node=workers,
            cores_per_worker=1e-6 if one_pool else cores,
            cpu_affinity=affinity,
            launch_cmd=ONE_WORKER_A_TASK if label == "gpu" else None,
            heartbeat_period=15,
            heartbeat_threshold=90,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    pinned = f"--ntasks={gpus} --ntasks-per-node={gpus} -c 7 --gpus-per-task=1 --gpu-bind=closest"
    return Config(
        executors=[
            executor("cpu", share.workers, share.cores, share.affinity, "--ntasks-per-node=1 -c 56 --cpu-bind=none"),
            executor("gpu", gpus, 7, "none", pinned),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
