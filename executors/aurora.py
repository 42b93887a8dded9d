"""Aurora (ALCF): labels on 102 cores of its nodes, training and pulls on their 12 GPU tiles."""

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
CORES = [core for core in range(104) if core not in (0, 52)]  # the first core of each socket serves the system
GPUS = [f"{gpu}.{tile}" for gpu in range(6) for tile in range(2)]
GPU_CORES = [f"{first}-{first + 7}" for first in (1, 9, 17, 25, 33, 41, 53, 61, 69, 77, 85, 93)]  # next to each tile
NEXT_TO_TILES = [core for core in CORES if core % 52 <= 48]
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]


def make_config(
    run_dir: pathlib.Path,
    *,
    account: Name,
    queue: Name = "prod",
    gpu_queue: Name = "debug",
    filesystems: Name = "home:flare",
    nodes_per_block: Count = 1,
    max_blocks: Count = 1,
    cores_per_label: Count | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    launcher: str = "pals",
    gpus: int = 12,
    gpu_nodes_per_block: Count = 1,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 60,
    drain_minutes: float = 10.0,
    idle_minutes: Annotated[float, "> 0"] = 5.0,
    worker_init: str = "",
) -> Config:
    """Describe Aurora. https://docs.alcf.anl.gov/aurora/hardware-overview/machine-overview/.

    A node has 2 Intel Xeon Max of 52 cores (104 cores, 208 threads; cores 0 and 52 are the system's) and 6 Intel Data
    Center GPU Max of 2 tiles each, pinned by ZE_AFFINITY_MASK. Queues, reserved cores and tiles:
    https://docs.alcf.anl.gov/aurora/running-jobs-aurora/: "prod" takes 1 node or more (up to 512 for 6 hours), "debug"
    2 nodes for an hour and one job a user. Launcher and the cores next to each tile:
    https://docs.alcf.anl.gov/aurora/workflows/parsl/.
    Worker start: for jobs of many nodes (two at least) start Copper in `worker_init`; it reads each file once for all
    (https://docs.alcf.anl.gov/aurora/data-management/copper/copper/). Training takes the tiles with the
    centre's own PyTorch, whose device is "xpu"; with another it runs on cores.

    Args:
        run_dir: the campaign's run directory, on one of `filesystems`.
        account: project that is charged.
        queue: queue of the label jobs.
        gpu_queue: queue of the GPU jobs.
        filesystems: file systems the jobs need, joined by ":".
        nodes_per_block: nodes a label job asks for, 102 label workers each (one core each); queues set a least number.
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
        raise ValueError(f"a node of Aurora shows {len(GPUS)} GPUs; got gpus={gpus}")
    share = label_share(
        "a node of Aurora",
        NEXT_TO_TILES if gpus_per_label else CORES,
        cores_per_label=cores_per_label,
        cores_per_gpu=8,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=GPUS,
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
            cpus_per_node=208,
            select_options="",
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

    on_each = MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--ppn 1")
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
