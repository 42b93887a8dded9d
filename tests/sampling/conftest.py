import numpy as np
import pytest

from alflow.structures import alkane, fragments
from alflow.types import Evaluation


class SpringNetwork:
    """Every bond of a molecule a Morse bond, every pair of neighbours' neighbours a soft spring: an alkane that breaks.

    `start` is a number that the result depends on in its last bits, as warm-started charges do.
    """

    def __init__(self, frames, depth=1.5, width=2.0):
        x = frames.positions[0]
        radii = {6: 0.76, 1: 0.31}
        r = np.array([radii[int(n)] for n in frames.numbers])
        distance = np.linalg.norm(x[:, None] - x[None], axis=2)
        bonded = (distance < 1.3 * (r[:, None] + r[None])) & ~np.eye(len(x), dtype=bool)
        second = (bonded @ bonded > 0) & ~bonded & ~np.eye(len(x), dtype=bool)
        self.bonds, self.angles = np.argwhere(np.triu(bonded)), np.argwhere(np.triu(second))
        self.bond_length = distance[tuple(self.bonds.T)]
        self.angle_length = distance[tuple(self.angles.T)]
        self.depth, self.width, self.calls = depth, width, 0

    def __call__(self, positions, start=None):
        self.calls += 1
        warm = 0.0 if start is None else float(start[0])
        forces = np.zeros_like(positions)
        decay = self._pairs(positions, self.bonds, self.bond_length, forces, self._morse)
        soft = self._pairs(positions, self.angles, self.angle_length, forces, self._softened)
        energy = decay + soft + 1e-9 * warm
        forces *= 1.0 + 1e-12 * warm
        return Evaluation(energy, forces, spread=abs(np.sin(energy)), start=np.array([np.cos(energy + warm)]))

    def _morse(self, stretch):
        e = np.exp(-self.width * stretch)
        return self.depth * (1 - e) ** 2, 2 * self.depth * self.width * e * (1 - e)

    def _softened(self, stretch):
        e = np.exp(-(stretch**2))
        return 0.6 * (1 - e), 1.2 * stretch * e

    def _pairs(self, x, pairs, length, forces, law):
        i, j = pairs.T
        d = x[j] - x[i]
        r = np.linalg.norm(d, axis=1)
        energy, slope = law(r - length)
        f = (slope / r)[:, None] * d
        np.add.at(forces, i, f)
        np.add.at(forces, j, -f)
        return float(energy.sum())


@pytest.fixture
def butane():
    return alkane(4)


@pytest.fixture
def network(butane):
    return SpringNetwork(butane)


def pieces(frames, positions):
    return int(fragments(frames.numbers, positions, 1.6).max()) + 1
