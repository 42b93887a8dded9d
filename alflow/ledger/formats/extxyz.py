"""Extended XYZ: eV and Å, numbers to the last bit; charge, theory, origin and diagnostics in each comment line."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ase import Atoms

from alflow.ledger.formats.protocol import FormatKind, LabelSelection, place
from alflow.structures.extxyz import diagnostic_entries, extxyz_frame
from alflow.structures.writing import COMPRESSED, SUFFIXES, writing_extxyz


class ExtXYZ(FormatKind):
    """Extended XYZ, compressed as the name says."""

    endings: ClassVar[tuple[str, ...]] = SUFFIXES
    compressed: ClassVar[tuple[str, ...]] = tuple(COMPRESSED)

    def write(self, labels: LabelSelection, path: Path) -> int:
        """Write labels."""
        written = 0
        with writing_extxyz(path, "The export") as file:
            for row in labels:
                origin = row.origin
                spin = {} if row.composition.is_lowest else {"multiplicity": row.composition.multiplicity}
                told = diagnostic_entries(row.diagnostics)
                info = {
                    "charge": row.charge,
                    **spin,
                    "theory": row.theory,
                    "origin": origin.kind,
                    **place(origin),
                    **told,
                }
                file.write(extxyz_frame(Atoms(row.numbers, row.positions), row.energy, row.forces, info))
                written += 1
        return written


KIND = ExtXYZ()
