"""Energies and forces of one structure after the other: descriptors, networks, forces."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.geometry import count_neighbours, fill_descriptors, fill_forces
from alflow.potentials.ani.kernels.networks import (
    NetworkWorkspace,
    PackedNetworks,
    evaluate_networks,
    make_network_workspace,
)
from alflow.potentials.ani.kernels.workspace import (
    ANGULAR_CUTOFF,
    RADIAL_CUTOFF,
    Functions,
    Workspace,
    make_workspace,
)
from alflow.types import Evaluation, FloatArray, IntArray


class SortedAtoms(NamedTuple):
    """The atoms of a structure, sorted by element."""

    species: IntArray
    """(A,) rows of the elements, in the order of the atoms."""
    order: IntArray
    """(A,) atoms sorted by element."""
    bounds: IntArray
    """(E + 1,) first sorted atom of each element."""


def sort_atoms(species: IntArray, elements: int) -> SortedAtoms:
    """Return what follows from (A,) rows of so many elements."""
    counts = np.bincount(species, minlength=elements)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SortedAtoms(species, np.argsort(species, kind="stable").astype(np.int64), bounds)


DONE, NOT_FINITE, TOO_SMALL = range(3)
"""What `_evaluate` returns: it is done, a position is not finite, the workspace is too small for the structure."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    positions: FloatArray,
    atoms: SortedAtoms,
    functions: Functions,
    networks: PackedNetworks,
    network_work: NetworkWorkspace,
    work: Workspace,
    vectors: FloatArray,
    gradient: FloatArray,
    counts: IntArray,
    member_weights: FloatArray,
    energies: FloatArray,
    forces: FloatArray,
) -> int:
    """Go from positions to energies and forces in one call, which costs Python less than one for each part."""
    structure = positions.reshape((1, len(positions), 3))
    count_neighbours(structure, functions.scalars[RADIAL_CUTOFF], functions.scalars[ANGULAR_CUTOFF], counts)
    if counts[0, 0] < 0:
        return NOT_FINITE
    fits = counts[0, 0] <= len(work.pair_sums) and counts[0, 1] <= work.neighbour_atom.shape[1]
    if not fits or counts[0, 2] > len(work.triple_ends):
        return TOO_SMALL
    fill_descriptors(positions, atoms.species, functions, work, vectors)
    evaluate_networks(networks, atoms.bounds, atoms.order, vectors, member_weights, network_work, energies, gradient)
    fill_forces(functions, work, gradient, forces)
    return DONE


class Evaluator:
    """An ensemble bound to one composition, with its workspaces; not to be shared between threads.

    Descriptors are worked out in double precision, networks in single: energies are smooth to about 1e-6 eV, and forces
    are their derivative to about 1e-5 eV/Å. The same positions give the same bits in every run.
    """

    def __init__(
        self, functions: Functions, networks: PackedNetworks, self_energies: FloatArray, species: IntArray
    ) -> None:
        """Bind to (A,) rows of the elements; `self_energies` are (M, E) eV."""
        self._functions, self._networks = functions, networks
        self._atoms = sort_atoms(species, len(functions.pair_columns))
        self._constant = self_energies @ np.diff(self._atoms.bounds)
        shape = len(species), functions.length
        self._network_work = make_network_workspace(networks, *shape)
        self._vectors, self._gradient = np.zeros(shape), np.zeros(shape)
        self._energies = np.zeros(len(self_energies))
        self._counts = np.zeros((1, 4), np.int64)
        self._cutoffs = float(functions.scalars[RADIAL_CUTOFF]), float(functions.scalars[ANGULAR_CUTOFF])
        self._most = (0, 0, 0)
        self._work = make_workspace(len(species), *self._most, functions)

    def fill_descriptors(self, positions: FloatArray) -> bool:
        """Work out the descriptors at (A, 3) Å; say whether the positions are finite.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        positions = self._checked(positions)
        count_neighbours(positions[None], *self._cutoffs, self._counts)
        pairs, neighbours, triples, _ = self._counts[0].tolist()
        if pairs < 0:
            return False
        if pairs > self._most[0] or neighbours > self._most[1] or triples > self._most[2]:
            self._grow(pairs, neighbours, triples)
        fill_descriptors(positions, self._atoms.species, self._functions, self._work, self._vectors)
        return True

    def evaluate_networks(self, member_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return energies (M,) eV, and forces (A, 3) eV/Å of their weighted sum, with the descriptors last filled.

        Args:
            member_weights: (M,) see `networks.evaluate_networks`.
        """
        evaluate_networks(
            self._networks,
            self._atoms.bounds,
            self._atoms.order,
            self._vectors,
            member_weights,
            self._network_work,
            self._energies,
            self._gradient,
        )
        forces = np.empty((len(self._atoms.species), 3))
        fill_forces(self._functions, self._work, self._gradient, forces)
        return self._energies + self._constant, forces

    def evaluate(self, positions: FloatArray, member_weights: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return what `fill_descriptors` and `evaluate_networks` do together; None if the positions are not finite.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        positions = self._checked(positions)
        forces = np.empty(positions.shape)
        outcome = _evaluate(
            positions,
            self._atoms,
            self._functions,
            self._networks,
            self._network_work,
            self._work,
            self._vectors,
            self._gradient,
            self._counts,
            member_weights,
            self._energies,
            forces,
        )
        if outcome == TOO_SMALL:
            return self.evaluate_networks(member_weights) if self.fill_descriptors(positions) else None
        return (self._energies + self._constant, forces) if outcome == DONE else None

    def _checked(self, positions: FloatArray) -> FloatArray:
        atoms = len(self._atoms.species)
        if positions.shape != (atoms, 3):
            raise StructureError(
                f"A force model takes one position for each of its atoms: it was bound to {atoms} atoms and "
                f"was given an array of shape {positions.shape}. Bind a new one to this structure."
            )
        return np.ascontiguousarray(positions, dtype=np.float64)

    def _grow(self, pairs: int, neighbours: int, triples: int) -> None:
        """Allocate a workspace for structures a third more crowded than the last."""
        atoms = len(self._atoms.species)
        self._most = (
            min(pairs * 4 // 3 + 8, atoms * (atoms - 1) // 2),
            min(neighbours * 4 // 3 + 2, atoms - 1),
            triples * 5 // 3 + 8,
        )
        self._work = make_workspace(atoms, *self._most, self._functions)


class CompiledForceModel:
    """Energy, forces and spread of one composition, in a fraction of a millisecond; see `alflow.types.ForceModel`."""

    def __init__(self, evaluator: Evaluator, member_weights: FloatArray) -> None:
        """Drive by the weighted sum of the members; `member_weights` are (M,)."""
        self._evaluator = evaluator
        self._weights = np.ascontiguousarray(member_weights, dtype=np.float64)

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces and spread at (A, 3) Å; NaN if a position is not finite. `start` has no meaning.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        del start
        found = self._evaluator.evaluate(positions, self._weights)
        if found is None:
            return Evaluation(np.nan, np.full(positions.shape, np.nan), np.nan)
        energies, forces = found
        spread = float(energies.std()) if len(energies) > 1 else 0.0
        return Evaluation(float(energies @ self._weights), forces, spread)
