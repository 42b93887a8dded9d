"""Task of the site check: what runs on each worker."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alflow.labeling.launch import PINS, ranks_of, settle
from alflow.runs.environment import packages_with, versions
from alflow.types import Composition, FloatArray
from alflow.workers.result import App, reported

LAUNCH_LIMIT_S = 300.0


RANK = """import json, os, socket
sizes = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PALS_SIZE", "MPI_LOCALNRANKS")
managers = ("PMI_", "PMIX_", "PALS_")
size = next((int(os.environ[name]) for name in sizes if name in os.environ), 0)
if not size and any(name.startswith(managers) for name in os.environ):
    size = int(os.environ.get("SLURM_STEP_NUM_TASKS", "-1"))
host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
print(json.dumps({"alflow rank": 1, "host": host, "size": size}), flush=True)
"""
"""What each rank runs: it says on which node it is, and in how large an MPI world; 0: in none, -1: not known."""


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
    environment = dict(os.environ)
    settle(environment)
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
        "visible": {name: environment[name] for name in PINS if name in environment},
        "numba_cache": os.environ.get("NUMBA_CACHE_DIR", ""),
        **_ranks(environment),
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


def _ranks(environment: Mapping[str, str]) -> dict[str, Any]:
    """Say what a label gets here, and start its ranks once, with a program that says where each of them is."""
    asked = ranks_of(environment)
    if asked is None:
        return {}
    found: dict[str, Any] = {"ranks": asked.count, "rank_threads": asked.cores, "nodes": list(asked.hosts)}
    command = [*shlex.split(environment["ALFLOW_LAUNCH"]), sys.executable, "-I", "-S", "-c", RANK]
    try:
        ended = subprocess.run(  # noqa: S603 - what the site says, without a shell
            command, env=environment, capture_output=True, text=True, timeout=LAUNCH_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return found | {"launch_error": f"it did not end within {LAUNCH_LIMIT_S:g} s"}
    said = [line[line.index("{") :] for line in ended.stdout.splitlines() if '"alflow rank"' in line]
    started = [json.loads(line) for line in said]
    error = "" if ended.returncode == 0 else f"exit code {ended.returncode}: {ended.stderr.strip()[-300:]}"
    return found | {
        "started": len(started),
        "started_on": sorted({str(one["host"]) for one in started}),
        "worlds": sorted({int(one["size"]) for one in started}),
        "launch_error": error,
    }


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
