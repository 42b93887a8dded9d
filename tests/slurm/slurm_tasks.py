"""What the tests of this folder run on workers: light to import, because eight workers share two cores."""

import os
import shutil
import time

from alflow.workers.result import reported


@reported
def where(seconds):
    """Say where the worker is and what it sees."""
    time.sleep(seconds)
    names = (
        "SLURMD_NODENAME",
        "SLURM_JOB_ID",
        "SLURM_RESTART_COUNT",
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "COPY",
    )
    pool = shutil.which("process_worker_pool.py")
    return {name: os.environ.get(name) for name in names} | {"pid": os.getpid(), "pool": pool}
