"""A label engine in a process of its own: what hangs, crashes or takes all memory ends one label, not its worker.

The child is a fresh interpreter (``python -m alflow.labeling.guard``), so it can be started from a thread as well as
from a process. It dies with the one that started it, and is the first that the kernel ends when memory is short.

Messages are ``length (uint32), kind (uint8), payload``, little-endian, on two pipes of their own; what the engine
prints to stdout is dropped, the end of what it prints to stderr is told when it crashes. An array is ``ndim (uint8),
shape (int64 each), float64 values``; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
from pydantic import JsonValue

from alflow.errors import FAILURE_REASONS, FailureReason, InputError, LabelError
from alflow.types import Evaluation, FloatArray, IntArray, LabelEngine

START_TIMEOUT_S = 600.0
"""Longest time that importing and making an engine may take, s (a cold parallel file system is slow)."""
KEPT_STDERR_BYTES = 1 << 20
TOLD_STDERR_CHARACTERS = 400

_HEADER = struct.Struct("<IB")
_SCALARS = struct.Struct("<ddq")
_READY, _REFUSED, _EVALUATION, _FAILURE, _REQUEST = range(5)
_PR_SET_PDEATHSIG = 1


class _EndedError(Exception):
    """The child closed its pipe."""


class _LateError(Exception):
    """The child did not answer in time."""


@dataclass(frozen=True)
class _Child:
    """A running child and the pipes to it."""

    process: subprocess.Popen[bytes]
    requests: int
    answers: int
    stderr: IO[bytes]
    kernel_kills: int
    """Processes that the kernel had ended for want of memory when the child began."""


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
        self._child: _Child | None = None
        self._close: Callable[[], object] = lambda: None
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
            _send(child.requests, _REQUEST, _pack_request(numbers, positions, charge, start))
            kind, payload = _receive(child.answers, self._timeout)
        except _LateError:
            self.close()
            raise LabelError(
                "timeout",
                f"A label may take {self._timeout:g} s (labels.timeout_s); {self._name} had not ended by then.",
            ) from None
        except (_EndedError, BrokenPipeError):
            raise self._crash(child) from None
        if kind == _EVALUATION:
            return _unpack_evaluation(payload)
        reason, detail = json.loads(payload)
        if reason == "out-of-memory":
            self.close()
        raise LabelError(_closed(reason), detail)

    def close(self) -> None:
        """End the child; the next structure starts another one."""
        self._child = None
        self._close()

    def _running(self) -> _Child:
        """Return the child; start one where there is none or it went away between two structures."""
        if self._child is not None and self._child.process.poll() is None:
            return self._child
        self.close()
        try:
            return self._start()
        except InputError as error:
            raise LabelError("engine-crash", f"After a crash the engine could not be made again: {error}") from error

    def _start(self) -> _Child:
        child = self._child = _spawn()
        self._close = weakref.finalize(self, _end, child)
        order = json.dumps({**self._order, "parent": os.getpid()}).encode()
        try:
            _send(child.requests, _REQUEST, order)
            kind, payload = _receive(child.answers, START_TIMEOUT_S)
        except (_EndedError, _LateError, BrokenPipeError) as error:
            crash = self._crash(child)
            raise InputError(f"The label engine {self._name!r} must start; it did not: {crash.detail}") from error
        if kind == _REFUSED:
            self.close()
            raise InputError(payload.decode())
        self._theory = payload.decode()
        _shorten(child.stderr)
        return child

    def _crash(self, child: _Child) -> LabelError:
        """Say how the child ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(timeout=5.0)
        code, said = child.process.poll(), _last_words(child.stderr)
        by_kernel = code == -signal.SIGKILL and _kernel_kills() > child.kernel_kills
        self.close()
        if by_kernel or _speaks_of_memory(said):
            limit = f"{self._memory_limit_gb:g} GB" if self._memory_limit_gb else "what the node has"
            return LabelError("out-of-memory", f"A label may take {limit}; {self._name} wanted more. {said}".strip())
        return LabelError("engine-crash", f"{self._name} ended its process: {_manner(code)}. {said}".strip())


def _spawn() -> _Child:
    stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the child
    os.set_blocking(stderr.fileno(), True)
    process = subprocess.Popen(
        [sys.executable, "-m", "alflow.labeling.guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return _Child(process, process.stdin.fileno(), process.stdout.fileno(), stderr, _kernel_kills())


def _end(child: _Child) -> None:
    """Kill the child and what it started, and close the pipes; once is enough, twice does no harm."""
    if child.process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
    for file in (child.process.stdin, child.process.stdout, child.stderr):
        if file is not None:
            file.close()


def _closed(reason: str) -> FailureReason:
    return cast("FailureReason", reason) if reason in FAILURE_REASONS else "engine-error"


def _manner(code: int | None) -> str:
    if code is None:
        return "it closed its pipes and went on"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _kernel_kills() -> int:
    """Return how many processes the kernel has ended for want of memory on this host; 0 where it does not count."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:  # noqa: PTH123 - not a file of ours
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def _speaks_of_memory(text: str) -> bool:
    return any(
        word in text for word in ("MemoryError", "bad_alloc", "Cannot allocate memory", "insufficient virtual memory")
    )


def _last_words(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - TOLD_STDERR_CHARACTERS))
    return " ".join(stderr.read().decode(errors="replace").split())


def _shorten(stderr: IO[bytes]) -> None:
    """Forget what the engine said while it was made."""
    if stderr.seek(0, os.SEEK_END) > KEPT_STDERR_BYTES:
        stderr.truncate(0)


# ---- messages -------------------------------------------------------------------------------------------------------


def _send(descriptor: int, kind: int, payload: bytes) -> None:
    view = memoryview(_HEADER.pack(len(payload), kind) + payload)
    while view:
        view = view[os.write(descriptor, view) :]


def _receive(descriptor: int, timeout_s: float | None = None) -> tuple[int, bytes]:
    """Return kind and payload of the next message.

    Raises:
        _EndedError: the other end is closed.
        _LateError: the message is not complete in time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    buffer = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    wanted = _HEADER.size
    while len(buffer) < wanted:
        if deadline is not None and not poll.poll(max(0.0, deadline - time.monotonic()) * 1000.0):
            raise _LateError
        part = os.read(descriptor, 1 << 16 if deadline is not None else wanted - len(buffer))
        if not part:
            raise _EndedError
        buffer += part
        if len(buffer) >= _HEADER.size:
            wanted = _HEADER.size + _HEADER.unpack_from(buffer)[0]
    return int(_HEADER.unpack_from(buffer)[1]), bytes(buffer[_HEADER.size : wanted])


def _pack_array(array: FloatArray | None) -> bytes:
    if array is None:
        return b"\xff"
    values = np.ascontiguousarray(array, dtype=np.float64)
    return struct.pack(f"<B{values.ndim}q", values.ndim, *values.shape) + values.tobytes()


def _unpack_array(payload: bytes, offset: int) -> tuple[FloatArray | None, int]:
    """Return the array at an offset, and the offset behind it."""
    dimensions = payload[offset]
    if dimensions == 0xFF:
        return None, offset + 1
    shape = struct.unpack_from(f"<{dimensions}q", payload, offset + 1)
    offset += 1 + 8 * dimensions
    count = int(np.prod(shape, dtype=np.int64))
    values = np.frombuffer(payload, dtype=np.float64, count=count, offset=offset).reshape(shape).copy()
    return values, offset + 8 * count


def _pack_request(numbers: IntArray, positions: FloatArray, charge: int, start: FloatArray | None) -> bytes:
    head = struct.pack("<qq", charge, len(numbers)) + np.asarray(numbers, dtype=np.int64).tobytes()
    return head + _pack_array(positions) + _pack_array(start)


def _unpack_request(payload: bytes) -> tuple[IntArray, FloatArray, int, FloatArray | None]:
    charge, atoms = struct.unpack_from("<qq", payload)
    numbers = np.frombuffer(payload, dtype=np.int64, count=atoms, offset=16).copy()
    positions, offset = _unpack_array(payload, 16 + 8 * atoms)
    start, _ = _unpack_array(payload, offset)
    assert positions is not None
    return numbers, positions, charge, start


def _pack_evaluation(evaluation: Evaluation) -> bytes:
    head = _SCALARS.pack(evaluation.energy, evaluation.spread, evaluation.cycles)
    return head + _pack_array(evaluation.forces) + _pack_array(evaluation.start)


def _unpack_evaluation(payload: bytes) -> Evaluation:
    energy, spread, cycles = _SCALARS.unpack_from(payload)
    forces, offset = _unpack_array(payload, _SCALARS.size)
    start, _ = _unpack_array(payload, offset)
    assert forces is not None
    return Evaluation(energy, forces, spread, start, cycles)


# ---- the child ------------------------------------------------------------------------------------------------------


def _serve() -> None:
    """Make the engine that the first message orders, and answer one message after another until the pipe ends."""
    requests, answers = _own_pipes()
    _, order = _receive(requests)
    settings = json.loads(order)
    _die_with(settings["parent"])
    _limit_memory(settings["memory_limit_gb"])
    try:
        engine = _make(settings["engine"], settings["settings"])
        _send(answers, _READY, engine.theory.encode())
    except InputError as error:
        _send(answers, _REFUSED, str(error).encode())
        return
    while True:
        try:
            _, request = _receive(requests)
        except _EndedError:
            return
        _send(answers, *_answer(engine, request))


def _own_pipes() -> tuple[int, int]:
    """Take stdin and stdout away from the engine: what it prints must not be read as an answer."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, answers


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        sys.exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("500")


def _limit_memory(gigabytes: float | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if gigabytes is not None:
        size = int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _make(name: str, settings: Mapping[str, JsonValue]) -> LabelEngine:
    from alflow.config.campaign import ENGINE_SETTINGS  # noqa: PLC0415 - the parent has no use for it
    from alflow.labeling import make_engine  # noqa: PLC0415

    if name not in ENGINE_SETTINGS:
        raise InputError(
            f"A label engine is one of {', '.join(sorted(ENGINE_SETTINGS))}; there is none named {name!r}."
        )
    return make_engine(name, ENGINE_SETTINGS[name].model_validate(settings))


def _answer(engine: LabelEngine, request: bytes) -> tuple[int, bytes]:
    try:
        return _EVALUATION, _pack_evaluation(engine.compute(*_unpack_request(request)))
    except LabelError as error:
        reason, detail = error.reason, error.detail
    except MemoryError as error:
        reason, detail = "out-of-memory", f"The engine wanted more memory than it may take. {error}".strip()
    except Exception as error:  # noqa: BLE001 - whatever an engine throws is data
        reason, detail = "engine-error", f"{type(error).__name__}: {error}"
    return _FAILURE, json.dumps([reason, detail]).encode()


if __name__ == "__main__":
    _serve()
