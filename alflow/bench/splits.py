"""How to divide the cores of a node among labels: many labels of few cores, or few of many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from alflow.bench.label import WARM_UP_LIMIT_S, graph_of, probe, run_case, warm_up_workers
from alflow.bench.measure import Account
from alflow.bench.report import BenchCase
from alflow.bench.workload import EngineWorkload, Workload
from alflow.errors import InputError
from alflow.execution.sites import describe_site, find_site, load_site, site_capacity
from alflow.labeling import make_engine

AS_QUICK = 0.97
"""Of splits that reach this share of the most labels a second, the one with most cores a label is recommended: each of
its labels is there sooner, and fewer of them take memory at a time."""
PROBES = 2


@dataclass(frozen=True)
class Split:
    """So many labels side by side on a node, with so many cores each."""

    labels: int
    cores: int

    @property
    def text(self) -> str:
        """Write it as people do."""
        return f"{self.labels} × {self.cores}"


@dataclass(frozen=True)
class SplitRow:
    """What one split gave."""

    split: Split
    account: Account
    failed: int
    efficiency: float
    """Parallel efficiency of a label: its core-seconds with the fewest cores measured, over its core-seconds here."""

    @property
    def seconds_per_label(self) -> float:
        """Time of one label while all run, s."""
        return self.account.busy_s / self.account.labels


@dataclass(frozen=True)
class SplitReport:
    """A whole comparison."""

    site: str
    options: dict[str, str]
    workload: str
    into: str
    """What the cores of a label are for: "threads" or "ranks"."""
    rows: tuple[SplitRow, ...]

    @property
    def recommended(self) -> SplitRow:
        """The split to use."""
        sound = [row for row in self.rows if not row.failed] or list(self.rows)
        most = max(row.account.labels_per_second for row in sound)
        good = [row for row in sound if row.account.labels_per_second >= AS_QUICK * most]
        return max(good, key=lambda row: row.split.cores)

    @property
    def setting(self) -> str:
        """Options of the site for the recommended split."""
        cores = self.recommended.split.cores
        return f"-O cores_per_label={cores}" + (f" -O ranks_per_label={cores}" if self.into == "ranks" else "")

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plain = asdict(self) | {"recommended": asdict(self.recommended.split), "setting": self.setting}
        for line, row in zip(plain["rows"], self.rows, strict=True):
            line["labels_per_second"] = row.account.labels_per_second
            line["seconds_per_label"] = row.seconds_per_label
        return plain


def read_splits(text: str, cores: int) -> tuple[Split, ...]:
    """Return the splits that a text names: "1x8,2x4", or "all" for every way to divide the cores evenly.

    Args:
        text: labels × cores, joined by commas.
        cores: of a node.

    Raises:
        InputError: it cannot be read.
    """
    if text.strip() == "all":
        return tuple(Split(cores // each, each) for each in range(cores, 0, -1) if cores % each == 0)
    found = [re.fullmatch(r"\s*([1-9]\d{0,5})\s*[x×]\s*([1-9]\d{0,5})\s*", part) for part in text.split(",")]
    splits = tuple(Split(int(part[1]), int(part[2])) for part in found if part)
    if len(splits) < len(found):
        raise InputError(
            f"--splits is all, or labels side by side times cores of each, such as 1x8,2x4,8x1; got {text!r}"
        )
    return splits


def node_cores(site: str, options: Mapping[str, str], run_dir: Path) -> int:
    """Return the cores of a node that a site's labels may use.

    Raises:
        SiteError: the site cannot be used, or does not know labels of several cores.
    """
    config = load_site(find_site(site), run_dir, {**options, "cores_per_label": "1"})
    cpu = next(executor for executor in config.executors if executor.label == "cpu")
    return int(getattr(cpu, "max_workers_per_node", 1))


def bench_splits(
    site: str,
    options: Mapping[str, str],
    workload: Workload,
    count: int,
    run_dir: Path,
    splits: Sequence[Split],
    *,
    into: Literal["threads", "ranks"] = "threads",
    task_seconds: float = 3.0,
    limit_s: float = WARM_UP_LIMIT_S,
    say: Callable[[str], None] = lambda _: None,
) -> SplitReport:
    """Measure labels a second of a site's executor "cpu" for several splits of its nodes.

    Args:
        site: name or path of a site file.
        options: its options, without those that a split sets.
        workload: labels of an engine, or of nothing but time.
        count: labels of each split, at least; each worker gets as many.
        run_dir: where logs go.
        splits: to measure.
        into: what the cores of a label are for.
        task_seconds: length of a task aimed at, s.
        limit_s: longest time to wait for the workers of a split, the scheduler's queue included, s.
        say: told what happens now.

    Raises:
        InputError: the site or the engine cannot be used; nothing was submitted.
        CampaignError: workers did not come, or a task failed as a whole.
    """
    if count < 1:
        raise InputError(f"A benchmark labels at least one frame; got {count}.")
    if isinstance(workload, EngineWorkload):
        make_engine(workload.labels.engine, workload.labels.settings)
    chosen = [_options(site, options, split, into) for split in splits]
    for each in chosen:
        load_site(find_site(site), run_dir, each)
    measured = []
    for split, each in zip(splits, chosen, strict=True):
        say(f"{split.text}: starting workers ...")
        part = _measure(site, each, workload, count, run_dir, split, task_seconds, limit_s)
        say(f"{split.text}: {part[0].labels_per_second:.4g} labels/s")
        measured.append((split, *part))
    least, first, _ = min(measured, key=lambda item: item[0].cores)
    alone = least.cores * first.busy_s / first.labels
    rows = tuple(
        SplitRow(split, counted, failed, alone / (split.cores * counted.busy_s / counted.labels))
        for split, counted, failed in measured
    )
    return SplitReport(site, dict(options), workload.text, into, rows)


def _options(site: str, options: Mapping[str, str], split: Split, into: str) -> dict[str, str]:
    """Return the options of a site for a split.

    Raises:
        InputError: one is given that a split sets.
    """
    names = {option.name for option in describe_site(find_site(site)).options}
    given = {"cores_per_label": split.cores, "workers": split.labels}
    if into == "ranks":
        given["ranks_per_label"] = split.cores
    for name in ("cores_per_label", "ranks_per_label", "nodes_per_label"):
        if name in options:
            raise InputError(f"--splits divides nodes among labels itself; got -O {name}={options[name]} beside it")
    return {**options, **{name: str(value) for name, value in given.items() if name != "workers" or name in names}}


def _measure(
    site: str,
    options: Mapping[str, str],
    workload: Workload,
    count: int,
    run_dir: Path,
    split: Split,
    task_seconds: float,
    limit_s: float,
) -> tuple[Account, int]:
    """Return where the workers' time went with one split, and how many labels failed."""
    folder = run_dir / f"{split.labels}x{split.cores}"
    folder.mkdir(parents=True, exist_ok=True)
    config = load_site(find_site(site), folder, options)
    nodes = site_capacity(config)["cpu"].nodes
    with graph_of(config, folder) as graph:
        _, _, connected = warm_up_workers(graph, workload, None, limit_s)
        used = min(connected, split.labels * nodes)
        seconds = probe(graph, workload, PROBES)
        rounds = -(-count // used)
        case = BenchCase(workers=used)
        return run_case(graph, workload, case, rounds * used, used, seconds, task_seconds)
