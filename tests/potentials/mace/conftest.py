import numpy as np
import pytest

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
    return Dataset((group(1, 24, 0), group(2, 24, 1)))


@pytest.fixture(scope="session")
def splits():
    rows = [np.random.default_rng(k).permutation(48) for k in range(2)]
    return [Split(np.sort(r[:40]), np.sort(r[40:])) for r in rows]


@pytest.fixture(scope="session")
def small():
    """Return settings of a small network."""
    from alflow.potentials.mace.settings import MACESettings

    return MACESettings(
        channels=8,
        max_l=1,
        correlation=2,
        spherical_l=2,
        radial_functions=6,
        radial_layers=(16,),
        epochs=10,
        batch_size=8,
        learning_rate=0.03,
        stage_two=0.5,
        averaging=0.9,
        checkpoint_every_s=0.0,
    )


@pytest.fixture(scope="session")
def trained(dataset, splits, small):
    pytest.importorskip("mace")
    from alflow.potentials.mace.training import train_mace_ensemble

    return train_mace_ensemble(dataset, splits, small, seed=(7,))
