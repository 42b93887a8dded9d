"""A label engine in a process of its own: what hangs, crashes or takes all memory ends one label, not its worker.

The engine's process is a fork of a fresh interpreter (`guardchild`), so it can be had from a thread as well as from a
process. It dies with the one that started it, and is the first that the kernel ends when memory is short.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from pydantic import JsonValue

from alflow.errors import FAILURE_REASONS, FailureReason, InputError, LabelError
from alflow.labeling.guard.messages import (
    EndedError,
    Kind,
    LateError,
    is_closed,
    pack_request,
    receive,
    send,
    unpack_evaluation,
)
from alflow.types import Evaluation, FloatArray, IntArray

START_TIMEOUT_S = 600.0
"""Longest time that importing and making an engine may take, s (a cold parallel file system is slow)."""
END_TIMEOUT_S = 10.0
TOLD_CHARACTERS = 400
"""Of what an engine said to stderr before it crashed."""


class GuardedEngine:
    """A label engine that runs in a child process. For one thread at a time.

    The child is made with the engine, and anew at the next structure after one that ended it.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, JsonValue],
        timeout_s: float = 600.0,
        memory_limit_gb: float | None = None,
    ) -> None:
        """Start the child.

        Args:
            name: of the engine, as in the campaign file.
            settings: of the engine.
            timeout_s: longest time of one structure, s.
            memory_limit_gb: largest address space of the child, GB; None for no limit.

        Raises:
            InputError: the engine cannot be made.
        """
        self._name = name
        self._timeout = timeout_s
        self._memory_limit_gb = memory_limit_gb
        self._order = {"engine": name, "settings": dict(settings), "memory_limit_gb": memory_limit_gb}
        self._nursery: _Nursery | None = None
        self._child: _Child | None = None
        self._theory = ""
        self._start()

    @property
    def theory(self) -> str:
        """Fingerprint of the engine in the child."""
        return self._theory

    def compute(
        self, numbers: IntArray, positions: FloatArray, charge: int = 0, start: FloatArray | None = None
    ) -> Evaluation:
        """Return what the engine returns for one structure.

        Args:
            numbers: (A,) atomic numbers.
            positions: (A, 3) Å.
            charge: total charge.
            start: see `Evaluation.start`.

        Raises:
            LabelError: what the engine says; "timeout", "out-of-memory" or "engine-crash" if it ends the child;
                "engine-error" for any other exception of the engine.
        """
        child = self._running()
        try:
            send(child.requests, Kind.REQUEST, pack_request(numbers, positions, charge, start))
            kind, payload = receive(child.answers, self._timeout)
        except LateError:
            self._end_child()
            raise LabelError(
                "timeout",
                f"A label may take {self._timeout:g} s (labels.timeout_s); {self._name} had not ended by then.",
            ) from None
        except EndedError:
            raise self._crash(child) from None
        except BaseException:  # Ctrl-C: the answer that is on its way would be taken for the next structure's
            self._end_child()
            raise
        if kind == Kind.EVALUATION:
            return unpack_evaluation(payload)
        reason, detail = json.loads(payload)
        if reason == "out-of-memory":
            self._end_child()
        raise LabelError(_listed(reason), detail)

    def close(self) -> None:
        """End all processes; the next structure starts others."""
        self._end_child()
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()

    def _running(self) -> _Child:
        """Return the child; start one where there is none or it went away between two structures."""
        if self._child is not None and not is_closed(self._child.answers):
            return self._child
        self._end_child()
        try:
            return self._start()
        except InputError as error:
            raise LabelError("engine-crash", f"After a crash the engine could not be made again: {error}") from error

    def _start(self) -> _Child:
        if self._nursery is None or not self._nursery.alive():
            self._nursery = _Nursery(self._order)
        try:
            child = self._child = self._nursery.start_child()
            kind, payload = receive(child.answers, START_TIMEOUT_S)
        except (EndedError, LateError) as error:
            said = self._nursery.last_words()
            self.close()
            raise InputError(f"The label engine {self._name!r} must start; it did not. {said}".strip()) from error
        if kind == Kind.REFUSED:
            self.close()
            raise InputError(payload.decode())
        self._theory = payload.decode()
        return child

    def _end_child(self) -> int | None:
        """Kill the child and what it started; return how it ended."""
        child, self._child = self._child, None
        return child.end() if child is not None else None

    def _crash(self, child: _Child) -> LabelError:
        """Say how the child ended."""
        said = child.nursery.last_words()
        code = self._end_child()
        by_kernel = code == -signal.SIGKILL and _kernel_kills() > child.kernel_kills
        if by_kernel or _speaks_of_memory(said):
            limit = f"{self._memory_limit_gb:g} GB" if self._memory_limit_gb else "what the node has"
            return LabelError("out-of-memory", f"A label may take {limit}; {self._name} wanted more. {said}".strip())
        return LabelError("engine-crash", f"{self._name} ended its process: {_manner(code)}. {said}".strip())


class _Nursery:
    """The interpreter that has imported the engine and forks children."""

    def __init__(self, order: Mapping[str, object]) -> None:
        self._socket, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the process
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, "-m", "alflow.labeling.guard.child", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
            )
        self.close = weakref.finalize(self, _end_process, self._process, self._socket, self._said)
        text = json.dumps(order).encode()
        with contextlib.suppress(OSError):
            self._socket.sendall(len(text).to_bytes(8, "little") + text)

    def alive(self) -> bool:
        return bool(self.close.alive) and self._process.poll() is None

    def start_child(self) -> _Child:
        """Return a new child, which makes its engine."""
        self._said.truncate(0)
        self._said.seek(0)
        self._socket.settimeout(START_TIMEOUT_S)
        try:
            self._socket.sendall(b"s")
            pid, pipes, _, _ = socket.recv_fds(self._socket, 8, 2)
        except OSError as error:
            raise EndedError from error
        if len(pipes) != 2:
            raise EndedError
        return _Child(self, int.from_bytes(pid, "little"), *pipes)

    def wait_for(self, pid: int) -> int | None:
        """Return the exit code of a child that ends; None where the nursery itself is gone."""
        self._socket.settimeout(END_TIMEOUT_S)
        try:
            self._socket.sendall(b"w" + pid.to_bytes(8, "little"))
            answer = self._socket.recv(8, socket.MSG_WAITALL)
        except OSError:
            self.close()
            return None
        return int.from_bytes(answer, "little", signed=True) if len(answer) == 8 else None

    def last_words(self) -> str:
        """Return the end of what was said to stderr."""
        if self._said.closed:
            return ""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - TOLD_CHARACTERS))
        said = self._said.read().decode(errors="replace")
        self._said.seek(0, os.SEEK_END)
        return " ".join(said.split())


class _Child:
    """A process that computes, and the pipes to it."""

    def __init__(self, nursery: _Nursery, pid: int, requests: int, answers: int) -> None:
        self.nursery, self.pid, self.requests, self.answers = nursery, pid, requests, answers
        self.kernel_kills = _kernel_kills()
        self._close = weakref.finalize(self, _close_pipes, requests, answers)

    def end(self) -> int | None:
        """Kill it and what it started, if it has not ended; return its exit code, negative for a signal."""
        self._close()
        if not self.nursery.alive():
            return None
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        return self.nursery.wait_for(self.pid)


def _close_pipes(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _end_process(process: subprocess.Popen[bytes], control: socket.socket, said: IO[bytes]) -> None:
    control.close()
    process.kill()
    process.wait()
    said.close()


def _listed(reason: str) -> FailureReason:
    return cast("FailureReason", reason) if reason in FAILURE_REASONS else "engine-error"


def _manner(code: int | None) -> str:
    if code is None:
        return "how is not known"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _kernel_kills() -> int:
    """Return how many processes the kernel has ended for want of memory on this host; 0 where it does not count."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _speaks_of_memory(text: str) -> bool:
    signs = ("MemoryError", "bad_alloc", "Cannot allocate memory", "insufficient virtual memory")
    return any(sign in text for sign in signs)
