"""Descriptors of many structures: alone, with their Jacobian, and the forces that follow from ∂E/∂G."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.geometry import (
    count_neighbours,
    fill_descriptors,
    fill_forces,
    fill_near_blocks,
)
from alflow.potentials.ani.kernels.jacobian import Jacobian, SingleArray, store_geometry
from alflow.potentials.ani.kernels.workspace import Array, Workspace, make_workspace
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.sharing import sharing
from alflow.types import FloatArray, Frames, IntArray


class Sizes(NamedTuple):
    """What F frames need. See `geometry.count_neighbours`."""

    pairs: IntArray
    """(F,)."""
    most_near: int
    triples: int
    """The most of one frame."""
    near: IntArray
    """(F,) directed angular neighbours."""


def measure(functions: SymmetryFunctions, positions: FloatArray, threads: int = 1) -> Sizes:
    """Count pairs, neighbours and triples of (F, A, 3) structures, Å.

    Raises:
        StructureError: a position is not finite.
    """
    counts = np.zeros((len(positions), 4), np.int64)
    with sharing(threads) as share:
        share(
            lambda start, stop: count_neighbours(
                positions[start:stop], functions.radial_cutoff, functions.angular_cutoff, counts[start:stop]
            ),
            len(positions),
        )
    if (counts[:, 0] < 0).any():
        frame = int(np.flatnonzero(counts[:, 0] < 0)[0])
        raise StructureError(
            f"Descriptors need finite positions: those of frame {frame} are not. Leave this frame out, or look "
            "where it comes from."
        )
    most = counts.max(axis=0, initial=0)
    return Sizes(counts[:, 0], int(most[1]), int(most[2]), counts[:, 3])


def room(functions: SymmetryFunctions, positions: FloatArray, threads: int = 1) -> Workspace:
    """Allocate a workspace that is large enough for each of (F, A, 3) structures."""
    sizes = measure(functions, positions, threads)
    pairs = int(sizes.pairs.max(initial=0))
    packed = functions.packed
    return make_workspace(positions.shape[1], pairs, sizes.most_near, sizes.triples, packed)


def descriptors(functions: SymmetryFunctions, numbers: IntArray, positions: FloatArray, threads: int = 1) -> FloatArray:
    """Return (F, A, L) descriptor vectors of F structures of one composition.

    Args:
        functions: the symmetry functions.
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        threads: number of threads to use.

    Raises:
        StructureError: an element is unknown to the functions.
    """
    species, packed = functions.species(numbers), functions.packed
    positions = np.ascontiguousarray(positions)
    vectors = np.zeros((*positions.shape[:2], functions.length))

    def work(start: int, stop: int) -> None:
        space = room(functions, positions[start:stop])
        for frame in range(start, stop):
            fill_descriptors(positions[frame], species, packed, space, vectors[frame])

    with sharing(threads) as share:
        share(work, len(positions))
    return vectors


def forces_from_gradient(
    functions: SymmetryFunctions, numbers: IntArray, positions: FloatArray, gradient: Array, threads: int = 1
) -> FloatArray:
    """Return (F, A, 3) forces -∂E/∂G · ∂G/∂r, eV/Å, without forming the Jacobian.

    Args:
        functions: the symmetry functions.
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        gradient: (F, A, L) ∂E/∂G, eV.
        threads: number of threads to use.
    """
    species, packed = functions.species(numbers), functions.packed
    positions = np.ascontiguousarray(positions)
    forces = np.zeros(positions.shape)

    def work(start: int, stop: int) -> None:
        space = room(functions, positions[start:stop])
        vectors = np.zeros(gradient.shape[1:])
        for frame in range(start, stop):
            fill_descriptors(positions[frame], species, packed, space, vectors)
            fill_forces(packed, space, gradient[frame], forces[frame])

    with sharing(threads) as share:
        share(work, len(positions))
    return forces


def descriptors_with_jacobian(
    functions: SymmetryFunctions, groups: Sequence[Frames], threads: int = 1
) -> tuple[SingleArray, Jacobian]:
    """Return (n, L) descriptors of all atoms of all groups and their Jacobian, in single precision, that of training.

    Args:
        functions: the symmetry functions.
        groups: structures of one composition each.
        threads: number of threads to use.

    Raises:
        StructureError: an element is unknown to the functions.
    """
    jacobian = _empty_jacobian(functions, groups, [measure(functions, group.positions, threads) for group in groups])
    vectors = np.zeros((len(jacobian.species), functions.length), np.float32)
    first = 0
    with sharing(threads) as share:
        for group in groups:

            def work(start: int, stop: int, group: Frames = group, first: int = first) -> None:
                _fill_frames(functions, group.positions[start:stop], first + start, vectors, jacobian)

            share(work, len(group))
            first += len(group)
    return vectors, jacobian


def _fill_frames(
    functions: SymmetryFunctions, positions: FloatArray, first: int, vectors: SingleArray, jacobian: Jacobian
) -> None:
    """Fill the rows of the frames from `first` on."""
    space, packed = room(functions, positions), functions.packed
    for frame, place in enumerate(positions, start=first):
        start, stop = jacobian.atom_start[frame], jacobian.atom_start[frame + 1]
        species = jacobian.species[start:stop]
        fill_descriptors(np.ascontiguousarray(place), species, packed, space, vectors[start:stop])
        store_geometry(
            jacobian, frame, space.pair_atoms, space.pair_unit, space.pair_slope, space.near_count, space.near_atom
        )
        blocks = jacobian.near_block[jacobian.near_start[start] : jacobian.near_start[stop]]
        fill_near_blocks(species, packed, space, blocks)


def cache_bytes(functions: SymmetryFunctions, groups: Sequence[Frames], threads: int = 1) -> int:
    """Return the memory that descriptors and Jacobian will take, bytes."""
    block = 3 * len(functions.elements) * functions.angular_block * 4 + 8
    pair = (len(functions.radial_shifts) + 3) * 4 + 16
    total = 0
    for group in groups:
        sizes = measure(functions, group.positions, threads)
        atoms = len(group) * len(group.numbers)
        total += int(sizes.near.sum()) * block + int(sizes.pairs.sum()) * pair + atoms * (functions.length * 4 + 16)
    return total


def _empty_jacobian(functions: SymmetryFunctions, groups: Sequence[Frames], sizes: Sequence[Sizes]) -> Jacobian:
    atoms = np.concatenate([np.full(len(group), len(group.numbers)) for group in groups])
    frame_pairs = np.concatenate([size.pairs for size in sizes])
    frame_near = np.concatenate([size.near for size in sizes])
    atom_start, pair_start, frame_start = _starts(atoms), _starts(frame_pairs), _starts(frame_near)
    near_start = np.zeros(int(atom_start[-1]) + 1, np.int64)
    near_start[atom_start] = frame_start
    pairs, near = int(pair_start[-1]), int(frame_start[-1])
    return Jacobian(
        atom_start=atom_start,
        species=np.concatenate([np.tile(functions.species(group.numbers), len(group)) for group in groups]),
        pair_start=pair_start,
        pair_atoms=np.empty((pairs, 2), np.int64),
        pair_unit=np.empty((pairs, 3), np.float32),
        pair_slope=np.empty((pairs, len(functions.radial_shifts)), np.float32),
        near_start=near_start,
        near_atom=np.empty(near, np.int64),
        near_block=np.zeros((near, 3, len(functions.elements) * functions.angular_block), np.float32),
        pair_blocks=functions.pair_blocks(),
    )


def _starts(counts: IntArray) -> IntArray:
    """Return where each run begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
