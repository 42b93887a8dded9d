"""Molecules and tables that the tests of this folder share."""

from collections.abc import Callable

import numpy as np
import pytest
from ase.data import atomic_numbers

from alflow.dftb.parameter_sets import THREE_OB
from alflow.dftb.parameters import locate, read_pair
from alflow.dftb.tables import Tables, build_tables


@pytest.fixture(scope="session")
def tables_of() -> Callable[..., Tables]:
    """Return a function from element symbols to tables of 3OB."""
    folder = locate("3ob-3-1")
    files = {}

    def make(symbols: list[str], **settings) -> Tables:
        numbers = np.array([atomic_numbers[symbol] for symbol in symbols])
        for pair in {(int(a), int(b)) for a in numbers for b in numbers} - files.keys():
            files[pair] = read_pair(THREE_OB, folder, pair, check=True)
        return build_tables(
            numbers, files, THREE_OB.elements, **{"third_order": True, "hydrogen_damping_zeta": 4.0, **settings}
        )

    return make
