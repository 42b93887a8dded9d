"""Energies and forces as files hold them: found by their keys, and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from alflow.errors import StructureError
from alflow.structures.xyz import FORTRAN
from alflow.types import FloatArray


@dataclass(frozen=True)
class LabelKeys:
    """What energies and forces are called in a file."""

    energy: str = "energy"
    """eV."""
    forces: str = "forces"
    """eV/Å."""


USUAL_KEYS = LabelKeys()


def has_label(atoms: Atoms, keys: LabelKeys) -> bool:
    """Say whether a frame has what is called energy and forces."""
    return _found(atoms, keys.energy) is not None and _found(atoms, keys.forces) is not None


def label_of(atoms: Atoms, keys: LabelKeys, place: str) -> tuple[float, FloatArray]:
    """Return energy (eV) and forces (A, 3) eV/Å of a frame.

    Raises:
        StructureError: one is missing, or is not what it has to be.
    """
    for name, option in ((keys.energy, "--energy-key"), (keys.forces, "--forces-key")):
        if _found(atoms, name) is None:
            raise StructureError(
                f"A labelled frame has energy (eV) and forces (eV/Å); {place} has no {name!r}. {_what_there_is(atoms)} "
                f"{option} names another."
            )
    return _energy(_found(atoms, keys.energy), keys.energy, place), _forces(
        _found(atoms, keys.forces), keys.forces, place, len(atoms)
    )


def _found(atoms: Atoms, name: str) -> Any:
    """Return what a frame has under a name: a result of a calculation, an array over its atoms, or an entry."""
    for kept in (atoms.calc.results if atoms.calc is not None else {}, atoms.arrays, atoms.info):
        if kept.get(name) is not None:
            return kept[name]
    return None


def _energy(value: Any, name: str, place: str) -> float:
    energy = math.nan
    if isinstance(value, str):
        try:
            energy = float(FORTRAN.sub("e", value))
        except ValueError:
            energy = math.nan
    elif not isinstance(value, bool | np.bool_):
        found = np.asarray(value)
        if found.size == 1 and found.dtype.kind in "if":
            energy = float(found.reshape(-1)[0])
    if not math.isfinite(energy):
        raise StructureError(f"An energy is one finite number, in eV; {name!r} of {place} is {_shown(value)}.")
    return energy


def _forces(value: Any, name: str, place: str, atoms: int) -> FloatArray:
    found = np.asarray(value)
    if found.shape != (atoms, 3) or found.dtype.kind not in "if":
        raise StructureError(
            f"Forces are three numbers an atom, in eV/Å; {name!r} of {place}, which has {atoms} atoms, has the shape "
            f"{found.shape}" + ("." if found.dtype.kind in "if" else f" and holds {found.dtype.name}.")
        )
    forces = np.ascontiguousarray(found, dtype=np.float64)
    if not np.isfinite(forces).all():
        atom = int(np.flatnonzero(~np.isfinite(forces).all(axis=1))[0])
        raise StructureError(f"Forces are finite; {name!r} of {place} is not at atom {atom}.")
    return forces


def _what_there_is(atoms: Atoms) -> str:
    """Name what else a frame has that could be meant."""
    results = atoms.calc.results if atoms.calc is not None else {}
    numbers = [name for name, value in {**atoms.info, **results}.items() if _is_number(value) and "en" in name.lower()]
    tables = [
        name
        for name, value in {**atoms.arrays, **results}.items()
        if name not in ("positions", "momenta") and np.shape(value) == (len(atoms), 3)
    ]
    found = [*numbers, *tables]
    return f"It has {', '.join(map(repr, found))}." if found else "It has nothing of the kind."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(np.asarray(value).tolist())
    return text if len(text) <= 60 else text[:57] + "..."
