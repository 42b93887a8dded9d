r"""The filters of SchNet as splines of the distance.

A filter depends on a distance alone, so the network that makes filters is run at the nodes of a fine grid, once for all
pairs, and what a pair needs is interpolated by a cubic B-spline:
:math:`W(r) = f_C(r) \sum_k B_k(r) c_k`, with :math:`(c_{k-1} + 4 c_k + c_{k+1}) / 6 = w(r_k)` for the values
:math:`w(r_k)` of the network. Energies have two continuous derivatives, and forces are their exact derivative.
The grid is ten times finer than the Gaussians in which SchNet expands a distance: for hexane the spline differs from
the network at every distance by 1e-6 eV and 3e-5 eV/Å.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alflow.types import FloatArray, IntArray

MARGIN = 12
"""Nodes beyond either end: what is assumed at the ends of the spline fades by 0.27 a node."""
NODES_A_GAUSSIAN = 10


@dataclass(frozen=True)
class FilterGrid:
    """Grid and cutoff function of the filters."""

    cutoff: float
    """Å."""
    gaussians: int
    smooth: bool = False
    """Cutoff function: SchNet's cosine, or a polynomial with continuous curvature."""

    @property
    def intervals(self) -> int:
        """Intervals from 0 to the cutoff."""
        return NODES_A_GAUSSIAN * (self.gaussians - 1)

    @property
    def spacing(self) -> float:
        """Å between nodes."""
        return self.cutoff / self.intervals

    @cached_property
    def expansion(self) -> FloatArray:
        """(G, K) Gaussians at the nodes: SchNet's expansion of their distances."""
        nodes = (np.arange(self.intervals + 1 + 2 * MARGIN) - MARGIN) * self.spacing
        centres = np.linspace(0.0, self.cutoff, self.gaussians)
        scaled = (nodes[:, None] - centres) / (centres[1] - centres[0])
        return np.asarray(np.exp(-0.5 * scaled**2), dtype=np.float64)

    @cached_property
    def to_coefficients(self) -> FloatArray:
        """(G, G) matrix that turns values at the nodes into coefficients of the spline."""
        count = self.intervals + 1 + 2 * MARGIN
        to_values = np.eye(count)
        rows = np.arange(1, count - 1)
        to_values[rows, rows] = 4 / 6
        to_values[rows, rows - 1] = to_values[rows, rows + 1] = 1 / 6
        return np.asarray(np.linalg.inv(to_values), dtype=np.float64)

    def weights(self, distance: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return what four coefficients contribute to the filters of P distances (P,), Å, below the cutoff.

        Returns:
            (P,) the first coefficient, (P, 4) shares in the filter, cutoff function included, and (P, 4) shares in its
            derivative with respect to the distance, Å⁻¹.
        """
        place = distance / self.spacing + MARGIN
        whole = np.minimum(np.floor(place), self.intervals + MARGIN - 1)
        t = (place - whole)[:, None]
        shares = np.hstack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        slopes = np.hstack([-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]) / (2 * self.spacing)
        value, slope = self._cutoff_function(distance)
        return whole.astype(np.int64) - 1, shares * value[:, None], slopes * value[:, None] + shares * slope[:, None]

    def _cutoff_function(self, distance: FloatArray) -> tuple[FloatArray, FloatArray]:
        x = distance / self.cutoff
        if self.smooth:
            return 1 - x**3 * (10 - 15 * x + 6 * x**2), -30 * x**2 * (1 - x) ** 2 / self.cutoff
        return 0.5 * (np.cos(math.pi * x) + 1), -0.5 * math.pi / self.cutoff * np.sin(math.pi * x)
