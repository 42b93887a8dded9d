"""Parameters of the ANI symmetry functions, and where each function stands in the descriptor vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi

import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.workspace import Functions
from alflow.types import FloatArray, IntArray

MOST_COEFFICIENTS = 40
"""Of the polynomial that stands for u^(ζ-1)."""
STEEPEST = 700.0
"""Largest exponent on a ladder of Gaussians: double precision ends at e^709."""
SYMBOLS = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F", 15: "P", 16: "S", 17: "Cl", 35: "Br", 53: "I"}
"""Symbols of the elements met most; others are spoken of by their number."""


def _evenly(start: float, stop: float, count: int) -> tuple[float, ...]:
    """Divide [start, stop) into equal steps."""
    return tuple(start + (stop - start) / count * step for step in range(count))


def _single(values: tuple[float, ...]) -> FloatArray:
    """Round to single precision, the precision in which TorchANI keeps these parameters."""
    return np.asarray(values, np.float32).astype(np.float64)


@dataclass(frozen=True)
class SymmetryFunctions:
    r"""The functions of ANI-2x (Devereux et al., J. Chem. Theory Comput. 2020, 16, 4192), as TorchANI computes them.

    Radial, for every element e and shift s:
    :math:`G_i = \sum_{j \in e} \frac14 e^{-\eta (r_{ij} - r_s)^2} f_C(r_{ij})`.
    Angular, for every pair of elements, shift p and section q, over unordered pairs of neighbours j, k:
    :math:`G_i = \sum 2 [\frac12 (1 + \cos(\theta - \theta_q))]^\zeta e^{-\eta (\frac12 (r_{ij} + r_{ik}) - r_p)^2}
    f_C(r_{ij}) f_C(r_{ik})` with :math:`\theta = \arccos(0.95 \cos\theta_{jik})`.

    The descriptor of an atom is laid out as TorchANI does: [element, shift], then [pair of elements, shift,
    section], the pairs in the order of an upper triangle.
    """

    elements: tuple[int, ...]
    """Atomic numbers, in the order of the descriptor's blocks."""
    radial_cutoff: float
    """Å."""
    radial_eta: float
    """Å⁻²."""
    radial_shifts: tuple[float, ...]
    """Å."""
    angular_cutoff: float
    """Å."""
    angular_eta: float
    """Å⁻²."""
    zeta: float
    angular_shifts: tuple[float, ...]
    """Å."""
    sections: tuple[float, ...]
    """rad."""

    @classmethod
    def like_2x(cls, elements: tuple[int, ...]) -> SymmetryFunctions:
        """Return the functions of ANI-2x for the given elements: ``AEVComputer.like_2x`` of TorchANI."""
        return cls(
            elements=elements,
            radial_cutoff=5.1,
            radial_eta=19.7,
            radial_shifts=_evenly(0.8, 5.1, 16),
            angular_cutoff=3.5,
            angular_eta=12.5,
            zeta=14.1,
            angular_shifts=_evenly(0.8, 3.5, 8),
            sections=_evenly(pi / 8, pi + pi / 8, 4),
        )

    def rows_of(self, chosen: IntArray) -> IntArray:
        """Return the rows of a descriptor that are of some elements and of pairs of these, in their order.

        Args:
            chosen: places of the elements, distinct.
        """
        shifts, per_pair = len(self.radial_shifts), len(self.angular_shifts) * len(self.sections)
        count = len(self.elements)
        pairs = {pair: place for place, pair in enumerate(zip(*np.triu_indices(count), strict=True))}
        first, second = np.triu_indices(len(chosen))
        wanted = [tuple(sorted((chosen[a], chosen[b]))) for a, b in zip(first, second, strict=True)]
        radial = [np.arange(shifts) + place * shifts for place in chosen]
        angular = [self.radial_length + np.arange(per_pair) + pairs[pair] * per_pair for pair in wanted]
        return np.concatenate([*radial, *angular]).astype(np.int64)

    @property
    def radial_length(self) -> int:
        """Number of radial functions of an atom."""
        return len(self.elements) * len(self.radial_shifts)

    @property
    def angular_block(self) -> int:
        """Number of angular functions for one pair of elements."""
        return len(self.angular_shifts) * len(self.sections)

    @property
    def length(self) -> int:
        """Number of functions of an atom."""
        pairs = len(self.elements) * (len(self.elements) + 1) // 2
        return self.radial_length + pairs * self.angular_block

    def species(self, numbers: IntArray) -> IntArray:
        """Return (A,) rows of `elements` for (A,) atomic numbers.

        Raises:
            StructureError: an element is not among those of these functions.
        """
        known = {number: row for row, number in enumerate(self.elements)}
        for atom, number in enumerate(numbers):
            if int(number) not in known:
                names = ", ".join(SYMBOLS.get(element, f"Z={element}") for element in self.elements)
                raise StructureError(
                    f"A potential knows only the elements that it was trained on: atom {atom} is "
                    f"{SYMBOLS.get(int(number), f'Z={int(number)}')}, the potential knows {names}. "
                    "Train it on data with this element, or take the atom out."
                )
        return np.array([known[int(number)] for number in numbers], dtype=np.int64)

    def pair_columns(self) -> IntArray:
        """Return (E, E) first columns of the angular block of each pair of elements."""
        count = len(self.elements)
        first = np.zeros((count, count), dtype=np.int64)
        rows, columns = np.triu_indices(count)
        starts = self.radial_length + self.angular_block * np.arange(len(rows))
        first[rows, columns] = starts
        first[columns, rows] = starts
        return first

    @cached_property
    def packed(self) -> Functions:
        """What the kernels take."""
        radial, angular, sections = (
            _single(values) for values in (self.radial_shifts, self.angular_shifts, self.sections)
        )
        zeta = float(_single((self.zeta,))[0])
        steps, ladders = [], []
        for cutoff, eta, shifts in (
            (self.radial_cutoff, self.radial_eta, radial),
            (self.angular_cutoff, self.angular_eta, angular),
        ):
            rounded = float(_single((eta,))[0])
            step = _step(cutoff, rounded, shifts)
            steps += [cutoff, rounded, step]
            ladders.append(_ladder(rounded, step, shifts))
        power = _power(zeta - 1.0)
        return Functions(
            scalars=np.array([*steps, zeta]),
            radial_shifts=radial,
            angular_shifts=angular,
            radial_recurrence=ladders[0],
            angular_recurrence=ladders[1],
            sections=np.stack([np.cos(sections), np.sin(sections)]),
            power=power,
            pair_columns=self.pair_columns(),
            static_radial=(None,) * len(radial),
            static_angular=(None,) * len(angular),
            static_sections=(None,) * len(sections),
            static_power=(None,) * len(power),
        )


def _step(cutoff: float, eta: float, shifts: FloatArray) -> float:
    """Return the step of shifts that are even but for rounding; 0 if they are not, or a ladder would be too steep."""
    count = len(shifts)
    step = float(shifts[-1] - shifts[0]) / max(count - 1, 1)
    uneven = np.abs(shifts - (shifts[0] + step * np.arange(count))).max() > 1e-6
    reach = max(cutoff - float(shifts[0]), float(shifts[0]))
    steep = eta * max(reach, 2.0 * step * (count - 1)) * reach > STEEPEST
    return 0.0 if uneven or steep else step


def _ladder(eta: float, step: float, shifts: FloatArray) -> FloatArray:
    """Return the (3, S) factors exp(-ηh²m²), 2ηδ_m and 1 - 2ηδ_m h m of `simd_geometry`; shifts s_0 + m h + δ_m."""
    along = step * np.arange(len(shifts))
    off = 2.0 * eta * (shifts - shifts[0] - along)
    return np.stack([np.exp(-eta * along**2), off, 1.0 - off * along])


def _power(exponent: float) -> FloatArray:
    """Return the coefficients in x = 2u - 1 of a polynomial that is u^exponent to 1e-9 on 0..1, if 40 can do that."""
    nodes = np.cos(pi * (np.arange(MOST_COEFFICIENTS) + 0.5) / MOST_COEFFICIENTS)
    series = np.polynomial.chebyshev.chebfit(nodes, (0.5 * (1.0 + nodes)) ** exponent, MOST_COEFFICIENTS - 1)
    left_out = np.cumsum(np.abs(series[::-1]))[::-1]
    kept = series[: max(int((left_out > 1e-9).sum()), 1)]
    return np.asarray(np.polynomial.chebyshev.cheb2poly(kept), np.float64)
