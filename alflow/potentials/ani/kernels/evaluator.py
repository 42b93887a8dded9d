"""Energies and forces of one structure after the other by the compiled route: descriptors, networks, forces."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.geometry import (
    count_neighbours,
    fill_descriptors,
    fill_forces,
)
from alflow.potentials.ani.kernels.networks import LayerRoom, PackedNetworks, pass_through
from alflow.potentials.ani.kernels.workspace import Functions, Workspace, make_workspace
from alflow.potentials.ani.network import Networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import Evaluation, FloatArray, IntArray


class Composition(NamedTuple):
    """What follows from the atomic numbers alone."""

    species: IntArray
    """(A,) rows of the elements."""
    order: IntArray
    """(A,) atoms sorted by element."""
    bounds: IntArray
    """(E + 1,) first sorted atom of each element."""


def compose(functions: SymmetryFunctions, numbers: IntArray) -> Composition:
    """Return what follows from (A,) atomic numbers.

    Raises:
        StructureError: an element is unknown to the functions.
    """
    species = functions.species(numbers)
    counts = np.bincount(species, minlength=len(functions.elements))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Composition(species, np.argsort(species, kind="stable").astype(np.int64), bounds)


DONE, BROKEN, CROWDED = range(3)
"""What `_evaluate` returns: positions that are not finite, and more neighbours than there is room for."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    positions: FloatArray,
    composition: Composition,
    functions: Functions,
    networks: PackedNetworks,
    room: LayerRoom,
    work: Workspace,
    vectors: FloatArray,
    gradient: FloatArray,
    counts: IntArray,
    shares: FloatArray,
    energies: FloatArray,
    forces: FloatArray,
) -> int:
    """Go from positions to energies and forces in one call, which costs Python less than one for each part."""
    structure = positions.reshape((1, len(positions), 3))
    count_neighbours(structure, functions.scalars[0], functions.scalars[3], counts)
    if counts[0, 0] < 0:
        return BROKEN
    fits = counts[0, 0] <= len(work.pair_sums) and counts[0, 1] <= work.near_atom.shape[1]
    if not fits or counts[0, 2] > len(work.triple_ends):
        return CROWDED
    fill_descriptors(positions, composition.species, functions, work, vectors)
    pass_through(networks, composition.bounds, composition.order, vectors, shares, room, energies, gradient)
    fill_forces(functions, work, gradient, forces)
    return DONE


class CompiledNetworks:
    """An ensemble bound to one composition, with room to work in; not to be shared between threads.

    Descriptors are worked out in double precision, networks in single: energies are smooth to about 1e-6 eV, and forces
    are their derivative to about 1e-5 eV/Å. The same positions give the same bits in every run.
    """

    def __init__(
        self, functions: SymmetryFunctions, networks: Networks, self_energies: FloatArray, numbers: IntArray
    ) -> None:
        """Bind to (A,) atomic numbers; `self_energies` are (M, E) eV."""
        self.composition = compose(functions, numbers)
        self._packed, self._networks = functions.packed, networks.packed()
        self._constant = self_energies @ np.diff(self.composition.bounds)
        atoms = len(numbers)
        volume = atoms * max(max(widths) for widths in networks.hidden)
        shape, layers = (atoms, functions.length), len(networks.hidden[0])
        self._room = LayerRoom(
            inputs=np.zeros(shape, np.float32),
            gradient=np.zeros(shape, np.float32),
            values=np.zeros((layers, volume), np.float32),
            slopes=np.zeros((layers, volume), np.float32),
        )
        self._vectors, self._gradient = np.zeros(shape), np.zeros(shape)
        self._energies = np.zeros(networks.members)
        self._counts = np.zeros((1, 4), np.int64)
        self._cutoffs = (functions.radial_cutoff, functions.angular_cutoff)
        self._most = (0, 0, 0)
        self._work = make_workspace(atoms, *self._most, self._packed)

    def place(self, positions: FloatArray) -> bool:
        """Work out the descriptors at (A, 3) Å; say whether the positions are finite.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        positions = self._checked(positions)
        count_neighbours(positions[None], *self._cutoffs, self._counts)
        pairs, near, triples, _ = self._counts[0].tolist()
        if pairs < 0:
            return False
        if pairs > self._most[0] or near > self._most[1] or triples > self._most[2]:
            self._grow(pairs, near, triples)
        fill_descriptors(positions, self.composition.species, self._packed, self._work, self._vectors)
        return True

    def pass_through(self, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return energies (M,) eV, and forces (A, 3) eV/Å of the shared energy, at the place last given.

        Args:
            shares: (M,) see `networks.pass_through`.
        """
        composition = self.composition
        pass_through(
            self._networks,
            composition.bounds,
            composition.order,
            self._vectors,
            shares,
            self._room,
            self._energies,
            self._gradient,
        )
        forces = np.empty((len(composition.species), 3))
        fill_forces(self._packed, self._work, self._gradient, forces)
        return self._energies + self._constant, forces

    def evaluate(self, positions: FloatArray, shares: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return what `place` and `pass_through` do together, or None if the positions are not finite.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        positions = self._checked(positions)
        forces = np.empty(positions.shape)
        outcome = _evaluate(
            positions,
            self.composition,
            self._packed,
            self._networks,
            self._room,
            self._work,
            self._vectors,
            self._gradient,
            self._counts,
            shares,
            self._energies,
            forces,
        )
        if outcome == CROWDED:
            return self.pass_through(shares) if self.place(positions) else None
        return (self._energies + self._constant, forces) if outcome == DONE else None

    def _checked(self, positions: FloatArray) -> FloatArray:
        atoms = len(self.composition.species)
        if positions.shape != (atoms, 3):
            raise StructureError(
                f"A force model takes one position for each of its atoms: it was bound to {atoms} atoms and "
                f"was given an array of shape {positions.shape}. Bind a new one to this structure."
            )
        return np.ascontiguousarray(positions, dtype=np.float64)

    def _grow(self, pairs: int, near: int, triples: int) -> None:
        """Make room for structures a third more crowded than the last."""
        atoms = len(self.composition.species)
        self._most = (
            min(pairs * 4 // 3 + 8, atoms * (atoms - 1) // 2),
            min(near * 4 // 3 + 2, atoms - 1),
            triples * 5 // 3 + 8,
        )
        self._work = make_workspace(atoms, *self._most, self._packed)


class CompiledForceModel:
    """Energy, forces and spread of one composition, in a fraction of a millisecond; see `alflow.types.ForceModel`."""

    def __init__(self, networks: CompiledNetworks, shares: FloatArray) -> None:
        """Drive by a share (M,) of each member."""
        self._networks = networks
        self._shares = np.ascontiguousarray(shares, dtype=np.float64)

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces and spread at (A, 3) Å; NaN if a position is not finite. `start` has no meaning.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        del start
        found = self._networks.evaluate(positions, self._shares)
        if found is None:
            return Evaluation(np.nan, np.full(positions.shape, np.nan), np.nan)
        energies, forces = found
        spread = float(energies.std()) if len(energies) > 1 else 0.0
        return Evaluation(float(energies @ self._shares), forces, spread)
