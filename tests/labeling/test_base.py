import numpy as np
import pytest

from alflow.errors import LabelError, PluginError
from alflow.labeling import make_engine
from alflow.labeling.frames import label_frames, require_plausible, theory_hash
from alflow.labeling.kinds.xtb import XTBSettings
from alflow.types import Evaluation, Frames


class Fussy:
    """A harmonic pair that fails in a way that the distance decides."""

    theory = "fussy"

    def compute(self, composition, positions, start=None):
        r = float(np.linalg.norm(positions[1] - positions[0]))
        if r > 9:
            raise LabelError("not-converged", "too long")
        if r > 8:
            raise ZeroDivisionError("division by zero")
        if r > 7:
            return Evaluation(np.nan, np.zeros((2, 3)))
        if r > 6:
            return Evaluation(0.0, np.full((2, 3), np.inf))
        return Evaluation((r - 1) ** 2, np.zeros((2, 3)), cycles=4)


def pair(*distances):
    return Frames.of(np.array([1, 1]), np.array([[[0, 0, 0], [0, 0, d]] for d in distances], dtype=float))


def test_failures_are_data():
    batch = label_frames(Fussy(), pair(1.0, 9.5, 8.5, 7.5, 6.5, 0.2, 2.0, np.nan))
    assert batch.rows.tolist() == [0, 6]
    assert batch.labels.energies.tolist() == [0.0, 1.0]
    assert batch.cycles.tolist() == [4, -1, -1, -1, -1, -1, 4, -1]
    assert [(f.frame, f.reason) for f in batch.failures] == [
        (1, "not-converged"),
        (2, "engine-error"),
        (3, "not-finite"),
        (4, "not-finite"),
        (5, "implausible-structure"),
        (7, "implausible-structure"),
    ]
    assert batch.failures[1].detail == "ZeroDivisionError: division by zero"
    assert all(f.host for f in batch.failures)
    assert batch.seconds.shape == (8,)


def test_a_batch_without_any_label_keeps_its_shapes():
    batch = label_frames(Fussy(), pair(9.5))
    assert batch.labels.energies.shape == (0,)
    assert batch.labels.forces.shape == (0, 2, 3)
    assert batch.rows.shape == (0,)


def test_require_plausible_names_the_atoms():
    with pytest.raises(LabelError, match=r"atoms 0 and 1 are 0.200 Å"):
        require_plausible(pair(0.2).positions[0])
    require_plausible(np.zeros((1, 3)))


def test_theory_hash_sees_values_but_not_order():
    assert theory_hash({"a": 1, "b": 2.5}) == theory_hash({"b": 2.5, "a": 1})
    assert theory_hash({"a": 1, "b": 2.5}) != theory_hash({"a": 1, "b": 2.5000001})
    with pytest.raises(ValueError, match="JSON"):
        theory_hash({"a": float("nan")})


def test_make_engine():
    assert make_engine("gfn2-xtb", XTBSettings()).theory == make_engine("gfn2-xtb", XTBSettings()).theory
    with pytest.raises(PluginError, match=r"none named 'gfn-xtb'\. Did you mean gfn2-xtb\?"):
        make_engine("gfn-xtb", XTBSettings())
