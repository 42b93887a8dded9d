"""The processes of a guarded engine, seen from the worker: an interpreter that forks, and the fork that computes."""

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
from typing import IO

from alflow.labeling.guard.messages import EndedError

START_TIMEOUT_S = 600.0
"""Longest time that importing and making an engine may take, s (a cold parallel file system is slow)."""
END_TIMEOUT_S = 15.0
TOLD_CHARACTERS = 400
"""Of what an engine said to stderr before it crashed."""


class ForkServer:
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
        """Tell whether the interpreter runs."""
        return bool(self.close.alive) and self._process.poll() is None

    def start_child(self) -> Child:
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
        return Child(self, int.from_bytes(pid, "little"), *pipes)

    def wait_for(self, pid: int) -> int | None:
        """Return the exit code of a child that ends; None where the fork server itself is gone."""
        self._socket.settimeout(END_TIMEOUT_S)
        try:
            self._socket.sendall(b"w" + pid.to_bytes(8, "little"))
            answer = self._socket.recv(8, socket.MSG_WAITALL)
        except OSError:
            self.close()
            return None
        return int.from_bytes(answer, "little", signed=True) if len(answer) == 8 else None

    def stderr_tail(self) -> str:
        """Return the end of what was said to stderr."""
        if self._said.closed:
            return ""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - TOLD_CHARACTERS))
        said = self._said.read().decode(errors="replace")
        self._said.seek(0, os.SEEK_END)
        return " ".join(said.split())


class Child:
    """A process that computes, and the pipes to it."""

    def __init__(self, fork_server: ForkServer, pid: int, requests: int, answers: int) -> None:
        self.fork_server, self.pid, self.requests, self.answers = fork_server, pid, requests, answers
        self.kernel_kills = kernel_kills()
        self._close = weakref.finalize(self, _close_pipes, requests, answers)

    def end(self) -> int | None:
        """End it and what it started, if it has not ended; return its exit code, negative for a signal."""
        self._close()
        if not self.fork_server.alive():
            return None
        # On Linux what it started comes to the fork server, which asks launchers of MPI ranks before it kills.
        for kill in (os.kill,) if sys.platform == "linux" else (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        return self.fork_server.wait_for(self.pid)


def _close_pipes(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _end_process(process: subprocess.Popen[bytes], control: socket.socket, said: IO[bytes]) -> None:
    control.close()
    process.terminate()  # it ends all that its children started, and itself
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said.close()


def kernel_kills() -> int:
    """Return how many processes the kernel has ended for want of memory on this host; 0 where it does not count."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
