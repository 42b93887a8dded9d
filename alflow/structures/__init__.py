"""Molecules: built, read from files, and what can be told from a geometry."""

from alflow.structures.alkanes import alkane, end_carbons
from alflow.structures.datasets import LabelledFile, group_rows, read_dataset
from alflow.structures.files import Structure, StructureFile, read_structure, read_structures
from alflow.structures.geometry import (
    BOND_FACTOR,
    CLOSEST_ANGSTROM,
    LOOSE_BOND_FACTOR,
    bonds,
    check_structure,
    closest_pair,
    fragments,
    heavy_bonds,
)
from alflow.structures.labels import LabelKeys

__all__ = [
    "BOND_FACTOR",
    "CLOSEST_ANGSTROM",
    "LOOSE_BOND_FACTOR",
    "LabelKeys",
    "LabelledFile",
    "Structure",
    "StructureFile",
    "alkane",
    "bonds",
    "check_structure",
    "closest_pair",
    "end_carbons",
    "fragments",
    "group_rows",
    "heavy_bonds",
    "read_dataset",
    "read_structure",
    "read_structures",
]
