"""Descriptors of many structures and their Jacobian: what a training keeps of its dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.geometry import count_neighbours, fill_descriptors, fill_neighbour_blocks
from alflow.potentials.ani.kernels.jacobian import Jacobian, store_geometry
from alflow.potentials.ani.kernels.workspace import (
    ANGULAR_CUTOFF,
    RADIAL_CUTOFF,
    Functions,
    Workspace,
    make_workspace,
)
from alflow.potentials.sharing import sharing
from alflow.types import FloatArray, IntArray


class Structures(NamedTuple):
    """F structures of one composition."""

    species: IntArray
    """(A,) rows of the elements."""
    positions: FloatArray
    """(F, A, 3) Å."""


class Sizes(NamedTuple):
    """Numbers of pairs, neighbours and triples of F structures. See `geometry.count_neighbours`."""

    pairs: IntArray
    """(F,)."""
    most_neighbours: int
    triples: int
    """The most of one frame."""
    neighbours: IntArray
    """(F,) directed angular neighbours."""


def measure(functions: Functions, positions: FloatArray, threads: int = 1) -> Sizes:
    """Count pairs, neighbours and triples of (F, A, 3) structures, Å.

    Raises:
        StructureError: a position is not finite.
    """
    counts = np.zeros((len(positions), 4), np.int64)
    cutoffs = float(functions.scalars[RADIAL_CUTOFF]), float(functions.scalars[ANGULAR_CUTOFF])
    with sharing(threads) as share:
        share(lambda start, stop: count_neighbours(positions[start:stop], *cutoffs, counts[start:stop]), len(positions))
    if (counts[:, 0] < 0).any():
        frame = int(np.flatnonzero(counts[:, 0] < 0)[0])
        raise StructureError(
            f"Descriptors need finite positions: those of frame {frame} are not. Leave this frame out, or look "
            "where it comes from."
        )
    most = counts.max(axis=0, initial=0)
    return Sizes(counts[:, 0], int(most[1]), int(most[2]), counts[:, 3])


def workspace_for(functions: Functions, positions: FloatArray) -> Workspace:
    """Allocate a workspace that is large enough for each of (F, A, 3) structures, Å."""
    sizes = measure(functions, positions)
    pairs = int(sizes.pairs.max(initial=0))
    return make_workspace(positions.shape[1], pairs, sizes.most_neighbours, sizes.triples, functions)


def descriptors_with_jacobian(
    functions: Functions, groups: Sequence[Structures], threads: int = 1
) -> tuple[SingleArray, Jacobian]:
    """Return (n, L) descriptors of all atoms of all groups and their Jacobian, in single precision, that of training.

    Args:
        functions: the symmetry functions.
        groups: structures of one composition each.
        threads: number of threads to use.

    Raises:
        StructureError: a position is not finite.
    """
    sizes = [measure(functions, group.positions, threads) for group in groups]
    jacobian = _empty_jacobian(functions, groups, sizes)
    vectors = np.zeros((len(jacobian.species), functions.length), np.float32)
    first = 0
    with sharing(threads) as share:
        for group in groups:

            def work(start: int, stop: int, group: Structures = group, first: int = first) -> None:
                _fill_frames(functions, group.positions[start:stop], first + start, vectors, jacobian)

            share(work, len(group.positions))
            first += len(group.positions)
    return vectors, jacobian


def _fill_frames(
    functions: Functions, positions: FloatArray, first: int, vectors: SingleArray, jacobian: Jacobian
) -> None:
    """Fill the rows of the frames from `first` on."""
    work = workspace_for(functions, positions)
    for frame, structure in enumerate(positions, start=first):
        start, stop = jacobian.atom_start[frame], jacobian.atom_start[frame + 1]
        species = jacobian.species[start:stop]
        fill_descriptors(np.ascontiguousarray(structure), species, functions, work, vectors[start:stop])
        store_geometry(
            jacobian,
            frame,
            work.pair_atoms,
            work.pair_unit,
            work.pair_slope,
            work.neighbour_count,
            work.neighbour_atom,
        )
        blocks = jacobian.neighbour_block[jacobian.neighbour_start[start] : jacobian.neighbour_start[stop]]
        fill_neighbour_blocks(species, functions, work, blocks)


def cache_bytes(functions: Functions, groups: Sequence[Structures], threads: int = 1) -> int:
    """Return the memory that descriptors and Jacobian will take, bytes."""
    block = 3 * len(functions.pair_columns) * functions.angular_block * 4 + 8
    pair = (len(functions.radial_shifts) + 3) * 4 + 16
    total = 0
    for group in groups:
        sizes = measure(functions, group.positions, threads)
        atoms = len(group.positions) * len(group.species)
        total += int(sizes.neighbours.sum()) * block + int(sizes.pairs.sum()) * pair
        total += atoms * (functions.length * 4 + 16)
    return total


def _empty_jacobian(functions: Functions, groups: Sequence[Structures], sizes: Sequence[Sizes]) -> Jacobian:
    """Allocate the Jacobian of all groups, and say where the part of each frame starts."""
    atoms = np.concatenate([np.full(len(group.positions), len(group.species)) for group in groups])
    atom_start = _starts(atoms)
    pair_start = _starts(np.concatenate([size.pairs for size in sizes]))
    frame_start = _starts(np.concatenate([size.neighbours for size in sizes]))
    neighbour_start = np.zeros(int(atom_start[-1]) + 1, np.int64)
    neighbour_start[atom_start] = frame_start
    pairs, neighbours = int(pair_start[-1]), int(frame_start[-1])
    return Jacobian(
        atom_start=atom_start,
        species=np.concatenate([np.tile(group.species, len(group.positions)) for group in groups]),
        pair_start=pair_start,
        pair_atoms=np.empty((pairs, 2), np.int64),
        pair_unit=np.empty((pairs, 3), np.float32),
        pair_slope=np.empty((pairs, len(functions.radial_shifts)), np.float32),
        neighbour_start=neighbour_start,
        neighbour_atom=np.empty(neighbours, np.int64),
        neighbour_block=np.zeros((neighbours, 3, len(functions.pair_columns) * functions.angular_block), np.float32),
        pair_columns=functions.pair_columns,
    )


def _starts(counts: IntArray) -> IntArray:
    """Return where each run begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
