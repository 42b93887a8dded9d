"""Removal of labels that a user wants to take out of a ledger again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alflow.ledger.reader import LedgerReader
from alflow.ledger.rows import LedgerRow, OriginKind, structure_keys
from alflow.structures import Structure, group_rows
from alflow.types import Composition, Frames


@dataclass(frozen=True)
class Unwanted:
    """What labels have in common that are to be taken out; all that is given has to hold."""

    kind: OriginKind | None = None
    """Why they were asked for."""
    iteration: int | None = None
    """Iteration that asked for them."""
    force_above_ev_per_angstrom: float | None = None
    """Largest force component, eV/Å, that they exceed."""
    energy_above_ev: float | None = None
    """Energy above the median of all labels of the same molecule, eV, that they exceed in size."""
    structures: tuple[Structure, ...] = ()
    """Their structures, if any are given."""

    @property
    def says_anything(self) -> bool:
        """Whether anything is given at all."""
        return self != Unwanted()


def find_labels(ledger: LedgerReader, theory: str, unwanted: Unwanted) -> list[LedgerRow]:
    """Return the labels of a theory that are meant, each once."""
    rows = [row for row in ledger.rows(theory) if row.reason is None]
    usual = _medians(rows)
    wanted = _keys(theory, unwanted.structures)
    return [row for row in rows if _is_meant(row, unwanted, usual) and (not unwanted.structures or row.key in wanted)]


def _is_meant(row: LedgerRow, unwanted: Unwanted, usual: dict[Composition, float]) -> bool:
    force, energy = unwanted.force_above_ev_per_angstrom, unwanted.energy_above_ev
    assert row.forces is not None
    assert row.energy is not None
    return (
        unwanted.kind in (None, row.origin.kind)
        and unwanted.iteration in (None, row.origin.iteration)
        and (force is None or float(np.abs(row.forces).max(initial=0.0)) > force)
        and (energy is None or abs(row.energy - usual[row.composition]) > energy)
    )


def _medians(rows: list[LedgerRow]) -> dict[Composition, float]:
    """Return the median energy of each molecule, eV."""
    energies: dict[Composition, list[float]] = {}
    for row in rows:
        assert row.energy is not None
        energies.setdefault(row.composition, []).append(row.energy)
    return {molecule: float(np.median(values)) for molecule, values in energies.items()}


def _keys(theory: str, structures: tuple[Structure, ...]) -> set[bytes]:
    found: set[bytes] = set()
    for composition, rows in group_rows(structures).items():
        positions = np.array([structures[row].atoms.positions for row in rows])
        found.update(structure_keys(theory, Frames(composition, positions)))
    return found
