"""This machine alone: worker processes (or threads, for tests and demonstrations) on the loopback address."""

from __future__ import annotations

import os
import pathlib
import shlex
import sysconfig
from typing import Annotated, Literal

from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.providers import LocalProvider

from alflow.execution.sites.labels import label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
CORES = os.cpu_count() or 1
Cores = Annotated[int, ">= 1, <= 4096"]
Name = Annotated[str, "name"]
Seconds = Annotated[int, ">= 1, <= 3600"]


def make_config(
    run_dir: pathlib.Path,
    *,
    workers: Cores | None = None,
    threads: Cores | None = None,
    cores_per_label: Cores | None = None,
    ranks_per_label: Cores = 1,
    nodes_per_label: Annotated[int, ">= 1, <= 1"] = 1,
    gpus_per_label: int = 0,
    gpus: list[Name] | None = None,
    launcher: str = "mpich",
    gpu_workers: Cores = CORES,
    gpu_threads: Cores = 1,
    kind: Literal["processes", "threads"] = "processes",
    encrypted: bool = True,
    heartbeat_seconds: Seconds = 2,
    heartbeat_limit_seconds: Seconds = 10,
    numba_cache: Annotated[str, "path"] | None = None,
    worker_init: str = "",
) -> Config:
    """Describe one machine without a scheduler.

    Everything talks over the loopback address, and workers start from the driver's own Python.
    Parsl's side: https://parsl.readthedocs.io/en/stable/userguide/configuration/

    Args:
        run_dir: the campaign's run directory; Parsl's own logs go into its folder "parsl".
        workers: label workers; as many as there are cores for when not given.
        threads: threads of one label worker, or of each of its ranks; its cores when not given.
        cores_per_label: cores of one label; one a rank when not given.
        ranks_per_label: MPI ranks of one label.
        nodes_per_label: 1, as this machine is one node.
        gpus_per_label: GPUs that one label sees, of `gpus`.
        gpus: names of the GPUs for labels, for example 0,1 (as `nvidia-smi -L` counts them).
        launcher: what starts ranks: mpich, openmpi, or a command with {ranks} and {cores} (of a rank).
        gpu_workers: workers for training and pulls: members and replicas run side by side.
        gpu_threads: threads of one of these, for training; pulls use one.
        kind: "processes" notices and survives a lost worker; "threads" starts at once and shares one interpreter.
        encrypted: encrypt the traffic; without it any user of this machine could send tasks to the workers.
        heartbeat_seconds: time between signs of life; a killed worker is noticed within it.
        heartbeat_limit_seconds: silence after which a whole worker pool counts as lost.
        numba_cache: folder for compiled kernels; the driver's own, where its kernels lie already, when not given.
        worker_init: shell lines that run before the workers start.
    """
    share = label_share(
        "this machine",
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(CORES),
        cores_per_label=cores_per_label,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=gpus or (),
    )
    label_workers = workers or (share.workers if share.cores > 1 or gpus_per_label else CORES)
    if gpus_per_label and label_workers > share.workers:
        raise ValueError(f"each label has GPUs of its own, and there are some for {share.workers}; got {workers=}")
    if kind == "threads" and (share.cores > 1 or gpus_per_label):
        raise ValueError("labels in threads share all cores and GPUs; cores_per_label and the like take kind=processes")
    bound = share.cores > 1 and label_workers <= share.workers
    affinity = ":".join(share.affinity.split(":")[: label_workers + 1]) if bound else "none"
    general = {"run_dir": str(run_dir / "parsl"), "strategy": "simple", "strategy_period": 0.5, "max_idletime": 1e9}
    if kind == "threads":
        pools = [
            ThreadPoolExecutor("cpu", max_threads=label_workers),
            ThreadPoolExecutor("gpu", max_threads=gpu_workers),
        ]
        return Config(executors=pools, initialize_logging=False, usage_tracking=0, **general)
    scripts = shlex.quote(sysconfig.get_path("scripts"))

    def executor(label: str, count: int, own: list[str], cores: str, accelerators: list[str]) -> HighThroughputExecutor:
        lines = [f"export PATH={scripts}:$PATH", "export OMP_WAIT_POLICY=PASSIVE"]  # idle threads leave the cores
        if numba_cache:
            lines.append(f"export NUMBA_CACHE_DIR={shlex.quote(str(pathlib.Path(numba_cache).expanduser()))}")
        lines += own
        return HighThroughputExecutor(
            label=label,
            address="127.0.0.1",
            encrypted=encrypted,
            max_workers_per_node=count,
            cores_per_worker=1e-6,  # as many workers as asked for, also when that is more than cores
            cpu_affinity=cores,
            available_accelerators=accelerators,
            prefetch_capacity=count,  # the next tasks wait beside the workers: one pool, so none waits behind another
            heartbeat_period=heartbeat_seconds,
            heartbeat_threshold=heartbeat_limit_seconds,
            block_error_handler=windowed_error_handler,  # only three failed starts in a row end the run
            provider=LocalProvider(
                init_blocks=1, min_blocks=1, max_blocks=1, worker_init="\n".join([*lines, worker_init])
            ),
        )

    labels = share.exports(launcher, bound=bound)
    if threads:
        labels[0] = THREADS.format(threads)
    pools = [
        executor("cpu", label_workers, labels, affinity, list(share.accelerators)[:label_workers]),
        executor("gpu", gpu_workers, [THREADS.format(gpu_threads)], "none", []),
    ]
    return Config(executors=pools, initialize_logging=False, usage_tracking=0, **general)
