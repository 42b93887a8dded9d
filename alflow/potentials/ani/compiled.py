"""Energies and forces of structures by the compiled route: descriptors, networks, forces in one call."""

from __future__ import annotations

import numpy as np

from alflow.errors import StructureError
from alflow.potentials.ani.kernels import Composition, Room, Workspace, make_workspace, step
from alflow.potentials.ani.network import Networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import Evaluation, FloatArray, IntArray


def compose(functions: SymmetryFunctions, numbers: IntArray) -> Composition:
    """Return what follows from (A,) atomic numbers.

    Raises:
        StructureError: an element is unknown to the functions.
    """
    species = functions.species(numbers)
    counts = np.bincount(species, minlength=len(functions.elements))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Composition(species, np.argsort(species, kind="stable").astype(np.int64), bounds)


def make_room(functions: SymmetryFunctions, networks: Networks, atoms: int) -> Room:
    """Allocate room for structures of so many atoms."""
    widest = max(max(widths) for widths in networks.hidden)
    layers = len(networks.hidden[0])
    shape = (atoms, functions.length)
    return Room(
        vectors=np.zeros(shape),
        inputs=np.zeros(shape, np.float32),
        sorted_gradient=np.zeros(shape, np.float32),
        gradient=np.zeros(shape),
        values=np.zeros((layers, atoms * widest), np.float32),
        slopes=np.zeros((layers, atoms * widest), np.float32),
        energies=np.zeros(networks.members),
        forces=np.zeros((atoms, 3)),
        counts=np.zeros((1, 4), np.int64),
    )


def grown_workspace(functions: SymmetryFunctions, atoms: int, counts: IntArray) -> Workspace:
    """Return a workspace for structures a third more crowded than the (1, 4) counts of one."""
    pairs, near, triples, _ = (int(count) for count in counts[0])
    return make_workspace(
        atoms,
        min(pairs * 4 // 3 + 8, atoms * (atoms - 1) // 2),
        min(near * 4 // 3 + 2, atoms - 1),
        triples * 5 // 3 + 8,
        functions.packed,
    )


class CompiledForceModel:
    """Energy, forces and spread of one composition, in a fraction of a millisecond; see `alflow.types.ForceModel`.

    Descriptors are worked out in double precision, networks in single: energies are smooth to about 1e-6 eV, and forces
    are their derivative to about 1e-5 eV/Å. The same positions give the same bits in every run.
    """

    def __init__(
        self,
        functions: SymmetryFunctions,
        networks: Networks,
        self_energies: FloatArray,
        numbers: IntArray,
        shares: FloatArray,
    ) -> None:
        """Bind to (A,) atomic numbers; `shares` (M,) say how much each member drives, `self_energies` are (M, E) eV."""
        self._functions = functions
        self._composition = compose(functions, numbers)
        self._networks = networks.packed()
        self._shares = np.ascontiguousarray(shares, dtype=np.float64)
        counts = np.diff(self._composition.bounds)
        self._constant = self_energies @ counts
        self._room = make_room(functions, networks, len(numbers))
        self._work = make_workspace(len(numbers), 1, 1, 1, functions.packed)

    def __call__(self, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return energy, forces and spread at (A, 3) Å. `start` has no meaning here.

        Raises:
            StructureError: there are not as many positions as atoms.
        """
        del start
        atoms = len(self._composition.species)
        if positions.shape != (atoms, 3):
            raise StructureError(
                f"A force model takes one position for each of its atoms: it was bound to {atoms} atoms and "
                f"was given an array of shape {positions.shape}. Bind a new one to this structure."
            )
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        arguments = (positions, self._composition, self._functions.packed, self._networks, self._shares)
        if not step(*arguments, self._work, self._room):
            self._work = grown_workspace(self._functions, atoms, self._room.counts)
            step(*arguments, self._work, self._room)
        energies = self._room.energies + self._constant
        spread = float(energies.std()) if len(energies) > 1 else 0.0
        return Evaluation(float(energies @ self._shares), self._room.forces.copy(), spread)
