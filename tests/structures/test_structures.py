import numpy as np
import pytest
from scipy.spatial.distance import pdist

from alflow.errors import StructureError
from alflow.structures import alkane, check_structure, closest_pair, end_carbons, fragments
from alflow.types import Frames


def angle(a, b, c):
    u, v = a - b, c - b
    return np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))


def dihedral(a, b, c, d):
    axis = (c - b) / np.linalg.norm(c - b)
    u, v = (a - b) - ((a - b) @ axis) * axis, (d - c) - ((d - c) @ axis) * axis
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


@pytest.mark.parametrize("carbons", [1, 2, 3, 4, 6, 7, 11])
def test_alkane_has_ideal_bonds_and_nothing_too_close(carbons):
    frames = alkane(carbons)
    x = frames.positions[0]
    assert list(frames.numbers) == [6] * carbons + [1] * (2 * carbons + 2)
    chain = np.linalg.norm(np.diff(x[:carbons], axis=0), axis=1)
    np.testing.assert_allclose(chain, 1.53, atol=1e-12)
    to_carbons = np.linalg.norm(x[carbons:, None] - x[None, :carbons], axis=2)
    np.testing.assert_allclose(to_carbons.min(axis=1), 1.095, atol=1e-12)
    hydrogens_of = np.bincount(to_carbons.argmin(axis=1), minlength=carbons)
    assert list(hydrogens_of) == ([4] if carbons == 1 else [3] + [2] * (carbons - 2) + [3])
    assert pdist(x[carbons:]).min() > 1.7
    assert fragments(frames.numbers, x).max() == 0


@pytest.mark.parametrize("carbons", [3, 4, 6, 7])
def test_alkane_angles_and_conformation(carbons):
    x = alkane(carbons).positions[0]
    for i in range(1, carbons - 1):
        assert angle(x[i - 1], x[i], x[i + 1]) == pytest.approx(113.0)
    for i in range(carbons - 3):
        assert dihedral(*x[i : i + 4]) == pytest.approx(180.0)
    for end, inner, next_inner in [(0, 1, 2), (carbons - 1, carbons - 2, carbons - 3)]:
        own = [h for h in range(carbons, len(x)) if np.linalg.norm(x[h] - x[end]) < 1.2]
        turns = sorted(round(dihedral(x[h], x[end], x[inner], x[next_inner])) for h in own)
        assert turns == [60, 60, 180]
        for h in own:
            assert angle(x[h], x[end], x[inner]) == pytest.approx(111.0)


def test_ethane_is_staggered():
    x = alkane(2).positions[0]
    turns = sorted(round(dihedral(x[i], x[0], x[1], x[j])) for i in (2, 3, 4) for j in (5, 6, 7))
    assert turns == [60] * 6 + [180] * 3


def test_alkane_refuses_no_carbon():
    with pytest.raises(StructureError, match="at least one carbon; 0"):
        alkane(0)


def test_end_carbons():
    assert end_carbons(alkane(6).numbers) == (0, 5)
    with pytest.raises(StructureError, match="two carbons; the molecule has 1"):
        end_carbons(alkane(1).numbers)


def test_fragments_tell_a_broken_chain():
    frames = alkane(6)
    x = frames.positions[0].copy()
    labels = fragments(frames.numbers, x)
    assert labels.tolist() == [0] * 20
    right = x[:, 0] > x[2:4, 0].mean()
    x[right, 0] += 2.0
    labels = fragments(frames.numbers, x)
    assert labels.max() == 1
    assert (labels == right).all()


def test_fragments_are_numbered_by_their_first_atom():
    labels = fragments(np.array([1, 6, 1, 6]), np.array([[9.0, 0, 0], [0, 0, 0], [1.1, 0, 0], [9.0, 1.1, 0]]))
    assert labels.tolist() == [0, 1, 1, 0]


def test_closest_pair():
    distance, first, second = closest_pair(np.array([[0.0, 0, 0], [3, 0, 0], [3, 0.5, 0]]))
    assert (distance, first, second) == (0.5, 1, 2)


@pytest.mark.parametrize(
    ("numbers", "positions", "message"),
    [
        ([6, 1], [[0, 0, 0], [0, 0, 0.3]], "at least 0.6 Å apart; .*atoms 0 and 1 are 0.300 Å"),
        ([6, 1], [[0, 0, 0], [0, np.nan, 1]], "finite numbers; .*atom 1"),
        ([6, 119], [[0, 0, 0], [0, 0, 1]], "known element; atom 1 .* has 119"),
        ([6, 8], [[0, 0, 0], [0, 0, 1.2]], "Only the elements H, C are known here; atom 1 .* is O"),
        ([], np.zeros((0, 3)), "one atom or more"),
    ],
)
def test_check_structure_says_what_is_wrong(numbers, positions, message):
    frames = Frames.of(np.array(numbers, dtype=np.int64), np.array([positions], dtype=float))
    with pytest.raises(StructureError, match=message):
        check_structure(frames, elements={1, 6} if 119 not in numbers else None)
