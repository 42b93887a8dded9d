"""Result of the labelling benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from alflow.bench.measure import Account


@dataclass(frozen=True)
class BenchCase:
    """One line of the benchmark."""

    workers: int = 0
    """Tasks in flight at a time; 0: as many as there are, all workers."""
    frames_per_task: int = 0
    """0: chosen from the measured label time, falling towards the end."""


@dataclass(frozen=True)
class BenchRow:
    """What one case gave."""

    case: BenchCase
    account: Account
    failed: int
    efficiency: float
    """Labels a second and worker, over those of one worker alone in the same run."""
    processor_efficiency: float | None
    """Processor time of a label of one worker alone, over that of a label here: what sharing memory and caches costs,
    whatever else the machine does. None where labels take no processor time."""


@dataclass(frozen=True)
class BenchReport:
    """A whole benchmark."""

    site: str
    options: dict[str, str]
    workload: str
    workers: int
    first_worker_s: float
    """From the start of the executors to the first result."""
    all_workers_s: float
    """The same, to a result of every worker."""
    label_seconds: float
    """Of one worker alone, warm."""
    one_worker_labels_per_second: float
    rows: tuple[BenchRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plain = asdict(self)
        for line, row in zip(plain["rows"], self.rows, strict=True):
            measured = row.account
            line["labels_per_second"] = measured.labels_per_second
            line["utilisation"] = measured.utilisation
            line["dispatch_ms_per_label"] = measured.dispatch_ms_per_label
        return plain
