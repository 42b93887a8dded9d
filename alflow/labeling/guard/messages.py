"""Messages between a guarded engine and its child, as bytes on pipes.

A message is ``length (uint32), kind (uint8), payload``, little-endian; an array is ``ndim (uint8), shape (int64 each),
float64 values``. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from enum import IntEnum

import numpy as np

from alflow.types import Composition, Evaluation, FloatArray

_HEADER = struct.Struct("<IB")
_SCALARS = struct.Struct("<ddq")
_NO_ARRAY = 0xFF


class Kind(IntEnum):
    """What a message is."""

    READY = 0
    """The engine is made; payload: its theory."""
    REFUSED = 1
    """The engine cannot be made; payload: a sentence."""
    EVALUATION = 2
    FAILURE = 3
    """Payload: JSON list of reason and detail."""
    REQUEST = 4


class EndedError(Exception):
    """The other end of the pipe is closed."""


class LateError(Exception):
    """The message is not complete in time."""


def send(descriptor: int, kind: Kind, payload: bytes) -> None:
    """Write one message.

    Raises:
        EndedError: the other end of the pipe is closed.
    """
    view = memoryview(_HEADER.pack(len(payload), kind) + payload)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BrokenPipeError as error:
        raise EndedError from error


def receive(descriptor: int, timeout_s: float | None = None) -> tuple[Kind, bytes]:
    """Return kind and payload of the next message.

    Raises:
        EndedError: the other end of the pipe is closed.
        LateError: the message is not complete in time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    buffer, wanted = bytearray(), _HEADER.size
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(buffer) < wanted:
        if deadline is not None and not poll.poll(max(0.0, deadline - time.monotonic()) * 1000.0):
            raise LateError
        part = os.read(descriptor, 1 << 16)
        if not part:
            raise EndedError
        buffer += part
        if len(buffer) >= _HEADER.size:
            wanted = _HEADER.size + _HEADER.unpack_from(buffer)[0]
    return Kind(_HEADER.unpack_from(buffer)[1]), bytes(buffer[_HEADER.size : wanted])


def is_closed(descriptor: int) -> bool:
    """Say whether the other end of a pipe that is read from is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def pack_array(array: FloatArray | None) -> bytes:
    """Return an array as bytes."""
    if array is None:
        return bytes([_NO_ARRAY])
    values = np.ascontiguousarray(array, dtype=np.float64)
    return struct.pack(f"<B{values.ndim}q", values.ndim, *values.shape) + values.tobytes()


def unpack_array(payload: bytes, offset: int) -> tuple[FloatArray | None, int]:
    """Return the array at an offset, and the offset behind it."""
    dimensions = payload[offset]
    if dimensions == _NO_ARRAY:
        return None, offset + 1
    shape = struct.unpack_from(f"<{dimensions}q", payload, offset + 1)
    offset += 1 + 8 * dimensions
    count = int(np.prod(shape, dtype=np.int64))
    values = np.frombuffer(payload, dtype=np.float64, count=count, offset=offset).reshape(shape).copy()
    return values, offset + 8 * count


def pack_request(composition: Composition, positions: FloatArray, start: FloatArray | None) -> bytes:
    """Return the arguments of `LabelEngine.compute` as bytes."""
    head = struct.pack("<qqq", composition.charge, composition.multiplicity, len(composition))
    return head + composition.numbers.tobytes() + pack_array(positions) + pack_array(start)


def unpack_request(payload: bytes) -> tuple[Composition, FloatArray, FloatArray | None]:
    """Return the arguments of `LabelEngine.compute`."""
    charge, multiplicity, atoms = struct.unpack_from("<qqq", payload)
    numbers = np.frombuffer(payload, dtype=np.int64, count=atoms, offset=24)
    positions, offset = unpack_array(payload, 24 + 8 * atoms)
    start, _ = unpack_array(payload, offset)
    assert positions is not None
    return Composition(numbers, charge, multiplicity), positions, start


def pack_evaluation(evaluation: Evaluation) -> bytes:
    """Return an evaluation as bytes."""
    head = _SCALARS.pack(evaluation.energy, evaluation.spread, evaluation.cycles)
    told = json.dumps(dict(evaluation.diagnostics)).encode()
    return head + pack_array(evaluation.forces) + pack_array(evaluation.start) + told


def unpack_evaluation(payload: bytes) -> Evaluation:
    """Return the evaluation."""
    energy, spread, cycles = _SCALARS.unpack_from(payload)
    forces, offset = unpack_array(payload, _SCALARS.size)
    start, offset = unpack_array(payload, offset)
    assert forces is not None
    return Evaluation(energy, forces, spread, start, cycles, json.loads(payload[offset:]))
