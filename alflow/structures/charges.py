"""Total charge and spin of a structure, as files say them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from ase import Atoms

from alflow.errors import StructureError
from alflow.types import Composition

NAMES = ("charge", "total_charge", "totalcharge", "net_charge")
"""Entries that say it, in any case."""
MULTIPLICITIES = ("multiplicity", "spin_multiplicity")
"""Entries that say 2S + 1, in any case."""
ROUNDED = 0.05
"""Charges of atoms add up to a whole number within this, elementary charges."""


def composition_of(atoms: Atoms, place: str, notes: list[str]) -> Composition:
    """Return atoms, total charge and multiplicity; arguments as of `total_charge`.

    Raises:
        StructureError: as `total_charge`; or an entry `multiplicity` (or `spin_multiplicity`) is none that the
            electrons can have.
    """
    charge = total_charge(atoms, place, notes)
    said = {_multiplicity(value, name, place) for name, value in _entries(atoms.info, MULTIPLICITIES)}
    if len(said) > 1:
        raise StructureError(f"A structure has one multiplicity; {place} names several: {sorted(said)}.")
    try:
        return Composition(atoms.numbers, charge, next(iter(said), 0))
    except StructureError as error:
        raise StructureError(f"{error} This is {place}.") from error


def total_charge(atoms: Atoms, place: str, notes: list[str]) -> int:
    """Return the total charge of a structure, elementary charges: 0 where nothing says it.

    It is said by an entry `charge` (or `total_charge`, ...) of the frame or, without one, by the charges of its atoms
    (`initial_charges`), which add up to it.

    Args:
        atoms: as read.
        place: which frame of which file it is, for messages.
        notes: gets a sentence on what was ignored.

    Raises:
        StructureError: an entry is no whole number, or two contradict each other.
    """
    said = {}
    for name, value in _entries(atoms.info, NAMES):
        if isinstance(value, bool | np.bool_):
            notes.append(f"An entry {name!r} without a number says no charge; it is ignored.")
        else:
            said[name] = _whole(value, name, place)
    charges = atoms.arrays.get("initial_charges")
    if charges is not None and np.any(charges) and not said:
        said["initial_charges"] = _added_up(charges, place)
        if said["initial_charges"]:
            notes.append("The total charge is what the charges of the atoms (initial_charges) add up to.")
    if len(set(said.values())) > 1:
        both = ", ".join(f"{name} {value:+d}" for name, value in said.items())
        raise StructureError(f"A structure has one total charge; {place} names several: {both}.")
    return next(iter(said.values()), 0)


def _entries(info: Mapping[str, Any], names: Collection[str]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in info.items() if isinstance(name, str) and name.lower() in names]


def _multiplicity(value: Any, name: str, place: str) -> int:
    if not isinstance(value, bool | np.bool_) and isinstance(value, int | np.integer) and 1 <= value <= 1000:
        return int(value)
    raise StructureError(
        f"A multiplicity is 2S + 1, a whole number from 1 on; {place} has {name} = {np.asarray(value).tolist()!r}."
    )


def _whole(value: Any, name: str, place: str) -> int:
    """Return a charge as a whole number.

    Raises:
        StructureError: it is none.
    """
    number = math.nan
    if isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value):
        number = float(value)
    elif isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "if":
        number = float(value.reshape(-1)[0])
    if not math.isfinite(number) or not number.is_integer() or abs(number) > 1000:
        raise StructureError(
            f"A total charge is a whole number of elementary charges; {place} has {name} = "
            f"{np.asarray(value).tolist()!r}."
        )
    return int(number)


def _added_up(charges: Any, place: str) -> int:
    total = float(np.sum(charges))
    if not math.isfinite(total) or abs(total - round(total)) > ROUNDED:
        raise StructureError(
            f"The charges of the atoms must add up to a whole number; those of {place} (initial_charges) give "
            f"{total:.3f}. Name the total charge: charge=..."
        )
    return round(total)
