"""Pairs of atoms within the cutoff of every frame of a dataset, found once, and batches put together from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from alflow.potentials.schnet.filters import FilterGrid
from alflow.potentials.schnet.network import Batch
from alflow.types import FloatArray, Frames, IntArray

CHUNK = 256
"""Frames whose distances are worked out at once: bounds the memory."""


@dataclass(frozen=True)
class Graphs:
    """Of F frames with n atoms and P pairs in all, of any compositions."""

    numbers: IntArray
    """(n,) atomic numbers."""
    atom_start: IntArray
    """(F + 1,)."""
    pair_start: IntArray
    """(F + 1,)."""
    pairs: IntArray
    """(P, 2) counted within the frame."""
    unit: npt.NDArray[np.float32]
    """(P, 3) from the first atom to the second."""
    rows: IntArray
    shares: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]
    """See `FilterGrid.weights`."""

    def __len__(self) -> int:
        return len(self.atom_start) - 1

    def batch(self, frames: IntArray) -> Batch:
        """Return the given frames side by side."""
        atoms, atom_counts = _spans(self.atom_start, frames)
        pairs, pair_counts = _spans(self.pair_start, frames)
        first_atom = np.cumsum(atom_counts) - atom_counts
        return Batch(
            numbers=torch.from_numpy(self.numbers[atoms]),
            frame=torch.from_numpy(np.repeat(np.arange(len(frames)), atom_counts)),
            frames=len(frames),
            pairs=self.pairs[pairs] + np.repeat(first_atom, pair_counts)[:, None],
            unit=torch.from_numpy(self.unit[pairs]),
            rows=self.rows[pairs],
            shares=self.shares[pairs],
            slopes=self.slopes[pairs],
        )

    def atoms(self, frames: IntArray) -> IntArray:
        """Return the rows of the atoms of the given frames, as a batch of them has its atoms."""
        return _spans(self.atom_start, frames)[0]


def graphs_of(grid: FilterGrid, parts: list[Frames]) -> Graphs:
    """Find the pairs of all frames, composition after composition."""
    pieces = [piece for part in parts for piece in _pieces(grid, part)]
    counts = np.concatenate([np.full(len(part), len(part.numbers)) for part in parts])
    return Graphs(
        numbers=np.concatenate([np.tile(part.numbers, len(part)) for part in parts]),
        atom_start=_starts(counts),
        pair_start=_starts(np.concatenate([piece[0] for piece in pieces])),
        pairs=np.concatenate([piece[1] for piece in pieces]),
        unit=np.concatenate([piece[2] for piece in pieces]).astype(np.float32),
        rows=np.concatenate([piece[3] for piece in pieces]),
        shares=np.concatenate([piece[4] for piece in pieces]).astype(np.float32),
        slopes=np.concatenate([piece[5] for piece in pieces]).astype(np.float32),
    )


def _pieces(
    grid: FilterGrid, frames: Frames
) -> list[tuple[IntArray, IntArray, FloatArray, IntArray, FloatArray, FloatArray]]:
    """Return counts, pairs, unit vectors, and the spline's rows, shares and slopes, chunk by chunk."""
    first, second = np.triu_indices(len(frames.numbers), 1)
    pieces = []
    for start in range(0, len(frames), CHUNK):
        positions = frames.positions[start : start + CHUNK]
        apart = positions[:, second] - positions[:, first]
        distance = np.linalg.norm(apart, axis=2)
        frame, pair = np.nonzero(distance < grid.cutoff)
        r = distance[frame, pair]
        counts = np.bincount(frame, minlength=len(positions))
        atoms = np.stack([first[pair], second[pair]], axis=1)
        pieces.append((counts, atoms, apart[frame, pair] / r[:, None], *grid.weights(r)))
    return pieces


def _starts(counts: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _spans(starts: IntArray, frames: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows that belong to the given frames, one after the other, and how many each has."""
    counts = starts[frames + 1] - starts[frames]
    begin = starts[frames] - (np.cumsum(counts) - counts)
    return np.repeat(begin, counts) + np.arange(counts.sum()), counts
