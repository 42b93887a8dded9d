"""Capacity of a site: workers and nodes at its largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alflow.execution.sites.kinds import pools_per_block


@dataclass(frozen=True)
class Capacity:
    """What one executor of a site can hold at its largest."""

    workers: int
    nodes: int

    def node_hours(self, worker_seconds: float) -> float:
        """Return what so many worker-seconds cost when all workers of a node are busy."""
        return worker_seconds / 3600.0 * self.nodes / self.workers


def site_capacity(config: Any) -> dict[str, Capacity]:
    """Return the workers and nodes of each executor with all its blocks; threads count as workers of one node."""
    found = {}
    for executor in config.executors:
        provider = getattr(executor, "provider", None)
        blocks = int(getattr(provider, "max_blocks", 1) or 1)
        nodes = int(getattr(provider, "nodes_per_block", 1) or 1) * blocks
        pools = pools_per_block(provider) * blocks
        each = getattr(executor, "max_workers_per_node", None) or getattr(executor, "max_threads", 1)
        found[executor.label] = Capacity(int(each or 1) * pools, nodes)
    return found
