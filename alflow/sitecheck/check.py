"""Certify a site before any allocation is spent on science."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import EXECUTOR_LABELS, find_site, load_site
from alflow.execution.sites.kinds import is_remote
from alflow.files.targets import writing
from alflow.files.whole import write_atomically
from alflow.labeling.frames import compute_checked
from alflow.labeling.guard import single_engine
from alflow.runs.environment import packages_with, versions
from alflow.runs.events import EventLog
from alflow.sitecheck.findings import Expected, Finding, WorkerReport, find
from alflow.sitecheck.speed import Speed, measure_speed
from alflow.sitecheck.worker import LOOK
from alflow.structures import alkane
from alflow.workers.result import Outcome

START_LIMIT_SECONDS = 1800.0
HOLD_SECONDS = 1.0


@dataclass(frozen=True)
class SiteCheck:
    """What a check found."""

    site: str
    options: dict[str, str]
    versions: dict[str, str]
    """Of the driver."""
    engine: str
    energy_ev: float
    """Of the known structure at the driver."""
    checked: float
    """Unix time."""
    speeds: dict[str, Speed]
    workers: tuple[WorkerReport, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether a campaign may run there."""
        return not any(finding.severity == "error" for finding in self.findings)


@dataclass
class _Seen:
    reports: dict[tuple[str, int], WorkerReport] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)


def check_site(
    site: str,
    options: Mapping[str, str],
    run_dir: Path,
    labels: LabelSettings,
    *,
    workers: Mapping[str, int] | None = None,
    start_limit_s: float = START_LIMIT_SECONDS,
    say: Callable[[str], None] = lambda _: None,
) -> SiteCheck:
    """Start one block of each executor, and look at every worker.

    Args:
        site: Name or path of a site file.
        options: Its options.
        run_dir: A folder that workers see too; logs and a few small files go there.
        labels: The engine to check, with its settings.
        workers: Workers of each executor to wait for; without, those that have connected when the first answers.
        start_limit_s: Longest time to wait for them, s.
        say: Told what happens now.

    Raises:
        SiteError: the site cannot be used; nothing was submitted.
        CampaignError: its workers do not come.
    """
    config = load_site(find_site(site), run_dir, options)
    shared = run_dir.resolve() / "check"
    shared.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    (shared / "token").write_text(token, encoding="utf-8")
    energy, theory = _known_energy(labels)
    remote = frozenset(executor.label for executor in config.executors if is_remote(executor))
    expected = Expected(versions(packages_with(labels.engine)), energy, theory, token, remote)
    events = EventLog(run_dir / "events.jsonl")
    graph = TaskGraph(config, events)
    reports: list[WorkerReport] = []
    speeds = {}
    try:
        for label in EXECUTOR_LABELS:
            say(f"Waiting for workers of executor {label!r} ...")
            start, found = _look(graph, label, labels, shared, (workers or {}).get(label, 0), start_limit_s)
            reports += found
            say(f"{len(found)} workers of {label!r} answered; measuring ...")
            speeds[label] = measure_speed(graph, label, start)
    finally:
        graph.close()
        events.close()
    return SiteCheck(
        find_site(site).stem,
        dict(options),
        expected.versions,
        labels.engine,
        energy,
        time.time(),
        speeds,
        tuple(reports),
        find(reports, expected),
    )


def _known_energy(labels: LabelSettings) -> tuple[float, str]:
    """Return energy (eV) and theory of the known structure, ethane, at the driver."""
    structure = alkane(2)
    engine = single_engine(labels.engine, labels.settings)
    return compute_checked(engine, structure.composition, structure.positions[0]).energy, engine.theory


def _look(
    graph: TaskGraph, label: str, labels: LabelSettings, shared: Path, expected: int, limit_s: float
) -> tuple[float, list[WorkerReport]]:
    """Return the time to the first result, and a report of every worker of an executor."""
    structure = alkane(2)
    settings = labels.settings.model_dump(mode="json")
    seen = _Seen()
    began = time.monotonic()
    first: list[float] = []

    def everyone() -> bool:
        waited = time.monotonic() - began
        if seen.errors:
            error = seen.errors[0]
            raise CampaignError(f"A task on executor {label!r} failed: {type(error).__name__}: {error}") from error
        connected = graph.workers(label)
        if waited > limit_s:
            raise CampaignError(
                f"{max(expected, connected, 1)} workers of executor {label!r} were expected within {limit_s:.0f} s; "
                f"{len(seen.reports)} answered. Look at the scheduler's queue and at the logs in the run directory."
            )
        if seen.reports and not first:
            first.append(waited)
        threads = any(pid == os.getpid() for _, pid in seen.reports)
        if seen.reports and (threads or len(seen.reports) >= max(expected, connected)):
            return True
        for _ in range(max(1, expected, connected) - graph.pending()):
            sent = time.time()
            numbers, positions = structure.numbers.tolist(), structure.positions[0]
            call = LOOK.on(label, f"look-{label}")(
                labels.engine, settings, numbers, positions, str(shared), HOLD_SECONDS
            )
            graph.submit(call, partial(_take, seen, label, shared, sent))
        return False

    graph.run_until(everyone)
    graph.run_until(lambda: graph.pending() == 0)
    return first[0] if first else time.monotonic() - began, list(seen.reports.values())


def _take(seen: _Seen, label: str, shared: Path, sent: float, result: Outcome[dict[str, Any]] | BaseException) -> None:
    if isinstance(result, BaseException):
        seen.errors.append(result)
        return
    value: dict[str, Any] = dict(result.value)
    clock, received = float(value.pop("clock")), time.time()
    skew = min(0.0, clock - sent) + max(0.0, result.report.ended - received)
    value |= {name: tuple(found) for name, found in value.items() if isinstance(found, list)}
    value["wrote"] = (shared / f"{value['host']}-{value['pid']}").exists()
    value.setdefault("first_label_s", 0.0)
    report = WorkerReport(executor=label, skew_s=skew, **value)
    seen.reports.setdefault((report.host, report.pid), report)


def save_check(check: SiteCheck, path: Path) -> None:
    """Write a check as JSON to `path`, and keep a copy that later runs on this site look at."""
    text = json.dumps({**asdict(check), "passed": check.passed}, indent=1)
    with writing(path, "The result") as part:
        part.write_text(text, encoding="utf-8")
    kept = _kept(check.site)
    with contextlib.suppress(OSError):  # no home, or a read-only one: later runs are told that there was no check
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, text.encode())


def check_warning(site: str) -> str | None:
    """Return what a run on this site should be told about its last check: none, failed, or of other versions."""
    name = find_site(site).stem
    advice = f"run `alflow site check {site}` before a long campaign"
    try:
        last = json.loads(_kept(name).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return f"site {name!r} has never been checked from here; {advice}"
    now = versions()
    changed = [package for package, version in now.items() if last.get("versions", {}).get(package) != version]
    if changed:
        return f"site {name!r} was checked with other versions of {', '.join(changed)}; {advice}"
    if not last.get("passed"):
        return f"the last check of site {name!r} found errors; {advice}"
    return None


def _kept(site: str) -> Path:
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        home = Path(tempfile.gettempdir())
    return home / "alflow" / "site-checks" / f"{site}.json"
