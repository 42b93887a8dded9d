"""The folder of an allocation: its layout, and the status that its driver writes there once a second.

::

    lock               who drives it now
    allocation.json    site, and the run directories of the campaigns
    status.json        what goes on now, and who has used what
    events.jsonl       one line a task: which campaign, when; workers, blocks and jobs of the site
    spool/             requests of ``alflow add`` and ``alflow withdraw``, and the answers
    report.html parsl/
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alflow.errors import RunError
from alflow.files.targets import cause, shown
from alflow.files.whole import write_atomically
from alflow.runs.status import STALE_SECONDS

OWN = ("lock", "lock.held", "allocation.json", "status.json", "events.jsonl", "spool", "report.html", "parsl")


@dataclass(frozen=True)
class CampaignLine:
    """What one campaign does and has used."""

    name: str
    run: str
    """Run directory."""
    weight: float
    state: str
    """starting, running, finished, failed or withdrawn."""
    message: str = ""
    iteration: int = 0
    iterations: int = 0
    stage: str = ""
    labels_done: int = 0
    labels_wanted: int = 0
    """Of this iteration."""
    labels_shared: int = 0
    """Labels that other campaigns computed for it."""
    waiting: int = 0
    running: int = 0
    """Tasks."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker-seconds used, by executor."""


@dataclass(frozen=True)
class AllocationStatus:
    """What a driver of several campaigns writes into ``status.json``."""

    state: str
    """running, finished or failed; `read_allocation` also finds "gone"."""
    message: str
    host: str
    pid: int
    started: float
    """Unix time at which the driver started, s."""
    time: float
    """Unix time of this status, s."""
    site: str
    workers: dict[str, int] = field(default_factory=dict)
    """Connected workers by executor."""
    held: dict[str, float] = field(default_factory=dict)
    """Worker-seconds that were connected, by executor."""
    campaigns: tuple[CampaignLine, ...] = ()

    def used(self, executor: str) -> float:
        """Return the worker-seconds that all campaigns have used of an executor."""
        return sum(line.seconds.get(executor, 0.0) for line in self.campaigns)

    def share(self, line: CampaignLine, executor: str) -> float:
        """Return a campaign's part of what was used of an executor; 0 where nothing was."""
        return line.seconds.get(executor, 0.0) / max(self.used(executor), 1e-9)


_STATUS = TypeAdapter(AllocationStatus)


@dataclass(frozen=True)
class AllocationDirectory:
    """Paths of an allocation, and what is read from and written to them."""

    path: Path

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def spool(self) -> Path:
        """Folder of requests and answers."""
        return self.path / "spool"

    def is_one(self) -> bool:
        """Say whether a driver of several campaigns has made this folder."""
        return (self.path / "allocation.json").is_file()

    def check_new(self) -> None:
        """Refuse a folder of something else.

        Raises:
            RunError: it holds other files.
        """
        try:
            others = [item.name for item in self.path.iterdir() if item.name not in OWN] if self.path.exists() else []
        except OSError as error:
            raise RunError(
                f"An allocation has a folder of its own; {shown(self.path)} is none: {cause(error)}."
            ) from error
        if others and not self.is_one():
            raise RunError(
                f"An allocation has a folder of its own; {shown(self.path)} holds other files ({others[0]}). Name "
                "another one with --allocation."
            )

    def open(self, site: str, runs: Mapping[str, str]) -> None:
        """Make the folder, or go on in it.

        Args:
            site: name of the site.
            runs: run directory of each campaign, by its name.
        """
        self.spool.mkdir(parents=True, exist_ok=True)
        for left in self.spool.iterdir():
            if left.is_file():
                left.unlink(missing_ok=True)
        self._write({"site": site, "runs": dict(runs)})

    def note_runs(self, runs: Mapping[str, str]) -> None:
        """Write down the campaigns, of which one was added; a disk that takes no more costs a line in the report."""
        with contextlib.suppress(OSError, ValueError):
            before = json.loads((self.path / "allocation.json").read_text(encoding="utf-8"))
            self._write({**before, "runs": dict(runs)})

    def _write(self, content: Mapping[str, Any]) -> None:
        write_atomically(self.path / "allocation.json", json.dumps(content, indent=1).encode())

    def runs(self) -> dict[str, Path]:
        """Return the run directories of the campaigns by name, those of the last driver.

        Raises:
            RunError: this is no folder of an allocation, or what it says is damaged.
        """
        path = self.path / "allocation.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["runs"]
            return {str(name): Path(str(run)) for name, run in found.items()}
        except FileNotFoundError as error:
            raise RunError(
                f"An allocation has a folder that `alflow run` made; {shown(self.path)} is none: --allocation names it."
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"An allocation lists its runs; {shown(path)} is damaged: {cause(error)}.") from error

    def write_status(self, status: AllocationStatus) -> None:
        """Write ``status.json``."""
        write_atomically(self.path / "status.json", _STATUS.dump_json(status))

    def status(self, now: float | None = None) -> AllocationStatus:
        """Read the status, and see whether the driver lives.

        Args:
            now: Unix time, s; the clock's if not given.

        Raises:
            RunError: this is no folder of an allocation, nothing was started in it yet, or its status is damaged.
        """
        self.runs()
        path = self.path / "status.json"
        try:
            found = _STATUS.validate_json(path.read_bytes())
            time.localtime(found.started)
        except FileNotFoundError as error:
            raise RunError(
                f"An allocation has a status once its driver has started; {shown(self.path)} has none yet."
            ) from error
        except (OSError, ValidationError, ValueError, OverflowError) as error:
            text = _first_line(error)
            raise RunError(f"A status holds numbers and tables; {shown(path)} is damaged: {text}.") from error
        return _as_found(found, time.time() if now is None else now)


def _as_found(written: AllocationStatus, now: float) -> AllocationStatus:
    """Say whether the driver lives: by its process on its own host, by the age of its status on any."""
    if written.state != "running":
        return written
    if written.host == socket.gethostname() and not _alive(written.pid):
        message = f"process {written.pid} does not exist any more on this host"
    elif now - written.time > STALE_SECONDS:
        message = f"it wrote nothing for {now - written.time:.0f} s"
    else:
        return written
    return replace(written, state="gone", message=message)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _first_line(error: Exception) -> Any:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return cause(error)
