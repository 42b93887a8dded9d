"""What a calculator of ASE's interface is given of a structure: its charge and spin, magnetic moments, a box."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from pydantic import JsonValue

from alflow.errors import InputError, LabelError
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.labeling.kinds.names import INFO, with_argument
from alflow.types import Composition, FloatArray

_GRAIN = 2.0**-20
"""Moments are multiples of it, Bohr magnetons, so that their sum has no rounding: programs cut it to a whole number."""


def require_elements_of_magmoms(settings: ASECalculatorSettings) -> None:
    """Refuse moments of elements that there are not.

    Raises:
        InputError: names the first.
    """
    if isinstance(settings.magmoms, dict):
        for symbol in settings.magmoms:
            if symbol not in atomic_numbers or symbol == "X":
                raise InputError(f"magmoms are given by the symbols of elements; {symbol!r} is none.")


def require_given(settings: ASECalculatorSettings, composition: Composition) -> None:
    """Refuse a charge, or a spin other than the lowest, that the calculator would not know of.

    Raises:
        LabelError: "bad-charge" or "bad-multiplicity".
    """
    arguments = settings.arguments
    charge = arguments.get("charge", 0)
    if not settings.charge_argument and charge != composition.charge:
        raise LabelError(
            "bad-charge",
            f"An ASE calculator takes the charge from its arguments; they say {charge!r}, the structure "
            f"{composition.charge:+d}. Set the argument `charge`, or name the one that takes it as charge_argument.",
        )
    if _takes_spin(settings):
        return
    spin = arguments.get("multiplicity", composition.lowest_multiplicity)
    if spin != composition.multiplicity:
        raise LabelError(
            "bad-multiplicity",
            f"An ASE calculator takes the multiplicity from its arguments; they say {spin!r}, the structure "
            f"{composition.multiplicity}. Set the argument `multiplicity`, or name the one that takes it as "
            "multiplicity_argument (or unpaired_argument), or set magmoms.",
        )


def arguments_for(settings: ASECalculatorSettings, composition: Composition | None) -> dict[str, JsonValue]:
    """Return the arguments of a calculator that labels atoms of this charge and spin.

    Args:
        settings: with the names of the arguments that take them.
        composition: the atoms; None for those of a calculator that is only tried.
    """
    arguments = dict(settings.arguments)
    for name, value in _named(settings, composition):
        if not name.startswith(INFO):
            arguments = with_argument(arguments, name, value)
    return arguments


def atoms_for(settings: ASECalculatorSettings, composition: Composition, positions: FloatArray) -> Atoms:
    """Return a structure as a calculator gets it.

    Args:
        settings: that say what it gets.
        composition: of A atoms.
        positions: (A, 3) Å.

    Raises:
        LabelError: "bad-multiplicity" where the moments of `magmoms` do not make this spin; "implausible-structure"
            where the box does not hold the molecule.
    """
    atoms = Atoms(numbers=composition.numbers, positions=positions)
    for name, value in _named(settings, composition):
        if name.startswith(INFO):
            atoms.info = with_argument(atoms.info, name.removeprefix(INFO), value)
    moments = magnetic_moments(settings, composition)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    if settings.box_angstrom is not None:
        _put_into_box(atoms, np.broadcast_to(settings.box_angstrom, 3).astype(float), periodic=settings.box_periodic)
    return atoms


def magnetic_moments(settings: ASECalculatorSettings, composition: Composition) -> FloatArray | None:
    """Return the initial moments of the atoms, (A,) Bohr magnetons, whose sum is the number of unpaired electrons.

    None where none are wanted, and where all would be zero.

    Raises:
        LabelError: "bad-multiplicity".
    """
    choice, unpaired = settings.magmoms, composition.multiplicity - 1
    if choice == "none":
        return None
    if isinstance(choice, tuple):
        return _listed(choice, composition)
    if not unpaired:
        return None
    if isinstance(choice, dict):
        weights = np.array([choice.get(chemical_symbols[number], 0.0) for number in composition.numbers])
    else:
        weights = np.ones(len(composition))
    if not weights.sum() > 0:
        raise LabelError(
            "bad-multiplicity",
            f"The moments of magmoms are scaled to the number of unpaired electrons; the atoms here have {choice}, "
            f"which add up to {weights.sum():g}, and {unpaired} unpaired electrons.",
        )
    moments: FloatArray = np.floor(weights * (unpaired / weights.sum()) / _GRAIN) * _GRAIN
    moments[np.abs(weights).argmax()] += unpaired - moments.sum()
    return moments


def require_spin(settings: ASECalculatorSettings, composition: Composition, calculator: object) -> None:
    """Refuse a label of another spin than was asked for, where the settings ask for one and the results tell theirs.

    Args:
        settings: that say whether a spin is handed over.
        composition: of the structure.
        calculator: whose `results` may have `magmom`, the total magnetic moment in Bohr magnetons.

    Raises:
        LabelError: "bad-multiplicity".
    """
    results, unpaired = getattr(calculator, "results", None), composition.multiplicity - 1
    found = results.get("magmom") if isinstance(results, Mapping) else None
    if not _takes_spin(settings) or not isinstance(found, (float, int, np.floating, np.integer)):
        return
    if abs(abs(float(found)) - unpaired) >= 0.5:
        raise LabelError(
            "bad-multiplicity",
            f"A label has the spin that was asked for, {unpaired} unpaired electrons; the calculator ended with a "
            f"total magnetic moment of {float(found):.3g}. Fix the moment among its arguments.",
        )


def _takes_spin(settings: ASECalculatorSettings) -> bool:
    return bool(settings.multiplicity_argument or settings.unpaired_argument or settings.magmoms != "none")


def _listed(choice: tuple[float, ...], composition: Composition) -> FloatArray:
    unpaired = composition.multiplicity - 1
    if len(choice) != len(composition) or not abs(sum(choice) - unpaired) < 1e-3:
        raise LabelError(
            "bad-multiplicity",
            f"Moments that magmoms lists are one an atom, and add up to the unpaired electrons; found {len(choice)} "
            f"that add up to {sum(choice):g}, for {len(composition)} atoms with {unpaired}.",
        )
    return np.array(choice)


def _named(settings: ASECalculatorSettings, composition: Composition | None) -> list[tuple[str, int]]:
    """Return the names that take charge and spin, each with its value."""
    charge, spin = (composition.charge, composition.multiplicity) if composition is not None else (0, 1)
    values = {
        settings.charge_argument: charge,
        settings.multiplicity_argument: spin,
        settings.unpaired_argument: spin - 1,
    }
    return [(name, value) for name, value in values.items() if name is not None]


def _put_into_box(atoms: Atoms, edges: FloatArray, *, periodic: bool) -> None:
    """Move atoms so that their mean lies in the middle of a box, edges in Å."""
    atoms.positions += edges / 2 - atoms.positions.mean(axis=0)
    atoms.cell, atoms.pbc = np.diag(edges), periodic
    if (atoms.positions < 0).any() or (atoms.positions > edges).any():
        reach = np.abs(atoms.positions - edges / 2).max(axis=0)
        raise LabelError(
            "implausible-structure",
            f"The box (box_angstrom) must hold the molecule, whose atoms are up to {np.round(reach, 2).tolist()} Å "
            f"from its middle; half its edges are {(edges / 2).tolist()} Å.",
        )
