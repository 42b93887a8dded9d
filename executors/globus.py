"""Labels on Globus Compute endpoints at one or several centres; training and pulls on this machine."""

from __future__ import annotations

import itertools
import pathlib
import shlex
import sysconfig
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated, Any

from globus_compute_sdk import Executor
from parsl.config import Config
from parsl.executors import GlobusComputeExecutor, HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.providers import LocalProvider

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"


class SpreadExecutor(GlobusComputeExecutor):  # type: ignore[misc]  # Parsl has no types
    """Sends tasks to several endpoints in turn."""

    def __init__(self, label: str, executor: Executor, endpoints: list[str], workers: int) -> None:
        super().__init__(executor=executor, label=label)
        self.max_threads = workers  # how many tasks run at a time, for whoever asks
        self._turns = itertools.cycle(endpoints)

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Send a task to the endpoint whose turn it is (Parsl submits from one thread at a time)."""
        self.executor.endpoint_id = next(self._turns)
        submitted: Future[Any] = super().submit(func, resource_specification, *args, **kwargs)
        return submitted


Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]
Cores = Annotated[int, ">= 1, <= 4096"]


def make_config(
    run_dir: pathlib.Path,
    *,
    endpoints: list[Name],
    label_workers: Count = 64,
    gpu_workers: Cores = 1,
    gpus: list[Name] | None = None,
    gpu_threads: Cores = 1,
    batch_size: Annotated[int, ">= 1, <= 10_000"] = 128,
) -> Config:
    """Describe labelling by Globus Compute. https://globus-compute.readthedocs.io/en/stable/.

    Label tasks and their results travel through the Globus Compute service (10 MB a task at most, some tens of tasks a
    second): give label tasks many frames each. docs/globus.md says how to set up an endpoint at a centre.

    Args:
        run_dir: the campaign's run directory, on this machine.
        endpoints: identifiers of the endpoints, joined by commas; tasks go to them in turn.
        label_workers: label workers of all endpoints together; sizes of tasks are chosen by it.
        gpu_workers: workers on this machine for training and pulls.
        gpus: names of GPUs to pin these workers to, for example 0,1.
        gpu_threads: CPU threads of one of these workers.
        batch_size: tasks that one request to the service carries at most.
    """
    if not endpoints:
        raise ValueError("endpoints names at least one Globus Compute endpoint")
    for endpoint in endpoints:
        try:
            uuid.UUID(endpoint)
        except ValueError as error:
            raise ValueError(f"an endpoint is named by its UUID; got {endpoint!r}") from error
    if len(set(gpus or [])) != len(gpus or []):
        raise ValueError(f"gpus names each GPU once; got {','.join(gpus or [])!r}")
    scripts = shlex.quote(sysconfig.get_path("scripts"))
    lines = [f"export PATH={scripts}:$PATH", THREADS.format(gpu_threads)]
    local = HighThroughputExecutor(
        label="gpu",
        address="127.0.0.1",
        max_workers_per_node=gpu_workers,
        cores_per_worker=1e-6,  # as many workers as asked for
        available_accelerators=gpus or [],
        heartbeat_period=2,
        heartbeat_threshold=10,
        block_error_handler=windowed_error_handler,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init="\n".join(lines)),
    )
    remote = SpreadExecutor("cpu", Executor(batch_size=batch_size), endpoints, label_workers)
    return Config(
        executors=[remote, local],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",
        strategy_period=0.5,
        max_idletime=1e9,
        initialize_logging=False,
    )
