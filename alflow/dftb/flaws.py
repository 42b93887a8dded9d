"""Flaws of a parameter set, where its files give no meaningful number: repulsions whose parts do not join.

A repulsive potential is known from its cutoff, where it is zero, inwards. Where two of its parts differ by more than
rounding, what lies inside is off by the jump, so no structure with two such atoms that close has a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alflow.dftb.skf import RepulsiveSpline, SlaterKosterFile
from alflow.dftb.tables import TAIL
from alflow.errors import LabelError
from alflow.types import FloatArray, IntArray
from alflow.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

ENERGY_JUMP = 1e-3
"""Largest difference of two parts where they join, Hartree; good pairs keep 1e-14, broken ones miss by 7 and more."""
SLOPE_JUMP = 1e-2
"""The same of their slopes, Hartree/Bohr."""
SAME = 1e-6
"""Largest difference between the repulsions of files A-B and B-A."""

Files = Mapping[tuple[int, int], SlaterKosterFile]
"""Files by the atomic numbers of the first and second atom."""


@dataclass(frozen=True)
class Flaw:
    """Distances of two atoms at which a set gives no meaningful number, and why."""

    above: float
    """Bohr."""
    below: float
    """Bohr."""
    why: str
    """The middle of a sentence: "the repulsion of P and Cl ..."."""


def find_flaws(files: Files, symbols: Mapping[int, str]) -> dict[tuple[int, int], tuple[Flaw, ...]]:
    """Return the flaws of each pair of elements that has one, by atomic numbers, the lower one first.

    Args:
        files: of both orders of each pair.
        symbols: by atomic number.
    """
    found = {
        (a, b): tuple(_flaws(files[a, b], files[b, a], f"{symbols[a]} and {symbols[b]}")) for a, b in files if a <= b
    }
    return {pair: flaws for pair, flaws in found.items() if flaws}


def refuse_flawed(
    flaws: Mapping[tuple[int, int], tuple[Flaw, ...]], numbers: IntArray, positions: FloatArray, parameters: str
) -> None:
    """Refuse a structure two atoms of which are at a distance that the parameters know nothing of.

    Args:
        flaws: what `find_flaws` returned.
        numbers: (A,) atomic numbers.
        positions: (A, 3) Å.
        parameters: name of the set, or its folder.

    Raises:
        LabelError: "bad-parameters".
    """
    for (a, b), of_pair in flaws.items():
        first, second = np.flatnonzero(numbers == a), np.flatnonzero(numbers == b)
        distances = np.sqrt(((positions[first][:, None] - positions[second][None]) ** 2).sum(axis=-1))
        distances[first[:, None] == second[None]] = np.nan
        for flaw in of_pair:
            within = (distances > flaw.above * BOHR_IN_ANGSTROM) & (distances < flaw.below * BOHR_IN_ANGSTROM)
            for i, j in zip(*np.nonzero(within), strict=True):
                raise LabelError(
                    "bad-parameters",
                    f"{parameters} is broken for this distance: {flaw.why}. Atoms {first[i]} and {second[j]} are "
                    f"{distances[i, j]:.3f} Å apart.",
                )


def _flaws(forward: SlaterKosterFile, backward: SlaterKosterFile, pair: str) -> list[Flaw]:
    cutoff = max(forward.repulsion.cutoff, backward.repulsion.cutoff)
    flaws = [_break(forward.repulsion, pair)]
    if not _same(forward.repulsion, backward.repulsion):
        flaws += [_break(backward.repulsion, pair)]
        flaws += [Flaw(0.0, cutoff, f"the two files of {pair} have different repulsions")]
    if forward.spacing != backward.spacing:
        why = f"the two files of {pair} have distances in steps of {forward.spacing} and {backward.spacing} Bohr"
        flaws += [Flaw(0.0, np.inf, why)]
    reach = TAIL + forward.spacing * min(len(forward.overlap), len(backward.overlap))
    if reach < cutoff:
        why = f"the integrals of {pair} end at {reach * BOHR_IN_ANGSTROM:.3f} Å, before their repulsion does"
        flaws += [Flaw(reach, cutoff, f"{why}, at {cutoff * BOHR_IN_ANGSTROM:.3f} Å")]
    return [flaw for flaw in flaws if flaw is not None]


def _same(one: RepulsiveSpline, other: RepulsiveSpline) -> bool:
    first, second = (
        np.concatenate([spline.head, [spline.cutoff], spline.starts, spline.coefficients.ravel()])
        for spline in (one, other)
    )
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=0.0, atol=SAME))


def _break(spline: RepulsiveSpline, pair: str) -> Flaw | None:
    """Return the outermost place where two parts do not join; the cutoff, beyond which all is zero, is one."""
    energy_jumps, slope_jumps = joins(spline)
    broken = np.flatnonzero(~((np.abs(energy_jumps) < ENERGY_JUMP) & (np.abs(slope_jumps) < SLOPE_JUMP)))
    if not broken.size:
        return None
    place = float(np.append(spline.starts, spline.cutoff)[broken[-1]])
    energy = HARTREE_IN_EV * energy_jumps[broken[-1]]
    slope = HARTREE_IN_EV / BOHR_IN_ANGSTROM * slope_jumps[broken[-1]]
    return Flaw(
        0.0,
        place,
        f"below {place * BOHR_IN_ANGSTROM:.3f} Å the repulsion of {pair} does not join what lies beyond (its energy "
        f"jumps by {abs(energy):.3g} eV, its slope by {abs(slope):.3g} eV/Å)",
    )


def joins(spline: RepulsiveSpline) -> tuple[FloatArray, FloatArray]:
    """Return by how much the parts of a spline differ where they meet.

    Returns:
        (N + 1,) Hartree and (N + 1,) Hartree/Bohr, inner minus outer part: at the N starts and at the cutoff.
    """
    a1, a2, a3 = spline.head
    lengths = np.append(spline.starts[1:], spline.cutoff) - spline.starts
    powers = lengths[:, None] ** np.arange(6)
    with np.errstate(over="ignore", invalid="ignore"):
        exponential = np.exp(a2 - a1 * spline.starts[0])
        ends = np.append(exponential + a3, (spline.coefficients * powers).sum(axis=1))
        slopes = np.append(
            -a1 * exponential, (spline.coefficients[:, 1:] * np.arange(1, 6) * powers[:, :-1]).sum(axis=1)
        )
        return ends - np.append(spline.coefficients[:, 0], 0.0), slopes - np.append(spline.coefficients[:, 1], 0.0)
