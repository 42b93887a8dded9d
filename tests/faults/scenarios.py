"""What campaigns are struck with, and the campaign itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Victim = Literal["driver", "term", "worker", "table", "manager", "interchange", "disk"]
"""Who is struck: the driver (SIGKILL or SIGTERM), a worker, the process that keeps a pool's table of tasks, a pool of
workers (Parsl: manager), an interchange, or the disk (no byte is left)."""

CAMPAIGN = """
name = "faults"
seed = 3
iterations = 2
[system]
carbons = [2]
[labels]
engine = "sleep"
timeout_s = 4.0
memory_gb = 1.5
frames_per_task = 2
max_failed_share = 0.9
[labels.settings]
seconds_per_label = 0.05
{faults}
[first_data]
segment_steps = 20
[first_data.md]
steps = 60
stride = 2
temperature_k = 300.0
[training]
epochs = 6
checkpoint_every_s = 0.0
[split]
members = 2
[selection]
threshold = "first-steps"
first_steps = 20
sigmas = 0.0
cap = 8
similarity_distance_angstrom = 0.0
similarity_energy_ev = 0.0
[augmentation]
copies = 2
[sampling]
relax_with = "label-engine"
reference = {reference}
[sampling.relax]
langevin_steps = 20
berendsen_steps = 20
[sampling.pull]
steps = 120
segment_steps = 30
rate_angstrom_per_ps = 40.0
"""
HEALTHY = "hang_share = 0.0"
BAD = """
beyond_angstrom = 3.6
hang_share = 0.1
crash_share = 0.15
nan_share = 0.15
not_converged_share = 0.15
eat_memory_share = 0.15
"""
LABELS_IN_FLIGHT = 4
"""Two workers, two frames a task."""
SITE = ("workers=2", "gpu_workers=1", "gpu_threads=1", "heartbeat_seconds=1", "heartbeat_limit_seconds=4")


@dataclass(frozen=True)
class Scenario:
    """What happens to a campaign."""

    name: str
    victim: Victim
    engine: Literal["healthy", "bad"] = "healthy"

    @property
    def may_pay_twice(self) -> int:
        """Labels that were with the workers when the disk was full: there was no place to keep what they sent."""
        return LABELS_IN_FLIGHT if self.victim == "disk" else 0


def _several(name: str, victim: Victim, count: int) -> tuple[Scenario, ...]:
    return tuple(Scenario(f"{name} {number}", victim) for number in range(1, count + 1))


SCENARIOS = (
    *_several("driver SIGKILL", "driver", 5),
    Scenario("driver SIGTERM", "term"),
    *_several("worker SIGKILL", "worker", 3),
    *_several("table SIGKILL", "table", 2),
    Scenario("manager SIGKILL", "manager"),
    Scenario("interchange SIGKILL", "interchange"),
    Scenario("disk full", "disk"),
    Scenario("bad engine, driver SIGKILL", "driver", "bad"),
    Scenario("bad engine, worker SIGKILL", "worker", "bad"),
    Scenario("bad engine, table SIGKILL", "table", "bad"),
    Scenario("bad engine, manager SIGKILL", "manager", "bad"),
    Scenario("bad engine, interchange SIGKILL", "interchange", "bad"),
    Scenario("bad engine, disk full", "disk", "bad"),
)
"""The engine of the last six hangs, crashes its process, returns NaN, does not converge and eats memory."""

REPRESENTATIVES = tuple(
    scenario
    for scenario in SCENARIOS
    if scenario.engine == "bad" and scenario.victim in ("driver", "table", "interchange", "disk")
)
"""One of each way in which a process or a disk can fail a campaign, and all those of the engine besides."""


def write_campaign(folder: Path, engine: str) -> Path:
    """Write the campaign file of an engine, healthy or bad."""
    path = folder / f"{engine}.toml"
    bad = engine == "bad"
    path.write_text(CAMPAIGN.format(faults=BAD if bad else HEALTHY, reference="false" if bad else "true"))
    return path
