"""A Kubernetes cluster: one pod a block, label pods without and GPU pods with a GPU."""

from __future__ import annotations

import pathlib
import re
from typing import Annotated

from parsl.addresses import address_by_hostname
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.providers import KubernetesProvider

THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"
MEMORY = r"0*[1-9]\d*(\.\d+)?([KMGTPE]i?|k)?"
Name = Annotated[str, "name"]
Count = Annotated[int, ">= 1"]
Cores = Annotated[int, ">= 1, <= 4096"]


def make_config(
    run_dir: pathlib.Path,
    *,
    image: Name,
    namespace: Name = "default",
    volume: Name,
    cores_per_pod: Cores = 4,
    memory_per_pod: Name = "8Gi",
    max_pods: Count = 4,
    gpu_resource: Name | None = "nvidia.com/gpu",
    gpu_cores_per_pod: Cores = 4,
    gpu_memory_per_pod: Name = "16Gi",
    gpu_max_pods: Count = 1,
    gpu_min_pods: int = 0,
    idle_minutes: Annotated[float, "> 0"] = 2.0,
    address: Name | None = None,
    service_account: Name | None = None,
    worker_init: str = "",
) -> Config:
    """Describe a Kubernetes cluster. https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/.

    Run alflow itself in a pod of the cluster, so that worker pods reach it. Pods start from `image`, whose layers each
    node keeps: no shared file system is read at the start. Parsl does not notice a pod that was deleted behind its
    back; the heartbeat does (its tasks run again elsewhere), but the pod counts towards `max_pods` until the run ends.

    Args:
        run_dir: the campaign's run directory, on `volume`: models and keys for the encrypted traffic travel through it.
        image: container image with alflow of the driver's version.
        namespace: where pods are made.
        volume: claim:path of a volume that many pods may mount (ReadWriteMany), for example campaigns:/campaigns.
        cores_per_pod: label workers of a pod.
        memory_per_pod: of a label pod.
        max_pods: label pods at a time.
        gpu_resource: resource name of a GPU; "none": training and pulls run on the cores of the GPU pods.
        gpu_cores_per_pod: cores of a GPU pod (one worker).
        gpu_memory_per_pod: of a GPU pod.
        gpu_max_pods: GPU pods at a time.
        gpu_min_pods: GPU pods that are kept, once they run, while only labels do.
        idle_minutes: a pod with nothing to do for so long is given back.
        address: address of the driver's pod; found by its host name when not given.
        service_account: that may make and delete pods.
        worker_init: shell lines that run before the workers start.
    """
    claim, colon, mount = volume.partition(":")
    if not colon or not run_dir.is_relative_to(mount):
        raise ValueError(f"volume is claim:path, and the run directory lies in that path; got {volume!r} and {run_dir}")

    for memory in (memory_per_pod, gpu_memory_per_pod):
        if not re.fullmatch(MEMORY, memory):
            raise ValueError(f"memory is a number with a unit, such as 8Gi or 500Mi; got {memory!r}")

    def executor(label: str, cores: int, memory: str, pods: int, extra: dict[str, str]) -> HighThroughputExecutor:
        workers, threads = (cores, 1) if label == "cpu" else (1, cores)
        start = ["export NUMBA_CACHE_DIR=${TMPDIR:-/tmp}/alflow-numba", THREADS.format(threads), worker_init]
        provider = KubernetesProvider(
            image=image,
            namespace=namespace,
            init_blocks=0,
            min_blocks=gpu_min_pods if label == "gpu" else 0,
            max_blocks=pods,
            init_cpu=cores,
            max_cpu=cores,
            init_mem=memory,
            max_mem=memory,
            extra_requests=extra,
            extra_limits=extra,
            worker_init="\n".join(start),
            pod_name=f"alflow-{label}",
            persistent_volumes=[(claim, mount)],
            service_account_name=service_account,
        )
        return HighThroughputExecutor(
            label=label,
            provider=provider,
            address=address or address_by_hostname(),
            max_workers_per_node=workers,
            cores_per_worker=1e-6,  # a pod sees all cores of its node, not its share of them
            heartbeat_period=10,
            heartbeat_threshold=60,
            block_error_handler=windowed_error_handler,
        )

    return Config(
        executors=[
            executor("cpu", cores_per_pod, memory_per_pod, max_pods, {}),
            executor(
                "gpu", gpu_cores_per_pod, gpu_memory_per_pod, gpu_max_pods, {gpu_resource: "1"} if gpu_resource else {}
            ),
        ],
        run_dir=str(run_dir / "parsl"),
        strategy="simple",  # "htex_auto_scale" cancels blocks that still wait in the queue
        max_idletime=60 * idle_minutes,
        initialize_logging=False,
    )
