"""Data of a training: descriptors and their Jacobian, cached if memory allows, and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.descriptors import Structures, cache_bytes, descriptors_with_jacobian
from alflow.potentials.ani.kernels.jacobian import Jacobian
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.sharing import Share
from alflow.types import Dataset, FloatArray, Frames, IntArray


@dataclass(frozen=True)
class TrainingData:
    """F frames with n atoms in all, in the global row order of the dataset."""

    functions: SymmetryFunctions
    groups: tuple[Frames, ...]
    atoms: IntArray
    """(F,) atoms of each frame."""
    atom_start: IntArray
    """(F + 1,)."""
    counts: IntArray
    """(F, E) atoms of each element."""
    energies: FloatArray
    """(F,) eV."""
    forces: SingleArray
    """(n, 3) eV/Å."""
    cache: tuple[SingleArray, Jacobian] | None
    """(n, L) descriptors and Jacobian; None if they are worked out anew for every batch."""
    threads: int = 1

    def __len__(self) -> int:
        return len(self.energies)

    def pieces(self, frames: IntArray) -> tuple[SingleArray, Jacobian, IntArray]:
        """Return descriptors, a Jacobian, and where in them the given frames stand."""
        if self.cache is not None:
            return *self.cache, frames
        group_start = np.concatenate([[0], np.cumsum([len(group) for group in self.groups])])
        group_of = np.searchsorted(group_start, frames, side="right") - 1
        places = np.empty(len(frames), np.int64)
        parts, done = [], 0
        for index in np.unique(group_of):
            members = np.flatnonzero(group_of == index)
            parts.append(self.groups[index].take(frames[members] - group_start[index]))
            places[members] = done + np.arange(len(members))
            done += len(members)
        vectors, jacobian = descriptors_with_jacobian(
            self.functions.packed, structures(self.functions, parts), self.threads
        )
        return vectors, jacobian, places


def structures(functions: SymmetryFunctions, groups: Sequence[Frames]) -> list[Structures]:
    """Return groups of frames as the kernels take them.

    Raises:
        StructureError: an element is unknown to the functions.
    """
    return [Structures(functions.species(group.numbers), group.positions) for group in groups]


def prepare(dataset: Dataset, functions: SymmetryFunctions, memory_limit_gb: float, threads: int = 1) -> TrainingData:
    """Work out descriptors and Jacobian of a dataset, if the estimate of their memory keeps to the limit."""
    groups = tuple(group.frames for group in dataset.groups)
    atoms = np.concatenate([np.full(len(group), len(group.numbers)) for group in groups])
    counts = np.concatenate([np.tile(element_counts(functions, group.numbers), (len(group), 1)) for group in groups])
    kept = functions.packed, structures(functions, groups), threads
    fits = cache_bytes(*kept) <= memory_limit_gb * 1e9
    return TrainingData(
        functions=functions,
        groups=groups,
        atoms=atoms,
        atom_start=np.concatenate([[0], np.cumsum(atoms)]).astype(np.int64),
        counts=counts,
        energies=np.concatenate([group.labels.energies for group in dataset.groups]),
        forces=np.concatenate([group.labels.forces.reshape(-1, 3) for group in dataset.groups]).astype(np.float32),
        cache=descriptors_with_jacobian(*kept) if fits else None,
        threads=threads,
    )


def element_counts(functions: SymmetryFunctions, numbers: IntArray) -> IntArray:
    """Return (E,) how many atoms of each element there are."""
    return np.bincount(functions.species(numbers), minlength=len(functions.elements))


@dataclass(frozen=True)
class Batch:
    """Frames of all members in one step. Each member has R rows, sorted by element and padded to the same number.

    B frames and n atoms over all members; row `M · R` is a dummy.
    """

    vectors: SingleArray
    """(M, R, L); 0 in padding."""
    jacobian: Jacobian
    places: IntArray
    """(B,) where each frame stands in the Jacobian."""
    offsets: IntArray
    """(B + 1,) first atom of each frame."""
    rows: IntArray
    """(n,) row of each atom, counted over all members."""
    bounds: IntArray
    """(E + 1,) first row of each element within a member's rows."""
    padded_rows: IntArray
    """(B, most atoms) row of each atom of a frame; the dummy after the last."""
    member: IntArray
    """(B,) which member a frame is for."""
    frames: IntArray
    """(B,) rows of the dataset."""


def lay_out(data: TrainingData, frames_of: list[IntArray], share: Share) -> Batch:
    """Gather one batch: for each member, rows of the dataset."""
    members = len(frames_of)
    frames = np.concatenate(frames_of)
    sizes = np.array([len(part) for part in frames_of])
    member = np.repeat(np.arange(members), sizes)
    counts = np.stack([data.counts[part].sum(axis=0) for part in frames_of])
    bounds = np.concatenate([[0], np.cumsum(counts.max(axis=0))]).astype(np.int64)
    vectors, jacobian, places = data.pieces(frames)
    offsets = np.concatenate([[0], np.cumsum(data.atoms[frames])]).astype(np.int64)
    height = int(bounds[-1])
    rows = np.empty(int(offsets[-1]), np.int64)
    padded_rows = np.full((len(frames), int(data.atoms[frames].max())), members * height, np.int64)
    gathered = np.zeros((members * height, vectors.shape[1]), np.float32)
    _fill_rows(jacobian, places, member, bounds, offsets, rows, padded_rows)
    share(lambda a, b: _gather(jacobian.atom_start, places, offsets, rows, vectors, gathered, a, b), len(places))
    return Batch(
        vectors=gathered.reshape(members, height, -1),
        jacobian=jacobian,
        places=places,
        offsets=offsets,
        rows=rows,
        bounds=bounds,
        padded_rows=padded_rows,
        member=member,
        frames=frames,
    )


@numba.njit(cache=True, nogil=True)
def _fill_rows(
    jacobian: Jacobian,
    places: IntArray,
    member: IntArray,
    bounds: IntArray,
    offsets: IntArray,
    rows: IntArray,
    padded_rows: IntArray,
) -> None:
    """Find the row of each atom."""
    height = bounds[-1]
    following = bounds[:-1].copy()
    for frame in range(len(places)):
        if frame > 0 and member[frame] != member[frame - 1]:
            following[:] = bounds[:-1]
        first = jacobian.atom_start[places[frame]]
        for i in range(offsets[frame + 1] - offsets[frame]):
            element = jacobian.species[first + i]
            row = member[frame] * height + following[element]
            following[element] += 1
            rows[offsets[frame] + i] = row
            padded_rows[frame, i] = row


@numba.njit(cache=True, nogil=True)
def _gather(
    atom_start: IntArray,
    places: IntArray,
    offsets: IntArray,
    rows: IntArray,
    vectors: SingleArray,
    gathered: SingleArray,
    start: int,
    stop: int,
) -> None:
    """Copy the descriptors of the atoms of the frames `start` to `stop` to their rows."""
    for frame in range(start, stop):
        first = atom_start[places[frame]]
        for i in range(offsets[frame + 1] - offsets[frame]):
            gathered[rows[offsets[frame] + i]] = vectors[first + i]
