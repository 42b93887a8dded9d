"""Task of the site check: what runs on each worker."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from alflow.runs.environment import packages_with, versions
from alflow.types import Composition, FloatArray
from alflow.workers.result import App, reported

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


@reported
def look(
    engine: str,
    settings: dict[str, Any],
    numbers: list[int],
    positions: FloatArray,
    shared: str,
    hold_s: float,
) -> dict[str, Any]:
    """Report what this worker is; hold it for a while, so that its siblings get the other tasks.

    Args:
        engine: Label engine.
        settings: Its settings.
        numbers: (A,) of the known structure.
        positions: (A, 3) of it, Å.
        shared: Folder in the run directory, with a file "token" by the driver.
        hold_s: Time to hold the worker, s.
    """
    clock = time.time()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "rank": os.environ.get("PARSL_WORKER_RANK", ""),
        "clock": clock,
        "versions": versions(packages_with(engine)),
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        "machine_cores": os.cpu_count() or 0,
        "threads": int(threads.split(",")[0]) if threads else 0,
        "visible": {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ},
        "numba_cache": os.environ.get("NUMBA_CACHE_DIR", ""),
        **_shared(Path(shared)),
        **_label(engine, settings, numbers, positions),
    }
    from alflow.potentials.devices import accelerators  # noqa: PLC0415 - torch is heavy

    found["gpus"] = accelerators()
    time.sleep(max(0.0, hold_s - (time.time() - clock)))
    return found


def _shared(folder: Path) -> dict[str, str]:
    """Read the driver's token, and leave a file for the driver to read."""
    try:
        token = (folder / "token").read_text(encoding="utf-8")
        (folder / f"{socket.gethostname()}-{os.getpid()}").write_text(token, encoding="utf-8")
    except OSError as error:
        return {"token": "", "shared_error": str(error)}
    return {"token": token, "shared_error": ""}


def _label(engine: str, settings: dict[str, Any], numbers: list[int], positions: FloatArray) -> dict[str, Any]:
    from alflow.labeling import engine_settings  # noqa: PLC0415
    from alflow.labeling.frames import compute_checked  # noqa: PLC0415
    from alflow.labeling.guard import single_engine  # noqa: PLC0415

    began = time.perf_counter()
    try:
        made = single_engine(engine, engine_settings(engine, settings, "the check"))
        evaluation = compute_checked(made, Composition(np.asarray(numbers)), np.asarray(positions))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here is what the check reports
        return {"energy": None, "theory": "", "label_error": f"{type(error).__name__}: {error}"}
    return {
        "energy": evaluation.energy,
        "theory": made.theory,
        "label_error": "",
        "first_label_s": time.perf_counter() - began,
    }


LOOK = App("look", "cpu", look)
