"""Numbers of an executor with which no task would ever run, whatever site file they come from."""

from __future__ import annotations

import math
from typing import Any

from alflow.errors import SiteError

LEAST = {
    "max_workers_per_node": 1,
    "max_threads": 1,
    "heartbeat_period": 1,
    "heartbeat_threshold": 1,
    "prefetch_capacity": 0,
}
LEAST_OF_PROVIDER = {"nodes_per_block": 1, "max_blocks": 1, "min_blocks": 0, "init_blocks": 0}


def check_numbers(executor: Any, site: str) -> None:
    """Refuse an executor without workers, without blocks, or whose signs of life mean nothing.

    Raises:
        SiteError: with the executor, the number and the rule.
    """
    provider = getattr(executor, "provider", None)
    where = f"executor {executor.label!r} of site {site!r}"
    for owner, least in ((executor, LEAST), (provider, LEAST_OF_PROVIDER)):
        for name, bound in least.items():
            value = getattr(owner, name, None)
            if isinstance(value, int | float) and not value >= bound:
                raise SiteError(f"{name} of {where} is at least {bound}; got {value}")
    cores = getattr(executor, "cores_per_worker", 1.0)
    if isinstance(cores, int | float) and not 0 < cores < math.inf:
        raise SiteError(f"cores_per_worker of {where} is a finite number above 0; got {cores}")
    _check_order(executor, where, "heartbeat_period", "heartbeat_threshold", strictly=True)
    _check_order(provider, where, "min_blocks", "max_blocks")
    _check_order(provider, where, "init_blocks", "max_blocks")


def _check_order(owner: Any, where: str, low: str, high: str, *, strictly: bool = False) -> None:
    first, second = getattr(owner, low, None), getattr(owner, high, None)
    if not (isinstance(first, int | float) and isinstance(second, int | float)):
        return
    if first > second or (strictly and first == second):
        word = "below" if strictly else "at most"
        raise SiteError(f"{low} of {where} is {word} {high}; got {first} and {second}")
