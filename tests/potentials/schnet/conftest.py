import numpy as np
import pytest

from alflow.potentials.schnet.settings import SchNetSettings
from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, Labels, Split

OFFSET = {1: -13.0, 6: -38.0}


def morse(frames):
    """Every pair a Morse bond: energies and exact forces."""
    x, n = frames.positions, frames.numbers
    i, j = np.triu_indices(len(n), 1)
    depth, length = 0.3 * np.sqrt(n[i] * n[j]), 0.9 + 0.05 * (n[i] + n[j])
    apart = x[:, j] - x[:, i]
    r = np.linalg.norm(apart, axis=2)
    e = np.exp(-1.5 * (r - length))
    energies = (depth * ((1 - e) ** 2 - 1)).sum(1) + sum(OFFSET[int(z)] for z in n)
    push = (3.0 * depth * (1 - e) * e / r)[:, :, None] * apart
    forces = np.zeros_like(x)
    np.add.at(forces, (slice(None), i), push)
    np.add.at(forces, (slice(None), j), -push)
    return Labels(energies, forces)


def group(carbons, count, seed):
    frames = alkane(carbons)
    noise = np.random.default_rng(seed).normal(0, 0.08, (count, len(frames.numbers), 3))
    frames = Frames.of(frames.numbers, frames.positions + noise)
    return Group(frames, morse(frames))


@pytest.fixture(scope="session")
def dataset():
    return Dataset((group(1, 30, 0), group(2, 30, 1)))


@pytest.fixture(scope="session")
def splits():
    rows = [np.random.default_rng(k).permutation(60) for k in range(2)]
    return [Split(np.sort(r[:48]), np.sort(r[48:])) for r in rows]


@pytest.fixture(scope="session")
def small():
    return SchNetSettings(
        features=16, gaussians=12, interactions=2, epochs=12, batch_size=8, learning_rate=1e-2, averaging=0.9
    )
