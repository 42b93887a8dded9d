"""A worker proves itself before it labels: a known structure must give the known energy, in about the known time."""

from __future__ import annotations

import math
import os
import socket
import time
from dataclasses import dataclass, field

from alflow.errors import CanaryError, LabelError
from alflow.labeling.frames import compute_checked
from alflow.labeling.protocol import LabelEngine
from alflow.types import Composition, FloatArray

TOLERANCE_EV = 1e-6
SLOWEST = 20.0
"""A worker that needs more than this many times the driver's time is taken for broken: one that is merely slower, or
shares its cores, is not."""
NEGLIGIBLE_SECONDS = 0.02
"""Labels quicker than this many seconds are not judged by their time."""
EXPENSIVE_SECONDS = 5.0
"""Time of a label from which on it is measured once."""
TRIES = 3


@dataclass(frozen=True)
class Canary:
    """A structure whose label the driver knows."""

    theory: str
    """Fingerprint of the engine that gave the energy."""
    composition: Composition
    """Of A atoms."""
    positions: FloatArray = field(repr=False)
    """(A, 3) Å."""
    energy: float
    """eV."""
    seconds: float
    """Time of the label on the driver's host, s."""
    tolerance_ev: float = TOLERANCE_EV


def make_canary(
    engine: LabelEngine,
    composition: Composition,
    positions: FloatArray,
    tolerance_ev: float = TOLERANCE_EV,
) -> Canary:
    """Label a structure with the driver's own engine.

    Args:
        engine: the driver's.
        composition: of A atoms.
        positions: (A, 3) Å.
        tolerance_ev: largest difference of the energy on a worker, eV.

    Raises:
        LabelError: the structure cannot be labelled.
    """
    began = time.perf_counter()
    energy = compute_checked(engine, composition, positions).energy
    seconds = time.perf_counter() - began
    if seconds < EXPENSIVE_SECONDS:  # the first of cheap labels is slow by what is loaded and compiled
        began = time.perf_counter()
        compute_checked(engine, composition, positions)
        seconds = time.perf_counter() - began
    return Canary(engine.theory, composition, positions, energy, seconds, tolerance_ev)


def verify(engine: LabelEngine, canary: Canary) -> None:
    """Label the known structure with a worker's engine.

    Raises:
        CanaryError: the energy differs, the label fails, or takes far too long; names the host.
    """
    if engine.theory != canary.theory:
        raise self_test_error(
            f"another theory (fingerprint {engine.theory[:12]}, driver {canary.theory[:12]}): the versions or the "
            "parameter files on that host differ"
        )
    allowed = SLOWEST * max(canary.seconds, NEGLIGIBLE_SECONDS)
    quickest = math.inf
    for _ in range(TRIES):
        quickest = min(quickest, _label_once(engine, canary))
        if quickest <= allowed:
            return
    raise self_test_error(
        f"a label in {quickest:.3g} s that takes the driver {canary.seconds:.3g} s; the limit is {SLOWEST:g} times that"
    )


def _label_once(engine: LabelEngine, canary: Canary) -> float:
    """Return the seconds that the label took."""
    began = time.perf_counter()
    try:
        energy = compute_checked(engine, canary.composition, canary.positions).energy
    except LabelError as error:
        raise self_test_error(f"a failure ({error})") from error
    if abs(energy - canary.energy) > canary.tolerance_ev:
        raise self_test_error(
            f"{energy:.9f} eV, the driver {canary.energy:.9f} eV; they may differ by {canary.tolerance_ev:g} eV"
        )
    return time.perf_counter() - began


def self_test_error(found: str) -> CanaryError:
    """Return the error of a worker that must not label, and what it gave instead of the known label."""
    return CanaryError(
        f"A worker must label a known structure as the driver does; process {os.getpid()} on {socket.gethostname()} "
        f"gave {found}.",
        os.environ.get("PARSL_WORKER_POOL_ID", ""),
    )
