"""Polaris (ALCF): labels on the 32 cores of its nodes, training and pulls on their 4 GPUs."""

from __future__ import annotations

import pathlib
import shlex
import sysconfig
from typing import Annotated

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import MpiExecLauncher, SimpleLauncher
from parsl.launchers.base import Launcher
from parsl.providers import PBSProProvider

from alflow.execution.sites.labels import HOSTS_OF_PBS, label_share

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
# The centre's mpiexec, not the one that came with this Python environment.
MPIEXEC = """MPIEXEC=$(type -aP mpiexec | grep -vFm1 {scripts}/ || type -P mpiexec)
mpiexec() {{ "$MPIEXEC" "$@"; }}"""
GPUS = ["0", "1", "2", "3"]
GPU_CORES = ["24-31", "16-23", "8-15", "0-7"]  # the cores next to GPU 0, 1, 2, 3
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]


def make_config(
    run_dir: pathlib.Path,
    *,
    account: Name,
    queue: Name = "prod",
    gpu_queue: Name = "debug-scaling",
    filesystems: Name = "home:eagle",
    nodes_per_block: Count = 10,
    max_blocks: Count = 1,
    cores_per_label: Count | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    launcher: str = "pals",
    gpus: int = 4,
    gpu_nodes_per_block: Count = 1,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 60,
    drain_minutes: float = 10.0,
    idle_minutes: Annotated[float, "> 0"] = 5.0,
    worker_init: str = "",
) -> Config:
    """Describe Polaris. https://docs.alcf.anl.gov/polaris/hardware-overview/machine-overview/.

    A node has one AMD EPYC 7543P of 32 cores (64 threads) and 4 NVIDIA A100, numbered the other way round: GPU 0 is
    next to cores 24-31. Queues: https://docs.alcf.anl.gov/polaris/running-jobs/: "prod" takes 10 nodes or more,
    "debug-scaling" up to 10 for an hour and one job a user, "preemptable" up to 10 for 72 hours.
    Launcher and core lists: https://docs.alcf.anl.gov/polaris/workflows/parsl/.
    Worker start: unpack the environment from Eagle to the node's disk (/local/scratch) in `worker_init` when many nodes
    start at once.

    Args:
        run_dir: the campaign's run directory, on one of `filesystems`.
        account: project that is charged.
        queue: queue of the label jobs.
        gpu_queue: queue of the GPU jobs.
        filesystems: file systems the jobs need, joined by ":".
        nodes_per_block: nodes a label job asks for, 32 label workers each (one core each); queues set a least number.
        max_blocks: label jobs at a time.
        cores_per_label: cores of one label, on all its nodes; one a rank, 8 a GPU, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees.
        launcher: what starts ranks: pals, or a command with {ranks}, {ranks_per_node}, {cores} (of a rank), {nodes}
            and {hosts}.
        gpus: GPUs used of a node, one worker each (the whole node is charged).
        gpu_nodes_per_block: nodes a GPU job asks for.
        gpu_max_blocks: GPU jobs at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        walltime_minutes: of every job.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        worker_init: shell lines that run before the workers start.
    """
    if not 1 <= gpus <= len(GPUS):
        raise ValueError(f"a node of Polaris shows {len(GPUS)} GPUs; got gpus={gpus}")
    share = label_share(
        "a node of Polaris",
        range(32),
        cores_per_label=cores_per_label,
        cores_per_gpu=8,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=GPUS[::-1],
        nodes_per_block=nodes_per_block,
        from_first_node=True,
    )
    labels = share.exports(launcher, HOSTS_OF_PBS)
    if share.launched:
        labels.append('export ALFLOW_MPIEXEC="$MPIEXEC"')
    one_pool = share.on_first_node
    scripts = shlex.quote(sysconfig.get_path("scripts"))
    start = [worker_init, f"cd {run_dir}", f"export PATH={scripts}:$PATH", MPIEXEC.format(scripts=scripts)]
    start += ["export NUMBA_CACHE_DIR=/dev/shm/alflow-numba-$USER"]

    def executor(
        label: str, where: str, workers: int, cores: float, affinity: str, names: list[str], launcher: Launcher
    ) -> HighThroughputExecutor:
        threads = labels if label == "cpu" else [THREADS.format(cores)]
        provider = PBSProProvider(
            account=account,
            queue=where,
            cpus_per_node=64,
            select_options="system=polaris:ngpus=4",
            nodes_per_block=gpu_nodes_per_block if label == "gpu" else nodes_per_block,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=gpu_max_blocks if label == "gpu" else max_blocks,
            walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
            scheduler_options=f"#PBS -l filesystems={filesystems}\n#PBS -l place=scatter",
            worker_init="\n".join([*start, *threads]),
            launcher=launcher,
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            max_workers_per_node=workers,
            cores_per_worker=cores,
            cpu_affinity=affinity,
            available_accelerators=names,
            heartbeat_period=15,
            heartbeat_threshold=90,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    on_each = MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1")
    return Config(
        executors=[
            executor(
                "cpu",
                queue,
                share.workers,
                1e-6 if one_pool else share.cores,
                share.affinity,
                list(share.accelerators),
                SimpleLauncher() if one_pool else on_each,
            ),
            executor("gpu", gpu_queue, gpus, 8, "list:" + ":".join(GPU_CORES[:gpus]), GPUS[:gpus], on_each),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
