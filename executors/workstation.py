"""One machine with GPUs: label workers on its cores, one pinned worker a GPU for training and pulls."""

from __future__ import annotations

import os
import pathlib
import shlex
import sysconfig
from typing import Annotated

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.providers import LocalProvider

from alflow.execution.sites.labels import label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
Name = Annotated[str, "name"]
Cores = Annotated[int, ">= 1, <= 4096"]
Seconds = Annotated[int, ">= 1, <= 3600"]


def make_config(
    run_dir: pathlib.Path,
    *,
    gpus: list[Name],
    workers: Cores | None = None,
    cores_per_label: Cores | None = None,
    ranks_per_label: Cores = 1,
    nodes_per_label: Annotated[int, ">= 1, <= 1"] = 1,
    gpus_per_label: int = 0,
    launcher: str = "mpich",
    gpu_threads: Cores = 1,
    heartbeat_seconds: Seconds = 2,
    heartbeat_limit_seconds: Seconds = 10,
    numba_cache: Annotated[str, "path"] = "~/.cache/alflow/numba",
    worker_init: str = "",
) -> Config:
    """Describe a workstation. https://parsl.readthedocs.io/en/stable/userguide/configuration/.

    Each GPU worker sees one GPU alone (CUDA_VISIBLE_DEVICES). Workers start from the driver's own Python.

    Args:
        run_dir: the campaign's run directory.
        gpus: names of the GPUs to use, for example 0,1,2,3 (as `nvidia-smi -L` counts them).
        workers: label workers; as many as all cores but those of the GPU workers are enough for when not given.
        cores_per_label: cores of one label; one a rank when not given.
        ranks_per_label: MPI ranks of one label.
        nodes_per_label: 1, as this machine is one node.
        gpus_per_label: GPUs that one label sees, of those that training and pulls use, too.
        launcher: what starts ranks: mpich, openmpi, or a command with {ranks} and {cores} (of a rank).
        gpu_threads: CPU threads of one GPU worker.
        heartbeat_seconds: time between signs of life; a killed worker is noticed within it.
        heartbeat_limit_seconds: silence after which a whole worker pool counts as lost.
        numba_cache: folder for compiled kernels, shared by all workers and runs.
        worker_init: shell lines that run before the workers start.
    """
    if not gpus or len(set(gpus)) != len(gpus):
        raise ValueError(f"gpus names at least one GPU, each once; got {','.join(gpus)!r}. Without a GPU: --site local")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    share = label_share(
        "this machine",
        cores,
        cores_per_label=cores_per_label,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=gpus,
    )
    free = (os.cpu_count() or 1) - gpu_threads * len(gpus)
    most = min(share.workers, max(1, free // share.cores)) if share.cores > 1 or gpus_per_label else max(1, free)
    label_workers = workers or most
    if gpus_per_label and label_workers > share.workers:
        raise ValueError(f"each label has GPUs of its own, and there are some for {share.workers}; got {workers=}")
    bound = share.cores > 1 and label_workers <= share.workers
    affinity = ":".join(share.affinity.split(":")[: label_workers + 1]) if bound else "none"
    cache = shlex.quote(str(pathlib.Path(numba_cache).expanduser()))
    scripts = shlex.quote(sysconfig.get_path("scripts"))

    def executor(
        label: str, count: int, threads: list[str], accelerators: list[str], bind: str = "none"
    ) -> HighThroughputExecutor:
        lines = [f"export PATH={scripts}:$PATH", f"export NUMBA_CACHE_DIR={cache}"]
        lines += [*threads, worker_init]
        return HighThroughputExecutor(
            label=label,
            address="127.0.0.1",
            max_workers_per_node=count,
            cores_per_worker=1e-6,  # as many workers as asked for
            cpu_affinity=bind,
            available_accelerators=accelerators,
            prefetch_capacity=count,  # the next tasks wait beside the workers: one pool, so none waits behind another
            heartbeat_period=heartbeat_seconds,
            heartbeat_threshold=heartbeat_limit_seconds,
            block_error_handler=windowed_error_handler,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init="\n".join(lines)),
        )

    return Config(
        executors=[
            executor(
                "cpu",
                label_workers,
                share.exports(launcher, bound=bound),
                list(share.accelerators)[:label_workers],
                affinity,
            ),
            executor("gpu", len(gpus), [THREADS.format(gpu_threads)], gpus),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",
        strategy_period=0.5,
        max_idletime=1e9,
        initialize_logging=False,
    )
