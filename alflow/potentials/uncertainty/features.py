"""What tells frames apart in the eyes of an ensemble, and how firmly its energy is held there. F frames, N features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from alflow.acquisition.uncertainty import energy_spread, force_spread
from alflow.potentials.protocol import Ensemble
from alflow.potentials.uncertainty.lastlayer import LastLayer
from alflow.types import Assessment, FloatArray, Frames

PRIOR = 1e-3
"""s of `leverage` over the largest eigenvalue of F. Of 1e-12 to 0.1, what ranks the errors of energies best in
benchmarks/RESULTS.md."""


@runtime_checkable
class HasLastLayer(Protocol):
    """An ensemble whose mean energy is linear in features."""

    @property
    def last_layer(self) -> LastLayer:
        """The features."""
        ...


@dataclass(frozen=True)
class Features:
    """Of F frames."""

    values: FloatArray
    """(F, N)."""
    linear: bool
    """Whether the energy is linear in them."""


def features_of(ensemble: Ensemble, frames: Frames) -> Features:
    """Return the last hidden layer of an ensemble, or, where it has none to show, the inverse distances of all atoms.

    Raises:
        StructureError: an element is unknown to the ensemble, or a position is not finite.
    """
    if isinstance(ensemble, HasLastLayer):
        return Features(ensemble.last_layer.values(frames), linear=True)
    first, second = np.triu_indices(len(frames.numbers), 1)
    distances = np.linalg.norm(frames.positions[:, first] - frames.positions[:, second], axis=-1)
    return Features(1.0 / np.maximum(distances, 0.1), linear=False)


def stated_uncertainties(found: Assessment, known: FloatArray, start: Assessment) -> tuple[FloatArray, FloatArray]:
    """Return what is stated of F assessed frames, not calibrated: of the energy from a start, and of the largest force.

    Of the energy the leverage, no unit, or the spread over the members, eV, where the energy is linear in no features;
    of the force on the least certain atom the spread, eV/Å. An error of the energy that is the same everywhere moves
    nothing, and is told by no frame: so energies are taken from that of a start.

    Args:
        found: of the frames.
        known: (T, N) features of what was learnt from.
        start: of one frame.
    """
    if found.linear:
        return leverage(found.features, known, start.features[0]), force_spread(found.forces)
    return energy_spread(found.energies - start.energies), force_spread(found.forces)


def leverage(
    features: FloatArray, known: FloatArray, origin: FloatArray | None = None, prior: float = PRIOR
) -> FloatArray:
    """Return √(fᵀ (F + s 1)⁻¹ f + 1 / T): the uncertainty of the energy in units of the noise of a regression.

    See `alflow.potentials.uncertainty.lastlayer`.

    Args:
        features: (F, N).
        known: (T, N) of what was learnt from.
        origin: (N,) from which f is taken: that of the frame from whose energy energies are; the mean of what is known
            if not given.
        prior: s over the largest eigenvalue of F.

    Returns:
        (F,) no unit; an `ErrorModel` makes an energy of it.
    """
    centre = known.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh((known - centre).T @ (known - centre))
    largest = max(float(eigenvalues[-1]), 0.0) or 1.0  # one row, or none that differs: distances from it
    squares = ((features - (centre if origin is None else origin)) @ vectors) ** 2
    weights = 1.0 / (np.maximum(eigenvalues, 0.0) + prior * largest)
    return np.asarray(np.sqrt(squares @ weights + 1.0 / len(known)), dtype=np.float64)
