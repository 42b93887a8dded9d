"""Frontier (OLCF): labels on the 56 free cores of its nodes, training and pulls on their 8 GPUs."""

from __future__ import annotations

import pathlib
import shutil
import sysconfig

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

FREE_CORES = ":".join(str(core) for core in range(64) if core % 8)  # core 0 of each group of 8 serves the system
ONE_WORKER_A_TASK = DEFAULT_LAUNCH_CMD.replace("{max_workers_per_node}", "--max_workers_per_node=1")


def make_config(
    run_dir: pathlib.Path,
    *,
    account: str,
    partition: str = "batch",
    qos: str | None = None,
    nodes_per_block: int = 1,
    max_blocks: int = 4,
    gpus: int = 8,
    gpu_max_blocks: int = 1,
    walltime_minutes: int = 120,
    drain_minutes: float = 10.0,
    idle_minutes: float = 5.0,
    environment: str | None = None,
    worker_init: str = "",
) -> Config:
    """Describe Frontier. https://docs.olcf.ornl.gov/systems/frontier_user_guide.html.

    A node has one AMD EPYC of 64 cores, of which Slurm's default core specialisation (-S 8) leaves 56, and 4 AMD
    MI250X, which show as 8 GPUs. srun binds each GPU worker to one GPU and the 7 cores next to it, as the guide
    advises; Parsl's own pinning would set CUDA_VISIBLE_DEVICES as well, which ROCm applies on top of
    ROCR_VISIBLE_DEVICES.
    Worker start: with `environment`, `sbcast` copies one archive to each node's memory, where it is unpacked
    (https://docs.olcf.ornl.gov/software/python/sbcast_conda.html). Keep the run directory on Orion ($MEMBERWORK).

    Args:
        run_dir: the campaign's run directory, on Orion.
        account: project that is charged.
        partition: batch or extended.
        qos: for example debug.
        nodes_per_block: nodes a label job asks for, 56 label workers each.
        max_blocks: label jobs at a time.
        gpus: GPUs used of a node, one worker each (the whole node is charged).
        gpu_max_blocks: GPU jobs (one node each) at a time.
        walltime_minutes: of every job; jobs of up to 91 nodes are limited to 2 hours.
        drain_minutes: how long before the walltime workers stop taking tasks; longer than the longest task.
        idle_minutes: a job with nothing to do for so long is given back.
        environment: packed Python environment (a .tar file with bin/ at its top) to unpack on every node.
        worker_init: shell lines that run before the workers start, for example "module load rocm".
    """
    if not 1 <= gpus <= 8:
        raise ValueError(f"a node of Frontier shows 8 GPUs; got gpus={gpus}")
    if not 0 < drain_minutes < walltime_minutes:
        raise ValueError(
            f"drain_minutes lies between 0 and walltime_minutes; got {drain_minutes} of {walltime_minutes}"
        )
    scripts = sysconfig.get_path("scripts")
    survive_no_driver = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    start = [worker_init, f"export PATH={scripts}:$PATH", "export NUMBA_CACHE_DIR=/dev/shm/alflow-numba-$USER"]
    if environment is not None:
        copy = "${TMPDIR:-/dev/shm}/alflow-env-$SLURM_JOB_ID"
        start += [f"sbcast --force {environment} {copy}.tar"]
        start += [f"srun --ntasks-per-node=1 bash -c 'mkdir -p {copy} && tar -xf {copy}.tar -C {copy}'"]
        start += [f"export PATH={copy}/bin:$PATH"]

    def executor(
        label: str, workers: int, threads: int, affinity: str, srun: str, command: str | None
    ) -> HighThroughputExecutor:
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        return HighThroughputExecutor(
            label=label,
            max_workers_per_node=workers,
            cores_per_worker=threads,
            cpu_affinity=affinity,
            launch_cmd=command,
            heartbeat_period=15,
            heartbeat_threshold=90,
            drain_period=round(60 * (walltime_minutes - drain_minutes)),
            block_error_handler=windowed_error_handler,
            interchange_launch_cmd=[*survive_no_driver, f"{scripts}/interchange.py"],
            provider=SlurmProvider(
                partition=partition,
                account=account,
                qos=qos,
                gpus_per_node=8 if label == "gpu" else None,
                nodes_per_block=nodes_per_block if label == "cpu" else 1,
                init_blocks=0,
                max_blocks=max_blocks if label == "cpu" else gpu_max_blocks,
                walltime=f"{walltime_minutes // 60:02d}:{walltime_minutes % 60:02d}:00",
                worker_init="\n".join([*start, *(f"export {name}={threads}" for name in variables)]),
                launcher=SrunLauncher(overrides=srun),
            ),
        )

    pinned = f"--ntasks={gpus} --ntasks-per-node={gpus} -c 7 --gpus-per-task=1 --gpu-bind=closest"
    return Config(
        executors=[
            executor("cpu", 56, 1, f"list:{FREE_CORES}", "--ntasks-per-node=1 -c 56 --cpu-bind=none", None),
            executor("gpu", gpus, 7, "none", pinned, ONE_WORKER_A_TASK),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
        usage_tracking=0,
    )
