"""One run, one driver: the lock of a run directory.

Where the file system carries locks, the kernel keeps one on ``lock``, and it goes with its holder. Some parallel file
systems carry none: there the file ``lock.held`` is the lock, and whoever finds it looks whether its holder lives. Both
name their holder, who writes a count into it every two seconds. Whether a holder on another host lives is told by this
count, and by ``status.json``, never by a clock alone: clocks of two hosts may differ by hours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from alflow.errors import RunError
from alflow.files.targets import cause, shown

BEAT_SECONDS = 2.0
"""The holder writes so often."""
WATCH_SECONDS = 10.0
"""A holder on another host that writes nothing for so long is dead."""
FRESH_SECONDS = 60.0
"""One that wrote within this time may merely be busy."""
LOOK_SECONDS = 0.5
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the system says of a lock that another process has; all else says that there are no locks."""


@dataclass
class RunLock:
    """The lock of a run directory, as a context.

    Raises:
        RunError: another driver holds the run; the message says which.
    """

    folder: Path
    say: Callable[[str], None] = lambda _: None
    """Shows a sentence to the user."""
    lost: bool = False
    """Whether another driver took it: of a file system without locks, when this one was silent for long."""
    _descriptor: int = -1
    _by_file: bool = False
    _beats: int = 0
    _since: float = field(default_factory=time.time)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def _file(self) -> Path:
        return self.folder / ("lock.held" if self._by_file else "lock")

    def __enter__(self) -> Self:
        self._descriptor = self._taken()
        self._beat()
        self._thread = threading.Thread(target=self._go_on_beating, name="lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            if not self._by_file:
                os.truncate(self._descriptor, 0)
            elif not self._is_lost():
                self._file.unlink()
        os.close(self._descriptor)

    def _taken(self) -> int:
        """Take the lock, and return the file that names its holder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"A run directory is a folder that can be written; {shown(self.folder)} is not: {cause(error)}."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = self._holder()
            if holder and holder.get("host") != socket.gethostname():
                self._refuse_living(holder)
        except OSError as error:
            os.close(descriptor)
            if error.errno in HELD:
                raise self._refusal(self._holder()) from error
            return self._file_instead(error)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _file_instead(self, error: OSError) -> int:
        """Make ``lock.held``, which one process can; put one of a dead driver out of the way first."""
        self.say(
            f"The file system of {shown(self.folder)} carries no locks ({cause(error)}): a file in it, lock.held, "
            "keeps a second driver away."
        )
        self._by_file = True
        for _ in range(3):
            with contextlib.suppress(FileExistsError):
                return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            seen = self._content()
            self._refuse_living(self._holder())
            self._put_away(seen)
        raise RunError(f"A run has one driver; others take the lock of {shown(self.folder)} at this moment.")

    def _put_away(self, seen: bytes) -> None:
        """Take the file of a dead driver away, unless it is another one's by now."""
        away = self.folder / f"lock.{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            self._file.rename(away)
            if away.read_bytes() != seen and not self._file.exists():
                away.rename(self._file)
            away.unlink()

    def _refuse_living(self, holder: dict[str, Any]) -> None:
        """Raise a RunError if a holder of this host runs, or one of another gives signs of life."""
        if holder.get("boot", "?") == boot() and holder.get("host") == socket.gethostname() and runs(holder):
            raise self._refusal(holder)
        fresh = self._seconds_since_sign()
        if -1.0 <= fresh < FRESH_SECONDS:  # file systems round what they write down
            again = f"If that driver is dead, try again in {FRESH_SECONDS - fresh:.0f} s."
            raise self._refusal(holder, f", which wrote a sign of life {max(fresh, 0.0):.0f} s ago. {again}")
        self.say(
            f"The last driver of {shown(self.folder)} was {named(holder)} and did not give the run back; looking for "
            f"signs of its life ({WATCH_SECONDS:.0f} s) ..."
        )
        before, until = self._signs(), time.monotonic() + WATCH_SECONDS
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            if self._signs() != before:
                raise self._refusal(holder, ", which writes signs of life")

    def _seconds_since_sign(self) -> float:
        """Return how old the status is, by the clock of the file system if it has one of its own, s."""
        try:
            written = (self.folder / "status.json").stat().st_mtime
            probe = self.folder / "lock"
            probe.touch()
            return probe.stat().st_mtime - written
        except OSError:
            return -math.inf

    def _signs(self) -> tuple[bytes, bytes]:
        """Return what a living holder changes; files are read, as attributes may be remembered for a minute."""
        status = b""
        with contextlib.suppress(OSError):
            status = (self.folder / "status.json").read_bytes()
        return self._content(), status

    def _content(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError:
            return b""

    def _holder(self) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            found = json.loads(self._content())
            if isinstance(found, dict):
                return found
        return {}

    def _refusal(self, holder: dict[str, Any], sign: str = "") -> RunError:
        return RunError(f"A run has one driver; {shown(self.folder)} is driven by {named(holder)}{sign or '.'}")

    def _go_on_beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self.lost = self.lost or (self._by_file and self._is_lost())
            with contextlib.suppress(OSError):  # a full disk; the next beat may get through
                self._beat()

    def _beat(self) -> None:
        """Write who holds the lock, and a count: always as many bytes, so that a reader finds no half of one."""
        self._beats += 1
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid()), "boot": boot()}
        text = json.dumps({**holder, "since": round(self._since, 3), "beats": f"{self._beats:012d}"}).encode()
        os.pwrite(self._descriptor, text, 0)
        os.truncate(self._descriptor, len(text))

    def _is_lost(self) -> bool:
        try:
            return self._file.stat().st_ino != os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return True
        except OSError:
            return False


def named(holder: dict[str, Any]) -> str:
    """Return a holder in words."""
    return f"process {holder['pid']} on {holder.get('host', '?')}" if "pid" in holder else "an unknown process"


def runs(holder: dict[str, Any]) -> bool:
    """Say whether a process of this host runs, and is the one that it was."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started(pid) == holder.get("started")


def started(pid: int) -> str:
    """Return when a process started, in the kernel's count; empty where that is not told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def boot() -> str:
    """Return what tells one start of this host from another, and from other hosts of its name; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
