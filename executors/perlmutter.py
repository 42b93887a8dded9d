"""Perlmutter (NERSC): labels on CPU nodes, training and pulls on GPU nodes."""

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
GPU_CORES = "48-63:32-47:16-31:0-15"  # the cores next to GPU 0, 1, 2, 3
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]


def make_config(
    run_dir: pathlib.Path,
    *,
    account: Name,
    gpu_account: Name | None = None,
    qos: Name = "regular",
    gpu_qos: Name = "regular",
    nodes_per_block: Count = 1,
    max_blocks: Count = 4,
    cores_per_label: Count | None = None,
    ranks_per_label: Count = 1,
    nodes_per_label: Count = 1,
    gpus_per_label: int = 0,
    launcher: str = "srun",
    gpus: int = 4,
    gpu_max_blocks: Count = 1,
    gpu_min_blocks: int = 0,
    walltime_minutes: Count = 120,
    drain_minutes: float = 10.0,
    idle_minutes: Annotated[float, "> 0"] = 5.0,
    worker_init: str = "",
) -> Config:
    """Describe Perlmutter. https://docs.nersc.gov/systems/perlmutter/architecture/.

    A CPU node has 2 AMD EPYC 7763 of 64 cores (128 cores, 256 threads), a GPU node one and 4 NVIDIA A100. Cores and
    GPUs are numbered the other way round (`nvidia-smi topo -m`: GPU 0 is next to cores 48-63; so in
    https://github.com/BLAST-WarpX/warpx/blob/development/Tools/machines/perlmutter-nersc/perlmutter_gpu.sbatch).
    Charges and limits of each QOS: https://docs.nersc.gov/jobs/policy/. Nodes are asked for whole.
    Worker start: keep the environment under /global/common/software, which compute nodes mount read-only and cached
    (https://docs.nersc.gov/programming/high-level-environments/python/scaling-up/), the run directory on $SCRATCH.

    Args:
        run_dir: the campaign's run directory, on $SCRATCH.
        account: project that CPU hours are charged to.
        gpu_account: project of the GPU hours; `account` when not given.
        qos: regular, debug, preempt, premium or overrun, of the CPU jobs.
        gpu_qos: the same of the GPU jobs.
        nodes_per_block: nodes a label job asks for, 128 label workers each with one core a label.
        max_blocks: label jobs at a time.
        cores_per_label: cores of one label, on all its nodes; one a rank, 16 a GPU, or whole nodes, when not given.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label; `nodes_per_block` is a multiple of it.
        gpus_per_label: GPUs that one label sees; with any, labels run on GPU nodes (64 cores) and `gpu_account`.
        launcher: what starts ranks: srun, or a command with {ranks}, {ranks_per_node}, {cores} (of a rank), {nodes}
            and {hosts}.
        gpus: GPUs used of a GPU node, one worker each (the whole node is charged).
        gpu_max_blocks: GPU jobs (one node each) at a time.
        gpu_min_blocks: GPU jobs that are kept, once they run, while only labels do.
        walltime_minutes: of every job.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        worker_init: shell lines that run before the workers start, for example "module load python".
    """
    if not 1 <= gpus <= 4:
        raise ValueError(f"a GPU node of Perlmutter has 4 GPUs; got gpus={gpus}")
    share = label_share(
        "a GPU node of Perlmutter" if gpus_per_label else "a CPU node of Perlmutter",
        range(64 if gpus_per_label else 128),
        cores_per_label=cores_per_label,
        cores_per_gpu=16,
        ranks_per_label=ranks_per_label,
        nodes_per_label=nodes_per_label,
        gpus_per_label=gpus_per_label,
        gpus=("3", "2", "1", "0"),
        nodes_per_block=nodes_per_block,
    )
    start = [worker_init, f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH"]
    start += ["export NUMBA_CACHE_DIR=/dev/shm/alflow-numba-$USER"]

    def executor(label: str, project: str, quality: str, affinity: str, on_gpus: bool) -> HighThroughputExecutor:
        labels = label == "cpu"
        one_pool = labels and share.on_first_node
        workers, cores = (share.workers, share.cores) if labels else (gpus, 16)
        threads = share.exports(launcher, HOSTS_OF_SLURM) if labels else [THREADS.format(16)]
        provider = SlurmProvider(
            account=project,
            qos=quality,
            constraint="gpu" if on_gpus else "cpu",
            gpus_per_node=4 if on_gpus else None,
            nodes_per_block=nodes_per_block if labels else 1,
            init_blocks=0,
            min_blocks=gpu_min_blocks if label == "gpu" else 0,
            max_blocks=max_blocks if labels else gpu_max_blocks,
            walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
            worker_init="\n".join([*start, *threads]),
            launcher=SimpleLauncher()
            if one_pool
            else SrunLauncher(overrides=f"--ntasks-per-node=1 -c {128 if on_gpus else 256} --cpu-bind=none"),
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            max_workers_per_node=workers,
            cores_per_worker=1e-6 if one_pool else cores,
            cpu_affinity=affinity,
            available_accelerators=list(share.accelerators) if labels else gpus,
            heartbeat_period=15,
            heartbeat_threshold=90,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
        )

    label_project = (gpu_account or account, gpu_qos) if gpus_per_label else (account, qos)
    return Config(
        executors=[
            executor("cpu", *label_project, share.affinity, on_gpus=bool(gpus_per_label)),
            executor(
                "gpu", gpu_account or account, gpu_qos, "list:" + ":".join(GPU_CORES.split(":")[:gpus]), on_gpus=True
            ),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
