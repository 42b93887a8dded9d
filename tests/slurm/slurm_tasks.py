"""What the tests of this folder run on workers: light to import, because eight workers share two cores."""

import os
import time

from alflow.tasks import reported


@reported
def where(seconds):
    """Say where the worker is and what it sees."""
    time.sleep(seconds)
    names = ("SLURMD_NODENAME", "PARSL_WORKER_RANK", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    return {name: os.environ.get(name) for name in names} | {"pid": os.getpid()}
