"""Protocol of an estimator: what it states of frames whose labels are not known."""

from __future__ import annotations

from typing import Protocol

from alflow.types import FloatArray, Frames


class Estimator(Protocol):
    """States by how much the mean of an ensemble may err, as a standard deviation.

    An estimator with one number for all that may be asked returns that number: then it is of use as a rank, and as an
    error once it has been calibrated for the quantity (`alflow.acquisition.calibration`).
    """

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    def energy(self, frames: Frames) -> FloatArray:
        """Return the uncertainty of the energy, (F,) eV."""
        ...

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return that of the force on the least certain atom, (F,) eV/Å: root of the summed variances of its axes."""
        ...

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:
        """Return that of a force F · d, (F,) eV/Å for d without a unit.

        Args:
            frames: F structures of A atoms.
            directions: (F, A, 3) d.
        """
        ...
