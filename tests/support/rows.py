"""Rows for tests of the ledger."""

import numpy as np

from alflow.ledger import LedgerRow, Origin
from alflow.types import Composition, Frames

WATER = np.array([8, 1, 1])
PEROXIDE = np.array([8, 8, 1, 1])


def row(seed=0, *, theory="a", numbers=WATER, charge=0, failed=None, **origin):
    rng = np.random.default_rng(seed)
    positions, forces = rng.normal(size=(2, len(numbers), 3))
    label = {"reason": failed} if failed else {"energy": float(rng.normal()), "forces": forces}
    where = Origin(**{"kind": "selected", "iteration": 1, "step": seed, **origin})
    return LedgerRow(theory, Composition(numbers, charge), positions, where, **label)


def frames(*rows):
    return Frames.of(rows[0].numbers, np.array([one.positions for one in rows]), rows[0].charge)
