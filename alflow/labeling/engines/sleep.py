"""An engine for benchmarks and rehearsals: labels that take a given time, and fail in given ways.

The model behind it is smooth and cheap, and its molecules hold together and break: each pair of atoms feels a Gaussian
well at the sum of their covalent radii and an exponential repulsion, which keeps second neighbours apart,

    E = sum_{i<j} [ A exp(-r_ij / rho) - D exp(-((r_ij - r0_ij) / w)^2) ]

with D = `WELL_EV`, w = `WIDTH_ANGSTROM`, A = `REPULSION_EV`, rho = `RANGE_ANGSTROM`. It describes no real molecule.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from statistics import NormalDist

import numpy as np
from ase.data import covalent_radii

from alflow.errors import LabelError
from alflow.labeling.frames import theory_hash
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.types import Composition, Evaluation, FloatArray, IntArray

WELL_EV = 4.0
WIDTH_ANGSTROM = 0.35
REPULSION_EV = 20.0
RANGE_ANGSTROM = 0.5
MODEL_VERSION = 1
TIMES = {"seconds_per_label", "slow_share", "slow_seconds", "log_spread", "busy"}
"""Settings that say how long a label takes, and nothing of what it is."""
SLOW_SEED = -2
"""Draws which labels are slow: others than those that fail."""
TIME_SEED = -3
"""Draws how long a label takes."""
ABSURD_EV = -2000.0
"""Of an outlier: no sane label of an organic molecule, yet within the bounds of any theory."""


class SleepEngine:
    """Sleeps, and returns the energy and forces of the model above or the failure that the structure is due."""

    def __init__(self, settings: SleepSettings) -> None:
        self._settings = settings

    @property
    def theory(self) -> str:
        """Fingerprint of the model and of all settings that decide who fails."""
        settings = self._settings.model_dump(mode="json", exclude=TIMES)
        return theory_hash({"engine": "sleep", "model": MODEL_VERSION, **settings})

    def compute(
        self,
        composition: Composition,
        positions: FloatArray,
        start: FloatArray | None = None,  # noqa: ARG002 - always a cold start
    ) -> Evaluation:
        """Return energy and forces of one structure, or fail.

        Args:
            composition: of A atoms; the model has no electrons.
            positions: (A, 3) Å.
            start: not used.

        Raises:
            LabelError: the structure is one that does not converge.
            ValueError: it is one at which the engine fails.
            MemoryError: it is one that eats memory.
        """
        fate = fate_of(self._settings, positions)
        if fate not in ("", "nan", "outlier"):
            _fail(fate, positions, self._settings.eat_memory_gb)
        _wait(seconds_of(self._settings, positions), self._settings.busy)
        energy, forces = pair_model(composition.numbers, positions)
        return Evaluation({"nan": float("nan"), "outlier": ABSURD_EV}.get(fate, energy), forces)


def pair_model(numbers: IntArray, positions: FloatArray) -> tuple[float, FloatArray]:
    """Return energy (eV) and forces (A, 3) in eV/Å of the model above at (A, 3) Å."""
    i, j = np.triu_indices(len(numbers), k=1)
    vectors = positions[i] - positions[j]
    distances = np.sqrt((vectors**2).sum(axis=1))
    stretch = distances - (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
    repulsion = REPULSION_EV * np.exp(-distances / RANGE_ANGSTROM)
    well = WELL_EV * np.exp(-((stretch / WIDTH_ANGSTROM) ** 2))
    slope = -repulsion / RANGE_ANGSTROM + well * 2.0 * stretch / WIDTH_ANGSTROM**2
    pull = -(slope / distances)[:, None] * vectors
    forces = np.zeros_like(positions)
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return float(repulsion.sum() - well.sum()), forces


def seconds_of(settings: SleepSettings, positions: FloatArray) -> float:
    """Return how long the label of (A, 3) Å takes, s."""
    may_be_slow = settings.slow_share > 0.0 and _extent(positions) > settings.beyond_angstrom
    if may_be_slow and _draw(SLOW_SEED, positions) < settings.slow_share:
        return settings.slow_seconds
    return settings.seconds_per_label * time_factor(settings, positions)


def fate_of(settings: SleepSettings, positions: FloatArray) -> str:
    """Say how the label of (A, 3) Å fails; empty if it does not."""
    shares = settings.shares()
    if not any(shares.values()) or _extent(positions) <= settings.beyond_angstrom:
        return ""
    draw = _draw(settings.seed, positions)
    for name, share in shares.items():
        if draw < share:
            return name
        draw -= share
    return ""


def time_factor(settings: SleepSettings, positions: FloatArray) -> float:
    """Return how many times the median the label of (A, 3) Å takes: lognormal, and the same at every try."""
    if not settings.log_spread:
        return 1.0
    draw = max(_draw(TIME_SEED, positions), 2.0**-56)
    return math.exp(settings.log_spread * NormalDist().inv_cdf(draw))


def _extent(positions: FloatArray) -> float:
    """Return the largest distance between two atoms of (A, 3) Å."""
    return float(np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(axis=-1).max()))


def _draw(seed: int, positions: FloatArray) -> float:
    """Return a number in [0, 1) that depends on the coordinates, to 1e-6 Å, and on the seed alone."""
    text = f"{seed}".encode() + np.round(positions * 1e6).astype(np.int64).tobytes()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big") / 2**56


def _fail(fate: str, positions: FloatArray, gigabytes: float) -> None:
    if fate == "hang":
        while True:
            time.sleep(3600.0)
    if fate == "crash" and _draw(-1, positions) < 0.5:
        os.kill(os.getpid(), signal.SIGSEGV)
    if fate == "crash":
        os.abort()
    if fate == "not_converged":
        raise LabelError("not-converged", "The structure is one of those that do not converge.")
    if fate == "eat_memory":
        _eat_memory(gigabytes)
    raise ValueError("the structure is one of those at which the engine fails")


def _eat_memory(gigabytes: float) -> None:
    eaten = np.empty(int(gigabytes * 1e9 / 8))  # refused at once where there is a limit
    eaten.fill(1.0)
    raise MemoryError(f"{eaten.nbytes / 1e9:.1f} GB were taken and not enough")


def _wait(seconds: float, busy: bool) -> None:
    if not busy:
        time.sleep(seconds)
        return
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
