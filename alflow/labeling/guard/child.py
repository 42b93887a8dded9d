"""The processes behind a guarded engine: one that has imported everything, and its forks, one of which computes.

``python -m alflow.labeling.guard.child SOCKET PARENT`` imports the engine, then does what it reads from the socket:
``s`` starts a fork with an engine of its own and hands its pid and pipes back; ``w`` and a pid waits for that fork and
returns its status. A fork costs milliseconds where a fresh interpreter costs a second. The engine is made after the
fork, so no thread, open file or device crosses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from alflow.config.plugins import ENGINES, find
from alflow.errors import AlflowError, InputError, LabelError
from alflow.labeling import launch, make_engine
from alflow.labeling.engines.folders import remove
from alflow.labeling.frames import own_words, sound
from alflow.labeling.guard.messages import EndedError, Kind, pack_evaluation, receive, send, unpack_request
from alflow.labeling.guard.parent_death import adopt_orphans, end_children, end_with_parent
from alflow.labeling.protocol import LabelEngine

PID = struct.Struct("<q")
_FIRST_TO_END = "500"
"""Added to the kernel's score of whom to end when memory is short: a label rather than its worker."""


def main() -> None:
    """Serve the socket until it closes, or the one that started this is gone; then nothing stays behind."""
    control, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent(parent, by=signal.SIGTERM)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order: dict[str, Any] = {}
    try:
        length = PID.unpack(control.recv(PID.size, socket.MSG_WAITALL))[0]
        order = json.loads(control.recv(length, socket.MSG_WAITALL))
        with contextlib.suppress(ImportError, InputError):  # the fork says what is missing
            for module in find(ENGINES, order["engine"]).forks():
                import_module(module)
        serve(control, order)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_children()
        if order.get("work") and os.getppid() != parent:
            remove(Path(order["work"]))


def _leave(*_: object) -> None:
    raise SystemExit(0)


def serve(control: socket.socket, order: Mapping[str, Any]) -> None:
    """Start a fork, or wait for one that ends, as the socket says."""
    while command := control.recv(1):
        if command == b"s":
            start_fork(control, order)
        else:
            pid = PID.unpack(control.recv(PID.size, socket.MSG_WAITALL))[0]
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            end_children()
            control.sendall(PID.pack(status))


def start_fork(control: socket.socket, order: Mapping[str, Any]) -> None:
    """Fork, and hand the pid and the far ends of two pipes back."""
    request_end, requests = os.pipe()
    answers, answer_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        os.close(requests)
        os.close(answers)
        try:
            compute_until_closed(request_end, answer_end, order, parent)
        finally:
            os._exit(0)
    os.close(request_end)
    os.close(answer_end)
    socket.send_fds(control, [PID.pack(pid)], [requests, answers])
    os.close(requests)
    os.close(answers)


def compute_until_closed(requests: int, answers: int, order: Mapping[str, Any], parent: int) -> None:
    """Make the engine, and answer one request after another until the pipe closes."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)
    _silence()
    _limit(order["memory_limit_gb"])
    launch.settle()
    try:
        engine = make_engine(order["engine"], order["settings"], Path(order["work"]) if order["work"] else None)
        send(answers, Kind.READY, engine.theory.encode())
    except AlflowError as error:
        send(answers, Kind.REFUSED, str(error).encode())
        return
    except Exception as error:  # noqa: BLE001 - told to the worker, who knows what to do
        send(answers, Kind.REFUSED, f"The engine {order['engine']!r} failed: {type(error).__name__}: {error}".encode())
        return
    own = os.getpid()
    try:
        while True:
            said = answer(engine, receive(requests)[1])
            if os.getpid() != own:  # a fork of the engine's that came back must not answer, too
                return
            send(answers, *said)
    except EndedError:
        getattr(engine, "close", lambda: None)()  # an engine that keeps a process ends it, and its files


def answer(engine: LabelEngine, request: bytes) -> tuple[Kind, bytes]:
    """Compute one structure."""
    composition, positions, start = unpack_request(request)
    try:
        evaluation = engine.compute(composition, positions, start)
        return Kind.EVALUATION, pack_evaluation(sound(evaluation, composition.numbers))
    except LabelError as error:
        failure = error
    except BaseException as error:  # noqa: BLE001 - whatever an engine throws is data, an exit of the interpreter too
        failure = own_words(error)
    finally:
        signal.alarm(0)  # an alarm that an engine leaves would end the next label
    return Kind.FAILURE, json.dumps([failure.reason, failure.detail]).encode()


def _silence() -> None:
    """Take stdin and stdout away from the engine; what it prints would be lost in the logs of thousands of others."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _limit(gigabytes: float | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END, encoding="ascii")
    if gigabytes is not None:
        size = int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main()
