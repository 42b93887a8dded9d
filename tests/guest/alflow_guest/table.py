"""A file format: one line a label, numbers as Python writes them."""

import json

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from alflow.files.targets import writing
from alflow.ledger.formats.protocol import FormatKind


class Table(FormatKind):
    """One JSON array a line: atomic numbers, charge, positions, energy, forces, theory."""

    endings = (".table",)
    reads = True

    def write(self, labels, path):
        count = 0
        with writing(path, "The table") as part, part.open("w", encoding="utf-8") as file:
            for row in labels:
                line = [row.numbers.tolist(), row.charge, row.positions.tolist(), row.energy, row.forces.tolist()]
                file.write(json.dumps([*line, row.theory]) + "\n")
                count += 1
        return count

    def read(self, path):
        for line in path.read_text(encoding="utf-8").splitlines():
            numbers, charge, positions, energy, forces, theory = json.loads(line)
            atoms = Atoms(numbers, positions, info={"charge": charge, "theory": theory})
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.array(forces))
            yield atoms


KIND = Table()
