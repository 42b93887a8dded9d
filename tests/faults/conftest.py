"""The table of faults is printed at the end of a test run."""

from __future__ import annotations

import pytest
from faulttable import Result, show

RESULTS = pytest.StashKey[list[Result]]()


@pytest.fixture(scope="session")
def fault_table(request) -> list[Result]:
    """Return the list of the results so far."""
    return request.config.stash.setdefault(RESULTS, [])


def pytest_terminal_summary(terminalreporter, config) -> None:
    if config.stash.get(RESULTS, []):
        terminalreporter.section("faults")
        terminalreporter.write_line(show(config.stash[RESULTS]))
