"""ASE's SQLite database: origin, charge and spin as keys of each row, theory and diagnostics in its data.

ASE's own sum of initial charges (``row.charge``) is the total charge too: the first atom has all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from alflow.files.targets import writing
from alflow.ledger.formats.protocol import FormatKind, LabelSelection, place


class ASEDatabase(FormatKind):
    """ASE's database."""

    endings: ClassVar[tuple[str, ...]] = (".db",)

    def write(self, labels: LabelSelection, path: Path) -> int:
        """Write labels."""
        from ase.db import connect  # noqa: PLC0415 - slow to import

        written = 0
        with writing(path, "The export") as part:
            database = connect(part, type="db", append=False)
            with database:
                for row in labels:
                    atoms = Atoms(row.numbers, row.positions)
                    if row.charge:
                        atoms.set_initial_charges([row.charge] + [0.0] * (len(atoms) - 1))
                    atoms.calc = SinglePointCalculator(atoms, energy=row.energy, forces=row.forces)
                    spin = row.composition.multiplicity
                    keys = {"origin": row.origin.kind, "total_charge": row.charge, "multiplicity": spin}
                    keys |= place(row.origin)
                    database.write(atoms, keys, {"theory": row.theory, "diagnostics": dict(row.diagnostics)})
                    written += 1
            database.metadata = {"theory": labels.theory}
        return written


KIND = ASEDatabase()
