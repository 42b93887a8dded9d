"""Energy and forces of a structure by a calculator of ASE's interface, and proof that they are of this structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from alflow.errors import LabelError
from alflow.types import Evaluation

SAME_ANGSTROM = 1e-3
"""Largest distance of an atom from where it was asked for; programs print and read back rounded coordinates."""


def evaluate(asked: Atoms, calculator: Any) -> Evaluation:
    """Return forces and the energy that they derive from, and make sure that they are of this structure."""
    atoms, again = asked.copy(), asked.copy()  # a calculator may move what it is given
    atoms.calc = again.calc = calculator
    forces = atoms.get_forces()
    evaluation = Evaluation(_consistent_energy(again), forces)
    for computed in (atoms, again, getattr(calculator, "atoms", None)):
        _require_same(asked, computed)
    return evaluation


def _consistent_energy(atoms: Atoms) -> Any:
    """Return the energy that the forces derive from, where the calculator tells it from the other."""
    try:
        energy = atoms.get_potential_energy(force_consistent=True)
    except (PropertyNotImplementedError, TypeError):  # not every calculator knows the argument
        energy = None
    return atoms.get_potential_energy() if energy is None else energy


def _require_same(asked: Atoms, computed: object) -> None:
    """Refuse what was computed for another structure: relaxed, turned, or left over from an earlier one.

    Raises:
        LabelError: "engine-error".
    """
    if not isinstance(computed, Atoms):
        return
    if sorted(computed.numbers) != sorted(asked.numbers):
        raise LabelError(
            "engine-error",
            f"A calculator must label the structure that it is given, {asked.get_chemical_formula()}; it labelled "
            f"{computed.get_chemical_formula()}.",
        )
    shift = computed.positions - asked.positions
    moved = float(np.abs(shift - shift.mean(axis=0)).max(initial=0.0))
    if np.array_equal(computed.numbers, asked.numbers) and not moved < SAME_ANGSTROM:
        raise LabelError(
            "engine-error",
            f"A calculator must label the structure that it is given; it labelled one whose atoms are up to "
            f"{moved:.3g} Å from there (does it relax, or keep an earlier structure?).",
        )
