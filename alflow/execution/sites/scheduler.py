"""Scheduler: what it would refuse, asked before anything is submitted."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from alflow.errors import SiteError
from alflow.execution.sites.kinds import is_slurm, scheduler_commands

_NOT_OF_A_JOB = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_TIME_FORMAT"})


def forget_own_job() -> None:
    """Take out of the environment what Slurm says of the job that this process is part of.

    `sbatch` hands the environment on, and `srun` in the new job reads it: memory and cores of the driver's job would be
    those of its workers, or contradict what they ask for.
    """
    for name in [name for name in os.environ if name.startswith("SLURM_") and name not in _NOT_OF_A_JOB]:
        del os.environ[name]


def check_scheduler(executor: Any, site: str) -> None:
    """Refuse a block that the scheduler would refuse, before anything is submitted."""
    provider = getattr(executor, "provider", None)
    for command in scheduler_commands(provider):
        if shutil.which(command) is None:
            raise SiteError(
                f"site {site!r} submits with {command!r}, which is not found on this machine's PATH; "
                "start alflow on a login node of that site, or choose another site"
            )
    if is_slurm(provider):
        forget_own_job()
        _ask_slurm(provider, executor.label, site)


def _ask_slurm(provider: Any, label: str, site: str) -> None:
    """Ask `sbatch --test-only` whether a block of this executor could ever run."""
    lines = [f"#SBATCH --nodes={provider.nodes_per_block}", f"#SBATCH --time={provider.walltime}"]
    if provider.cores_per_node is not None:
        lines.append(f"#SBATCH --cpus-per-task={provider.cores_per_node}")
    script = "\n".join(["#!/bin/sh", "#SBATCH --ntasks-per-node=1", *lines, provider.scheduler_options, "true", ""])
    try:
        answer = subprocess.run(  # noqa: S603  # the scheduler's own command, without a shell
            [shutil.which("sbatch") or "sbatch", "--test-only"],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SiteError(f"site {site!r}: Slurm does not answer ('sbatch --test-only' took more than 60 s)") from error
    if answer.returncode:
        reason = answer.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise SiteError(
            f"Slurm refuses the jobs of executor {label!r} of site {site!r}: {reason[0]}. Change the site's options"
        )
