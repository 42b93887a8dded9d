"""Parameters of the symmetry functions, and the workspace that the passes over one structure fill."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alflow.potentials.ani.kernels.arrays import Array, SingleArray
from alflow.types import FloatArray, IntArray

STEP = 8
"""Pairs or triples at a time."""
RADIAL_CUTOFF, RADIAL_ETA, RADIAL_STEP, ANGULAR_CUTOFF, ANGULAR_ETA, ANGULAR_STEP, ZETA = range(7)
"""Positions in `Functions.scalars`."""


class Functions(NamedTuple):
    """Parameters of the symmetry functions as the kernels take them.

    E elements, R radial, P angular shifts, Q sections.

    The length of a tuple is known when a kernel is compiled, that of an array is not: so there are tuples of as many
    None as there are shifts, sections, coefficients.
    """

    scalars: FloatArray
    """(7,) cutoff Å, η Å⁻² and step Å of the radial functions and of the angular, ζ. Step 0: uneven shifts."""
    radial_shifts: FloatArray
    """(R,) Å."""
    angular_shifts: FloatArray
    """(P,) Å."""
    radial_recurrence: FloatArray
    """(3, R) factors of `simd_geometry.fill_radial`."""
    angular_recurrence: FloatArray
    """(3, P)."""
    sections: FloatArray
    """(2, Q) cosines and sines."""
    power: FloatArray
    """(C,) coefficients of u^(ζ-1) in 2u - 1."""
    pair_columns: IntArray
    """(E, E) first column of the angular functions of each pair of elements."""
    static_radial: tuple[None, ...]
    static_angular: tuple[None, ...]
    static_sections: tuple[None, ...]
    static_power: tuple[None, ...]

    @property
    def angular_block(self) -> int:
        """Number of angular functions for one pair of elements."""
        return len(self.angular_shifts) * int(self.sections.shape[1])

    @property
    def length(self) -> int:
        """Number of functions of an atom."""
        elements = len(self.pair_columns)
        return elements * len(self.radial_shifts) + elements * (elements + 1) // 2 * self.angular_block


class Workspace(NamedTuple):
    """What the passes over one structure keep. N pairs, C the most angular neighbours of an atom, T triples."""

    counts: IntArray
    """(3,) pairs, triples, blocks of the structure in hand."""
    order: IntArray
    """(A,) atoms sorted by element, so that triples come sorted by pairs of elements."""
    pair_atoms: IntArray
    """(N, 4) both atoms, and the first column of the radial functions of each that this pair adds to."""
    pair_unit: FloatArray
    """(N, 3) from the first atom to the second."""
    pair_parts: FloatArray
    """(8, N) distance, what it is above the first shift, the first Gaussian, the ratio to the next, the cutoff function
    and its slope, and those of the angular functions."""
    pair_slope: FloatArray
    """(N, R) derivatives of the radial functions with respect to the distance."""
    pair_sums: FloatArray
    """(N,) eV/Å: see `simd_geometry.contract_pairs`."""
    neighbour_count: IntArray
    """(A,) neighbours within the angular cutoff."""
    neighbour_atom: IntArray
    """(A, C) sorted by element."""
    neighbour_unit: FloatArray
    """(A, C, 3) from the centre to the neighbour."""
    neighbour_distance: FloatArray
    """(A, C) Å."""
    neighbour_cutoff: FloatArray
    """(A, C, 3) the cutoff function, its slope, and 1 / distance."""
    blocks: IntArray
    """(B, 4) for each centre and pair of elements: centre, first column, first triple, end of the triples."""
    triple_ends: Array
    """(T, 2) rows of the two neighbours among those of the centre."""
    triple_parts: FloatArray
    """(6, T) mean distance, what it is above the first shift, the first Gaussian, the ratio to the next, the cosine of
    the angle, and the product of the cutoff functions."""
    triple_angular: SingleArray
    """(2 Q, T) the angular factors, then their slopes with respect to the cosine."""
    triple_radial: SingleArray
    """(T, P) the Gaussian factors."""
    triple_sums: SingleArray
    """(3, T) see `simd_geometry.contract_block`."""
    neighbour_force: FloatArray
    """(C, 3) derivatives with respect to the neighbours of one centre, eV/Å."""


def make_workspace(atoms: int, pairs: int, neighbours: int, triples: int, functions: Functions) -> Workspace:
    """Allocate a workspace for structures of at most these sizes."""
    radial, angular = len(functions.static_radial), len(functions.static_angular)
    sections, elements = len(functions.static_sections), len(functions.pair_columns)
    neighbours = max(neighbours, 1)
    pairs, triples = (-(-max(count, 1) // STEP) * STEP for count in (pairs, triples))
    return Workspace(
        counts=np.zeros(3, np.int64),
        order=np.zeros(atoms, np.int64),
        pair_atoms=np.zeros((pairs, 4), np.int64),
        pair_unit=np.zeros((pairs, 3)),
        pair_parts=np.zeros((8, pairs)),
        pair_slope=np.zeros((pairs, radial)),
        pair_sums=np.zeros(pairs),
        neighbour_count=np.zeros(atoms, np.int64),
        neighbour_atom=np.zeros((atoms, neighbours), np.int64),
        neighbour_unit=np.zeros((atoms, neighbours, 3)),
        neighbour_distance=np.zeros((atoms, neighbours)),
        neighbour_cutoff=np.zeros((atoms, neighbours, 3)),
        blocks=np.zeros((atoms * elements * (elements + 1) // 2, 4), np.int64),
        triple_ends=np.zeros((triples, 2), np.int32),
        triple_parts=np.zeros((6, triples)),
        triple_angular=np.zeros((2 * sections, triples), np.float32),
        triple_radial=np.zeros((triples, angular), np.float32),
        triple_sums=np.zeros((3, triples), np.float32),
        neighbour_force=np.zeros((neighbours, 3)),
    )
