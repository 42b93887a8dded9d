"""What the kernels work with: the parameters of the symmetry functions, and the room that their passes fill."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from alflow.potentials.ani.kernels.jacobian import SingleArray
from alflow.potentials.ani.kernels.simd_geometry import STEP
from alflow.types import FloatArray, IntArray

Array = npt.NDArray[Any]


class Functions(NamedTuple):
    """Parameters of the symmetry functions as the kernels take them. R radial, P angular shifts, Q sections."""

    scalars: FloatArray
    """[cutoff, η, step] of the radial functions, then of the angular, then ζ. A step of 0: the shifts are not even."""
    radial_shifts: FloatArray
    angular_shifts: FloatArray
    radial_ladder: FloatArray
    """(3, R) factors of `simd_geometry.fill_radial`."""
    angular_ladder: FloatArray
    """(3, P)."""
    sections: FloatArray
    """(2, Q) cosines and sines."""
    power: FloatArray
    """Coefficients of u^(ζ-1) in 2u - 1."""
    blocks: IntArray
    """(E, E) first column of each pair of elements."""
    radial_marks: tuple[None, ...]
    angular_marks: tuple[None, ...]
    section_marks: tuple[None, ...]
    power_marks: tuple[None, ...]
    """As many as there are shifts, sections, coefficients: the length of a tuple is known when a kernel is compiled."""


class Workspace(NamedTuple):
    """What the passes over one structure keep. N pairs, C the most angular neighbours of an atom, T triples."""

    counts: IntArray
    """[pairs, triples, blocks] of the structure in hand."""
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
    """(N,) see `simd_geometry.contract_pairs`."""
    near_count: IntArray
    """(A,) neighbours within the angular cutoff."""
    near_atom: IntArray
    """(A, C) sorted by element."""
    near_unit: FloatArray
    """(A, C, 3) from the centre to the neighbour."""
    near_distance: FloatArray
    """(A, C) Å."""
    near_cutoff: FloatArray
    """(A, C, 3) the cutoff function, its slope, and 1 / distance."""
    blocks: IntArray
    """(B, 4) for each centre and pair of elements: centre, first column, first triple, end of the triples."""
    triple_ends: Array
    """(T, 2) places of the two neighbours among those of the centre."""
    triple_parts: FloatArray
    """(6, T) mean distance, what it is above the first shift, the first Gaussian, the ratio to the next, the cosine of
    the angle, and the product of the cutoff functions."""
    triple_angular: SingleArray
    """(2 Q, T) the angular factors, then their slopes with respect to the cosine."""
    triple_radial: SingleArray
    """(T, P) the Gaussian factors."""
    triple_sums: SingleArray
    """(3, T) see `simd_geometry.contract_block`."""
    near_force: FloatArray
    """(C, 3) derivatives with respect to the neighbours of one centre."""


def make_workspace(atoms: int, pairs: int, neighbours: int, triples: int, functions: Functions) -> Workspace:
    """Allocate room for structures of at most these sizes."""
    radial, angular, sections = (len(marks) for marks in functions[-4:-1])
    neighbours, elements = max(neighbours, 1), len(functions.blocks)
    pairs, triples = (-(-max(count, 1) // STEP) * STEP for count in (pairs, triples))
    return Workspace(
        counts=np.zeros(3, np.int64),
        order=np.zeros(atoms, np.int64),
        pair_atoms=np.zeros((pairs, 4), np.int64),
        pair_unit=np.zeros((pairs, 3)),
        pair_parts=np.zeros((8, pairs)),
        pair_slope=np.zeros((pairs, radial)),
        pair_sums=np.zeros(pairs),
        near_count=np.zeros(atoms, np.int64),
        near_atom=np.zeros((atoms, neighbours), np.int64),
        near_unit=np.zeros((atoms, neighbours, 3)),
        near_distance=np.zeros((atoms, neighbours)),
        near_cutoff=np.zeros((atoms, neighbours, 3)),
        blocks=np.zeros((atoms * elements * (elements + 1) // 2, 4), np.int64),
        triple_ends=np.zeros((triples, 2), np.int32),
        triple_parts=np.zeros((6, triples)),
        triple_angular=np.zeros((2 * sections, triples), np.float32),
        triple_radial=np.zeros((triples, angular), np.float32),
        triple_sums=np.zeros((3, triples), np.float32),
        near_force=np.zeros((neighbours, 3)),
    )
