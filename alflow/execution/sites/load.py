"""Turn a site file and option strings into a Parsl configuration that a campaign can start on."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alflow.errors import SiteError
from alflow.execution.monitor import drain_margin_s
from alflow.execution.sites.files import entry_point
from alflow.execution.sites.kinds import gives_up_at_failed_blocks, is_elsewhere, pools_per_block
from alflow.execution.sites.numbers import check_numbers
from alflow.execution.sites.options import read_options
from alflow.execution.sites.patience import PatientHandler
from alflow.execution.sites.plainpath import RULE, PlainPath, plain_path
from alflow.execution.sites.scheduler import check_scheduler

EXECUTOR_LABELS = ("cpu", "gpu")
"""What every site offers: "cpu" for labels, "gpu" for training and pulls."""
PARSL_RUN_DIR, PARSL_INTERCHANGE = "runinfo", ["interchange.py"]
"""What Parsl takes where a site file says nothing."""
SCHEDULER_SECONDS = 120
"""Longest time that a command of the scheduler may take; Parsl gives Slurm 10 s."""
DEAF_TO_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Runs a command that Ctrl-C, which reaches all processes of a terminal, does not end: its driver does that."""


def load_site(path: Path, run_dir: Path, options: Mapping[str, str], *, check_commands: bool = True) -> Any:
    """Return the site's parsl.Config.

    Args:
        path: the site file (see find_site).
        run_dir: the campaign's run directory.
        options: option strings from the command line.
        check_commands: refuse a site whose scheduler commands this machine has not.

    Raises:
        SiteError: an option is unknown, missing or cannot be read; the file breaks the rules of site files;
            a scheduler command is not there. Nothing has been submitted.
    """
    make_config = entry_point(path)
    values = read_options(make_config, options, path)
    plain = plain_path(run_dir.resolve())
    try:
        config = make_config(plain.path, **values)
    except ValueError as error:
        raise SiteError(f"site {path.stem!r} refuses these options: {error}") from error
    except Exception as error:
        raise SiteError(f"site {path.stem!r} cannot be used here: {type(error).__name__}: {error}") from error
    _check_labels(config, path)
    _settle(config, plain)
    for executor in config.executors:
        check_numbers(executor, path.stem)
        _check_drain(executor, path.stem)
        _check_reach(executor, plain, path.stem)
        if check_commands:
            check_scheduler(executor, path.stem)
    return config


def _check_labels(config: Any, path: Path) -> None:
    labels = sorted(executor.label for executor in getattr(config, "executors", ()))
    if labels != sorted(EXECUTOR_LABELS):
        raise SiteError(
            f"a site has two executors labelled 'cpu' and 'gpu'; {path} makes {', '.join(labels) or 'none'}. "
            "See docs/sites.md"
        )


def _settle(config: Any, plain: PlainPath) -> None:
    """Set what is the driver's and not the site's: logs, how interchanges start, patience with the scheduler.

    An interchange comes from the driver's own environment, and ends with the driver: otherwise the workers of a killed
    driver would hold their nodes to the walltime. A scheduler that does not answer is waited for.
    """
    if config.run_dir == PARSL_RUN_DIR:
        config.run_dir = str(plain.path / "parsl")
    config.alflow_run_dir = plain
    start = [sys.executable, "-c", DEAF_TO_CTRL_C]
    if shutil.which("setpriv"):
        start += ["setpriv", "--pdeathsig", "TERM"]
    for executor in config.executors:
        provider: Any = getattr(executor, "provider", None)
        if hasattr(provider, "cmd_timeout"):
            provider.cmd_timeout = max(provider.cmd_timeout, SCHEDULER_SECONDS)
        nodes = int(getattr(provider, "nodes_per_block", 1) or 1)
        if pools_per_block(provider) < nodes:  # Parsl would count the workers of a job's one pool once for each node
            executor._workers_per_node = executor.max_workers_per_node / nodes  # noqa: SLF001 - Parsl has no public way
        handler: Any = getattr(executor, "block_error_handler", None)
        if gives_up_at_failed_blocks(handler):
            executor.block_error_handler = PatientHandler(handler)
        if getattr(executor, "interchange_launch_cmd", None) == PARSL_INTERCHANGE:
            executor.interchange_launch_cmd = [*start, f"{sysconfig.get_path('scripts')}/interchange.py"]


def _check_reach(executor: Any, plain: PlainPath, site: str) -> None:
    """Refuse a link that the nodes of a batch system would not see."""
    provider = getattr(executor, "provider", None)
    if plain.here_only and is_elsewhere(provider):
        raise SiteError(
            f"{RULE}; {str(plain.folder)!r} has others, and no folder above it can hold a link that the nodes of site "
            f"{site!r} see. Choose another --run-dir"
        )


def _check_drain(executor: Any, site: str) -> None:
    """Refuse workers that would take tasks to the end of their job, or none at all."""
    try:
        margin = drain_margin_s(executor)
    except ValueError as error:
        raise SiteError(f"executor {executor.label!r} of site {site!r}: {error}") from error
    if margin is not None and not 0 < margin < margin + executor.drain_period:
        raise SiteError(
            f"workers stop taking tasks some minutes before the walltime of their job (drain_minutes); executor "
            f"{executor.label!r} of site {site!r} would do so {margin / 60:g} minutes before the end of "
            f"{(margin + executor.drain_period) / 60:g}"
        )
