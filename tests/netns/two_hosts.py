"""Two hosts of the tests: on each two label workers and one worker for training and pulls, everything encrypted."""

from __future__ import annotations

import pathlib
import sysconfig

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider


def make_config(run_dir: pathlib.Path, *, address: str, next_host: str, python_path: str = "") -> Config:
    """Describe hosts that take no scheduler: each block goes to the next free one. docs/sites.md says how it works.

    Args:
        run_dir: the campaign's run directory, which both hosts see.
        address: of the driver's host, as they see it.
        next_host: command that runs another one on a host that is free.
        python_path: where workers look for packages first.
    """
    lines = f"export PATH={sysconfig.get_path('scripts')}:$PATH PYTHONPATH={python_path} OMP_NUM_THREADS=1"

    def executor(label: str, workers: int) -> HighThroughputExecutor:
        launcher = WrappedLauncher(prepend=f"{next_host} {run_dir}/hosts-{label} cpu1 cpu2 --")
        return HighThroughputExecutor(
            label=label,
            address=address,
            encrypted=True,
            max_workers_per_node=workers,
            cores_per_worker=1e-6,
            heartbeat_period=1,
            heartbeat_threshold=6,
            provider=LocalProvider(init_blocks=2, max_blocks=2, worker_init=lines, launcher=launcher),
        )

    return Config(
        executors=[executor("cpu", 2), executor("gpu", 1)],
        run_dir=str(run_dir / "parsl"),
        strategy="none",
        initialize_logging=False,
    )
