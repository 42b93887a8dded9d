"""What all label engines share: the loop over frames, the checks before and after, the theory's fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
import socket
import time
from collections.abc import Mapping

import numpy as np
from pydantic import JsonValue

from alflow.errors import LabelError
from alflow.labeling.protocol import LabelEngine
from alflow.structures import closest_pair
from alflow.types import Evaluation, FloatArray, Frames, IntArray, LabelBatch, LabelFailure, Labels

CLOSEST_ANGSTROM = 0.5
"""No engine is asked for two atoms closer than this: no jittered or broken molecule has them, and engines misbehave."""


def label_frames(engine: LabelEngine, frames: Frames) -> LabelBatch:
    """Compute every frame by itself; what cannot be labelled becomes a failure, never an exception.

    An exception of the engine other than `LabelError` is the failure "engine-error" with its text.
    """
    host = socket.gethostname()
    evaluations: dict[int, Evaluation] = {}
    failures: list[LabelFailure] = []
    seconds = np.zeros(len(frames))
    cycles = np.full(len(frames), -1, dtype=np.int64)
    for row, positions in enumerate(frames.positions):
        began = time.perf_counter()
        try:
            evaluations[row] = compute_checked(engine, frames.numbers, positions, frames.charge)
            cycles[row] = evaluations[row].cycles
        except LabelError as error:
            failures.append(LabelFailure(row, error.reason, error.detail, host))
        except Exception as error:  # noqa: BLE001 - whatever an engine throws is data
            failures.append(LabelFailure(row, "engine-error", f"{type(error).__name__}: {error}", host))
        seconds[row] = time.perf_counter() - began
    rows = np.array(list(evaluations), dtype=np.int64)
    return LabelBatch(rows, _labels(list(evaluations.values()), len(frames.numbers)), tuple(failures), seconds, cycles)


def _labels(evaluations: list[Evaluation], atoms: int) -> Labels:
    energies = np.array([evaluation.energy for evaluation in evaluations], dtype=np.float64)
    forces = np.array([evaluation.forces for evaluation in evaluations], dtype=np.float64)
    return Labels(energies, forces.reshape(len(evaluations), atoms, 3))


def compute_checked(engine: LabelEngine, numbers: IntArray, positions: FloatArray, charge: int = 0) -> Evaluation:
    """Compute one structure that is plausible, and return only a result that is finite.

    Raises:
        LabelError: "implausible-structure", "not-finite", or what the engine says.
    """
    require_plausible(positions)
    evaluation = engine.compute(numbers, positions, charge)
    if not math.isfinite(evaluation.energy) or not np.isfinite(evaluation.forces).all():
        raise LabelError("not-finite", "An energy and forces must be finite numbers; the engine returned others.")
    return evaluation


def require_plausible(positions: FloatArray, closest_angstrom: float = CLOSEST_ANGSTROM) -> None:
    """Refuse a geometry that no engine should be asked for.

    Args:
        positions: (A, 3) Å.
        closest_angstrom: least allowed distance of two atoms, Å.

    Raises:
        LabelError: "implausible-structure".
    """
    if not np.isfinite(positions).all():
        raise LabelError("implausible-structure", "Coordinates must be finite numbers; some are not.")
    distance, first, second = closest_pair(positions)
    if distance < closest_angstrom:
        raise LabelError(
            "implausible-structure",
            f"Two atoms must be at least {closest_angstrom:g} Å apart; atoms {first} and {second} are "
            f"{distance:.3f} Å apart.",
        )


def theory_hash(parts: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 (hexadecimal) of everything that changes an engine's numbers, whatever the order of keys."""
    text = json.dumps(dict(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
