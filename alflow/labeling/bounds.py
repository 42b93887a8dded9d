"""Beyond which bounds an energy or a force is no label, whatever gave it.

They are wide: no molecule near any reaction comes close to them, in whatever theory and whatever its zero of energy.
What they catch are units, divergences and parameters that are broken.
"""

from __future__ import annotations

import numpy as np

from alflow.types import FloatArray, IntArray

MAX_FORCE_EV_PER_ANGSTROM = 1000.0
"""On any atom. Carbon atoms pressed together to 0.5 Å push with 500 eV/Å; breaking bonds pull with less than 10."""
MAX_ENERGY_PER_ATOM_EV = 100.0
"""Above the zero of energy, wherever it lies: separate atoms, or electrons and nuclei, which is far higher. Bonds are
worth some 5 eV an atom."""
THOMAS_FERMI_EV = 20.92
"""Total energy of a neutral atom of all its electrons, at most, in units of Z^(7/3) (Thomas-Fermi; 0.7687 Hartree)."""


def lowest_energy_ev(numbers: IntArray) -> float:
    """Return what no total energy lies below, eV: twice that of the Thomas-Fermi atoms, and 100 eV an atom.

    Args:
        numbers: (A,) atomic numbers.
    """
    charges = np.asarray(numbers, dtype=np.float64)
    return -float((MAX_ENERGY_PER_ATOM_EV + 2.0 * THOMAS_FERMI_EV * charges ** (7.0 / 3.0)).sum())


def label_fault(numbers: IntArray, energy: float, forces: FloatArray) -> str:
    """Return why an energy and forces cannot be those of a molecule: a sentence, or nothing.

    Args:
        numbers: (A,) atomic numbers.
        energy: eV, finite.
        forces: (A, 3) eV/Å, finite.
    """
    highest, lowest = MAX_ENERGY_PER_ATOM_EV * len(numbers), lowest_energy_ev(numbers)
    if not lowest <= energy <= highest:
        return (
            f"The energy of this molecule lies between {lowest:.6g} and {highest:.6g} eV "
            f"({MAX_ENERGY_PER_ATOM_EV:g} eV an atom), in any theory; found {energy:.6g} eV."
        )
    sizes = np.sqrt((np.asarray(forces) ** 2).sum(axis=-1))
    if sizes.size and sizes.max() > MAX_FORCE_EV_PER_ANGSTROM:
        return (
            f"The force on an atom is at most {MAX_FORCE_EV_PER_ANGSTROM:g} eV/Å; found {sizes.max():.6g} eV/Å on "
            f"atom {int(sizes.argmax())}."
        )
    return ""
