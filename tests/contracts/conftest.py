"""What the contracts are tried on: every kind that can be imported here, the guest's among them."""

import numpy as np
import pytest
from guests import welcome

from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, Labels

welcome()


@pytest.fixture(scope="session")
def ethane() -> Frames:
    """Return distorted frames of ethane."""
    start = alkane(2)
    rng = np.random.default_rng(3)
    return Frames.of(start.numbers, start.positions[0] + rng.normal(0.0, 0.05, (12, len(start.numbers), 3)))


@pytest.fixture(scope="session")
def dataset(ethane) -> Dataset:
    """Return labels of those frames by a model of springs: smooth, and quick."""
    rest = alkane(2).positions[0]
    gap = ethane.positions - rest
    return Dataset((Group(ethane, Labels(2.0 * (gap**2).sum(axis=(1, 2)) - 20.0, -4.0 * gap)),))
