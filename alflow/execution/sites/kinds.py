"""Kinds of Parsl's executors and providers that are treated in a way of their own.

Parsl is imported when one is looked at: then a site file has imported it already.
"""

from __future__ import annotations

from typing import Any


def scheduler_commands(provider: Any) -> tuple[str, ...]:
    """Return the commands that a provider submits jobs with; none where it does not submit by commands."""
    from parsl.providers import PBSProProvider  # noqa: PLC0415 - see above

    if is_slurm(provider):
        return "sbatch", "squeue", "scancel"
    return ("qsub", "qstat", "qdel") if isinstance(provider, PBSProProvider) else ()


def is_slurm(provider: Any) -> bool:
    """Say whether a provider submits to Slurm."""
    from parsl.providers import SlurmProvider  # noqa: PLC0415

    return isinstance(provider, SlurmProvider)


def is_elsewhere(provider: Any) -> bool:
    """Say whether a provider starts workers as jobs of a batch system or a cluster, on hosts other than this one."""
    from parsl.providers import LocalProvider  # noqa: PLC0415

    return provider is not None and not isinstance(provider, LocalProvider)


def pools_per_block(provider: Any) -> int:
    """Return how many pools of workers a job starts: one on each node, or one alone that serves all of them."""
    from parsl.launchers import SimpleLauncher  # noqa: PLC0415

    alone = isinstance(getattr(provider, "launcher", None), SimpleLauncher)
    return 1 if alone else int(getattr(provider, "nodes_per_block", 1) or 1)


def is_remote(executor: Any) -> bool:
    """Say whether an executor's workers need not see the run directory (Globus Compute)."""
    from parsl.executors import GlobusComputeExecutor  # noqa: PLC0415

    return isinstance(executor, GlobusComputeExecutor)


def gives_up_at_failed_blocks(handler: Any) -> bool:
    """Say whether a handler of blocks that end is Parsl's own."""
    from parsl.jobs.error_handlers import windowed_error_handler  # noqa: PLC0415

    return handler is windowed_error_handler
