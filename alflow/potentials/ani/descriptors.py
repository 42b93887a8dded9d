"""Descriptors of many structures: alone, with their Jacobian, and the forces that follow from ∂E/∂G."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.potentials.ani.jacobian import Jacobian
from alflow.potentials.ani.kernels import (
    Array,
    Functions,
    Workspace,
    count_neighbours,
    fill_descriptors,
    fill_forces,
    fill_near_blocks,
    make_workspace,
)
from alflow.potentials.ani.parallel import sharing
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import FloatArray, IntArray


class Sizes(NamedTuple):
    """What F frames need. See `kernels.count_neighbours`."""

    pairs: IntArray
    """(F,)."""
    most_near: int
    triples: int
    """The most of one frame."""
    near: IntArray
    """(F,) directed angular neighbours."""


def measure(functions: SymmetryFunctions, positions: FloatArray, threads: int = 1) -> Sizes:
    """Count pairs, neighbours and triples of (F, A, 3) structures, Å."""
    counts = np.zeros((len(positions), 4), np.int64)
    with sharing(threads) as share:
        share(
            lambda start, stop: count_neighbours(
                positions[start:stop], functions.radial_cutoff, functions.angular_cutoff, counts[start:stop]
            ),
            len(positions),
        )
    most = counts.max(axis=0, initial=0)
    return Sizes(counts[:, 0], int(most[1]), int(most[2]), counts[:, 3])


def room(functions: SymmetryFunctions, positions: FloatArray, threads: int = 1) -> Workspace:
    """Allocate a workspace that is large enough for each of (F, A, 3) structures."""
    sizes = measure(functions, positions, threads)
    pairs = int(sizes.pairs.max(initial=0))
    packed = functions.packed
    return make_workspace(positions.shape[1], pairs, sizes.most_near, sizes.triples, packed)


@numba.njit(cache=True, nogil=True)
def _descriptors_of(
    positions: FloatArray, species: IntArray, functions: Functions, work: Workspace, vectors: Array
) -> None:
    for frame in range(len(positions)):
        fill_descriptors(positions[frame], species, functions, work, vectors[frame])


@numba.njit(cache=True, nogil=True)
def _forces_of(
    positions: FloatArray,
    species: IntArray,
    functions: Functions,
    work: Workspace,
    gradient: Array,
    forces: FloatArray,
) -> None:
    vectors = np.zeros((len(species), gradient.shape[2]))
    for frame in range(len(positions)):
        fill_descriptors(positions[frame], species, functions, work, vectors)
        fill_forces(species, functions, work, gradient[frame], forces[frame])


@numba.njit(cache=True, nogil=True)
def _jacobian_of(
    positions: FloatArray, functions: Functions, work: Workspace, vectors: Array, first: int, jacobian: Jacobian
) -> None:
    atoms = positions.shape[1]
    for frame in range(len(positions)):
        at = first + frame
        species = jacobian.species[at * atoms : (at + 1) * atoms]
        fill_descriptors(positions[frame], species, functions, work, vectors[frame])
        start, stop = jacobian.pair_start[at], jacobian.pair_start[at + 1]
        jacobian.pair_atoms[start:stop] = work.pair_atoms[: stop - start]
        jacobian.pair_unit[start:stop] = work.pair_unit[: stop - start]
        jacobian.pair_slope[start:stop] = work.pair_slope[: stop - start]
        near = jacobian.near_start[at * atoms]
        begin = near
        for atom in range(atoms):
            for row in range(work.near_count[atom]):
                jacobian.near_atom[near] = work.near_atom[atom, row]
                near += 1
            jacobian.near_start[at * atoms + atom + 1] = near
        fill_near_blocks(species, functions, work, jacobian.near_block[begin:near])


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
    vectors = np.zeros((*positions.shape[:2], functions.length))

    def work(start: int, stop: int) -> None:
        part = np.ascontiguousarray(positions[start:stop])
        _descriptors_of(part, species, packed, room(functions, part), vectors[start:stop])

    with sharing(threads) as share:
        share(work, len(positions))
    return vectors


def forces_from_gradient(
    functions: SymmetryFunctions, numbers: IntArray, positions: FloatArray, gradient: Array, threads: int = 1
) -> FloatArray:
    """Return (F, A, 3) forces −∂E/∂G · ∂G/∂r, eV/Å, without forming the Jacobian.

    Args:
        functions: the symmetry functions.
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        gradient: (F, A, L) ∂E/∂G, eV.
        threads: number of threads to use.
    """
    species, packed = functions.species(numbers), functions.packed
    forces = np.zeros(positions.shape)

    def work(start: int, stop: int) -> None:
        part = np.ascontiguousarray(positions[start:stop])
        _forces_of(part, species, packed, room(functions, part), gradient[start:stop], forces[start:stop])

    with sharing(threads) as share:
        share(work, len(positions))
    return forces


def descriptors_with_jacobian(
    functions: SymmetryFunctions, numbers: IntArray, positions: FloatArray, threads: int = 1
) -> tuple[Array, Jacobian]:
    """Return (F, A, L) descriptor vectors and their Jacobian, both in single precision, the precision of training.

    Args:
        functions: the symmetry functions.
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        threads: number of threads to use.
    """
    packed = functions.packed
    sizes = measure(functions, positions, threads)
    jacobian = _empty_jacobian(functions, functions.species(numbers), sizes)
    vectors = np.zeros((*positions.shape[:2], functions.length), np.float32)

    def work(start: int, stop: int) -> None:
        part = np.ascontiguousarray(positions[start:stop])
        _jacobian_of(part, packed, room(functions, part), vectors[start:stop], start, jacobian)

    with sharing(threads) as share:
        share(work, len(positions))
    return vectors, jacobian


def jacobian_bytes(functions: SymmetryFunctions, sizes: Sizes) -> int:
    """Return the memory that descriptors and Jacobian of the measured frames will take, bytes (indices left out)."""
    block = 3 * len(functions.elements) * functions.angular_block * 4 + 8
    pair = (len(functions.radial_shifts) + 3) * 4 + 16
    return int(sizes.near.sum()) * block + int(sizes.pairs.sum()) * pair


def _empty_jacobian(functions: SymmetryFunctions, species: IntArray, sizes: Sizes) -> Jacobian:
    frames, atoms = len(sizes.pairs), len(species)
    pairs, near = int(sizes.pairs.sum()), int(sizes.near.sum())
    near_start = np.zeros(frames * atoms + 1, np.int64)
    near_start[::atoms] = np.concatenate([[0], np.cumsum(sizes.near)])
    return Jacobian(
        atom_start=np.arange(frames + 1, dtype=np.int64) * atoms,
        species=np.tile(species, frames),
        pair_start=np.concatenate([[0], np.cumsum(sizes.pairs)]).astype(np.int64),
        pair_atoms=np.empty((pairs, 2), np.int64),
        pair_unit=np.empty((pairs, 3), np.float32),
        pair_slope=np.empty((pairs, len(functions.radial_shifts)), np.float32),
        near_start=near_start,
        near_atom=np.empty(near, np.int64),
        near_block=np.empty((near, 3, len(functions.elements) * functions.angular_block), np.float32),
        pair_blocks=functions.pair_blocks(),
    )
