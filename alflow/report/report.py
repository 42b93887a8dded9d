"""The report of a run: one HTML page that opens anywhere, rewritten after every iteration."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path

from alflow.files.targets import check_target, writing
from alflow.report import costs, page, sections, start, trust
from alflow.report.rundata import RunData
from alflow.runs.directory import RunDirectory

Section = Callable[[RunData], str]

SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Where the first data come from", start.start),
    ("Barrier", sections.barrier),
    ("Work curves", sections.work),
    ("The breaking molecule", sections.snapshots),
    ("Errors", sections.errors),
    ("Spread along the pull", sections.spread),
    ("How far the uncertainty is to be trusted", trust.audits),
    ("What was selected, and why", sections.selection),
    ("Labels", costs.labels),
    ("Time", costs.seconds),
    ("Executors", costs.executors),
    ("Forecast and fact", costs.forecast),
    ("Settings and versions", costs.settings),
    ("What to cite", costs.cite),
)


def write_report(run: RunDirectory, target: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Write the report of a run, finished or not, and return its path: ``report.html`` of the run if none is given.

    A section that cannot be made says so in its place, and is told; the others are there.

    Raises:
        RunError: the directory is not a campaign's.
        InputError: the file cannot be written.
    """
    target = target or run.path / "report.html"
    settings = run.settings()
    check_target(target, "The report")
    data = RunData(run, settings)
    parts = [_head(data, tell)]
    parts += [_section(heading, make, data, tell) for heading, make in SECTIONS]
    with writing(target, "The report") as part:
        part.write_text(page.page(f"{settings.name}: alflow", "".join(parts)), encoding="utf-8")
    return target


def refresh_report(run: RunDirectory) -> str:
    """Write the report in the middle of a campaign, which must not fail for it.

    Returns:
        Nothing, or a sentence that says why the page is not new.
    """
    try:
        write_report(run)
    except Exception as error:  # noqa: BLE001 - a page is no reason to end a campaign
        return f"The report could not be written: {type(error).__name__}: {error}"
    return ""


def _section(heading: str, make: Section, data: RunData, tell: Callable[[str], None]) -> str:
    body = _guarded(heading, make, data, tell)
    return f"<section><h2>{escape(heading)}</h2>{body}</section>" if body else ""


def _guarded(heading: str, make: Section, data: RunData, tell: Callable[[str], None]) -> str:
    try:
        return make(data)
    except Exception as error:  # noqa: BLE001 - the other sections are worth having
        tell(f"The section {heading!r} of the report could not be made: {' '.join(str(error).split())}")
        return page.paragraph(f"This section could not be made: {type(error).__name__}: {error}", "soft")


def _head(data: RunData, tell: Callable[[str], None]) -> str:
    state = data.status
    done, planned = len(data.records), data.settings.iterations
    line = f"{done} of {planned} iterations committed. Written {time.strftime('%Y-%m-%d %H:%M:%S %Z')}."
    if state.get("state") in ("finished", "failed"):
        line = f"The campaign {state['state']}: {state['message']}. {line}"
    what = f"<h1>{escape(data.settings.name)}</h1>{page.paragraph(line, 'soft')}"
    return what + _guarded("Overview", sections.overview, data, tell)
