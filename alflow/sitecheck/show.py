"""A check of a site as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from alflow.display.tables import Sheet
from alflow.sitecheck.check import SiteCheck
from alflow.sitecheck.findings import WorkerReport


def check_tables(check: SiteCheck) -> Iterator[RenderableType]:
    """Yield the workers, the speeds, the versions where they differ, and what is wrong."""
    yield _workers(check)
    yield _proofs(check)
    yield _speeds(check)
    different = _versions(check)
    if different.rows:
        yield different
    for finding in check.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        yield Text.assemble((finding.severity, colour), f": {finding.what}")
    if check.passed:
        yield Text(f"Site {check.site!r} passed: {len(check.workers)} workers looked at.", style="green")
    else:
        yield Text(f"Site {check.site!r} is not fit for a campaign.", style="red")


def _workers(check: SiteCheck) -> Sheet:
    headings = ("executor", "host", "rank", "cores", "threads", "ranks of a label", "pinned to", "torch sees")
    table = Sheet(headings, title=f"workers of site {check.site}")
    for report in _ordered(check):
        pins = sorted(set(report.visible.values()))
        table.add(
            report.executor,
            report.host,
            report.rank or "-",
            _ranges(report.cores),
            str(report.rank_threads or report.threads or "all"),
            f"{report.ranks} on {', '.join(report.nodes)}" if report.nodes else "-",
            ", ".join(pins) or "-",
            ", ".join(report.gpus) or "no GPU",
        )
    return table


def _proofs(check: SiteCheck) -> Sheet:
    table = Sheet(
        ("executor", "host", "rank", "run directory"),
        ("energy off / eV", "first label / s", "clock off / s"),
        title=f"ethane by {check.engine}: {check.energy_ev:.6f} eV at the driver",
    )
    for report in _ordered(check):
        table.add(
            report.executor,
            report.host,
            report.rank or "-",
            _folder(report),
            "failed" if report.energy is None else f"{report.energy - check.energy_ev:.1e}",
            f"{report.first_label_s:.2f}",
            f"{report.skew_s:+.1f}",
        )
    return table


def _ordered(check: SiteCheck) -> list[WorkerReport]:
    return sorted(check.workers, key=lambda item: (item.executor, item.host, item.rank))


def _folder(report: WorkerReport) -> str:
    if report.shared_error or not report.token:
        return "not seen"
    return "read, written" if report.wrote else "read only"


def _speeds(check: SiteCheck) -> Sheet:
    headings = ("workers", "first result / s", "round trip / ms", "tasks / s", "MB / s to a worker")
    table = Sheet(("executor",), headings, title="executors")
    for label, speed in check.speeds.items():
        count = sum(report.executor == label for report in check.workers)
        numbers = (f"{speed.start_s:.1f}", f"{speed.round_trip_ms:.1f}")
        table.add(label, str(count), *numbers, f"{speed.tasks_per_second:.0f}", f"{speed.megabytes_per_second:.0f}")
    return table


def _versions(check: SiteCheck) -> Sheet:
    table = Sheet(("package", "driver", "worker", "where"), title="versions that differ from the driver's")
    for package, wanted in check.versions.items():
        for report in check.workers:
            if report.versions.get(package) != wanted:
                table.add(package, wanted, report.versions.get(package, "absent"), report.name)
    return table


def _ranges(cores: tuple[int, ...]) -> str:
    """Write 0, 1, 2, 5 as 0-2,5."""
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts) or "all"
