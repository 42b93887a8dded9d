"""Labels of frames by any engine: the loop over frames, the checks before and after, the theory's fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from pydantic import JsonValue

from alflow.errors import AlflowError, LabelError
from alflow.labeling.bounds import label_fault
from alflow.labeling.protocol import LabelEngine
from alflow.structures import closest_pair
from alflow.types import Composition, Evaluation, FloatArray, Frames, IntArray, LabelBatch, LabelFailure, Labels

CLOSEST_ANGSTROM = 0.5
"""No engine is asked for two atoms closer than this: no jittered or broken molecule has them, and engines misbehave."""
FARTHEST_ANGSTROM = 1e7
"""No coordinate is larger: beyond, too few digits are left for the distances."""
HEAVIEST_ELEMENT = 118
LONGEST_TEXT = 4000
"""Characters that are kept of what an exception says."""


def label_frames(engine: LabelEngine, frames: Frames) -> LabelBatch:
    """Compute every frame by itself; what cannot be labelled becomes a failure, never an exception."""
    host = socket.gethostname()
    evaluations: dict[int, Evaluation] = {}
    failures: list[LabelFailure] = []
    seconds = np.zeros(len(frames))
    cycles = np.full(len(frames), -1, dtype=np.int64)
    diagnostics: list[Mapping[str, float]] = [{} for _ in range(len(frames))]
    for row, positions in enumerate(frames.positions):
        began = time.perf_counter()
        try:
            evaluations[row] = compute_checked(engine, frames.composition, positions)
            cycles[row], diagnostics[row] = evaluations[row].cycles, evaluations[row].diagnostics
        except LabelError as error:
            failures.append(LabelFailure(row, error.reason, error.detail, host))
        except AlflowError as error:  # parameters that are missing, and the like
            failures.append(LabelFailure(row, "engine-error", told(error), host))
        seconds[row] = time.perf_counter() - began
    rows = np.array(list(evaluations), dtype=np.int64)
    labels, told_of = _labels(list(evaluations.values()), len(frames.numbers)), tuple(diagnostics)
    return LabelBatch(rows, labels, tuple(failures), seconds, cycles, told_of if any(told_of) else ())


def _labels(evaluations: list[Evaluation], atoms: int) -> Labels:
    energies = np.array([evaluation.energy for evaluation in evaluations], dtype=np.float64)
    forces = np.array([evaluation.forces for evaluation in evaluations], dtype=np.float64)
    return Labels(energies, forces.reshape(len(evaluations), atoms, 3))


def compute_checked(engine: LabelEngine, composition: Composition, positions: FloatArray) -> Evaluation:
    """Compute one structure that is plausible, and return only a result that can be a label.

    Raises:
        LabelError: "implausible-structure" or "unknown-element", what the engine says, or what `sound` and
            `own_words` say of the result and of any other exception.
        AlflowError: the engine cannot work at all (parameters that are missing).
    """
    require_elements(composition.numbers)
    require_plausible(positions)
    try:
        evaluation = engine.compute(composition, positions)
    except AlflowError:
        raise
    except (Exception, SystemExit) as error:  # whatever an engine throws is data
        raise own_words(error) from error
    return sound(evaluation, composition.numbers)


def own_words(error: BaseException) -> LabelError:
    """Return the failure that stands for an exception that an engine did not mean: its type and text."""
    if isinstance(error, MemoryError):
        return LabelError("out-of-memory", f"The engine wanted more memory than it may take. {error}".strip())
    return LabelError("engine-error", told(error))


def told(error: BaseException) -> str:
    """Return type and text of an exception: of any length at most `LONGEST_TEXT`, and nothing that is no text."""
    try:
        text = f"{type(error).__name__}: {error}".rstrip(": ").replace("\0", "")
    except Exception:  # noqa: BLE001 - an exception of someone else's that cannot be printed
        text = type(error).__name__
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[: LONGEST_TEXT // 2]} ... {text[-LONGEST_TEXT // 2 :]}"


def sound(evaluation: Evaluation, numbers: IntArray) -> Evaluation:
    """Return what an engine gave as a number and an (A, 3) array, if it can be a label.

    Args:
        evaluation: of an engine, which may hold anything in the place of numbers.
        numbers: (A,) atomic numbers.

    Raises:
        LabelError: "engine-error" where the energy is no real number or the forces are no (A, 3) real numbers;
            "not-finite"; "implausible-label" beyond the bounds of `alflow.labeling.bounds`.
    """
    energies = real_numbers("energy", evaluation.energy)
    if energies.size != 1:
        raise LabelError("engine-error", f"An energy must be one number; found an array of shape {energies.shape}.")
    energy, forces = float(energies.ravel()[0]), real_numbers("forces", evaluation.forces)
    if forces.shape != (len(numbers), 3):
        raise LabelError(
            "engine-error",
            f"The forces on {len(numbers)} atoms must have the shape ({len(numbers)}, 3); found {forces.shape}.",
        )
    if not np.isfinite(energy) or not np.isfinite(forces).all():
        raise LabelError("not-finite", "An energy and forces must be finite numbers; the engine returned others.")
    if fault := label_fault(numbers, energy, forces):
        raise LabelError("implausible-label", fault)
    return replace(evaluation, energy=energy, forces=forces, diagnostics=_diagnostics(evaluation.diagnostics))


def _diagnostics(given: object) -> dict[str, float]:
    """Return those that are finite numbers: what an engine tells besides never costs a label."""
    found = {}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if np.isfinite(number := float(value)):
                found[str(name)] = number
    return found


def real_numbers(what: str, given: object) -> FloatArray:
    """Return a number or an array of any shape as float64.

    Raises:
        LabelError: "engine-error": it is missing, or holds truth values, text, complex numbers or other objects.
    """
    if given is None:
        raise LabelError("engine-error", f"The engine returned no {what}.")
    try:
        values = np.asarray(given)
    except Exception as error:  # ragged lists, arrays of a device
        raise LabelError("engine-error", f"{what}: real numbers were expected; {told(error)}") from error
    if np.ma.is_masked(given) or values.dtype.kind not in "fiu":
        raise LabelError(
            "engine-error", f"{what}: real numbers were expected; found {type(given).__name__} of {values.dtype}."
        )
    return np.array(values, dtype=np.float64)


def require_elements(numbers: IntArray) -> None:
    """Refuse a structure without atoms, or with atoms of no element.

    Args:
        numbers: (A,) atomic numbers.

    Raises:
        LabelError: "implausible-structure" or "unknown-element".
    """
    if not len(numbers):
        raise LabelError("implausible-structure", "A structure must have an atom; there is none.")
    if not 1 <= np.min(numbers) <= np.max(numbers) <= HEAVIEST_ELEMENT:
        found = next(int(number) for number in numbers if not 1 <= number <= HEAVIEST_ELEMENT)
        raise LabelError(
            "unknown-element", f"An element has an atomic number from 1 to {HEAVIEST_ELEMENT}; found {found}."
        )


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
    if np.abs(positions).max() > FARTHEST_ANGSTROM:
        raise LabelError(
            "implausible-structure",
            f"Coordinates must be at most {FARTHEST_ANGSTROM:g} Å, or distances lose their digits; one is "
            f"{np.abs(positions).max():.3g} Å. Move the molecule to the origin.",
        )
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
