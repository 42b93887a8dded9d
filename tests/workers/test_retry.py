"""A trajectory asks its engine once more where it hung or died, and never goes on without a structure."""

from __future__ import annotations

import numpy as np
import pytest

from alflow.errors import EngineLostError, LabelError
from alflow.types import Composition, Evaluation
from alflow.workers.models import compute_with_retry


class Failing:
    """Fails with the given reasons, one a call, then succeeds."""

    theory = ""

    def __init__(self, *reasons: str) -> None:
        self.reasons, self.calls = list(reasons), 0

    def compute(self, composition, positions, start=None) -> Evaluation:
        self.calls += 1
        if self.reasons:
            raise LabelError(self.reasons.pop(0), "as told")
        return Evaluation(1.0, np.zeros_like(positions))


ATOMS = (Composition(np.array([6])), np.zeros((1, 3)), None)


@pytest.mark.parametrize("reason", ["timeout", "engine-crash", "out-of-memory", "engine-error"])
def test_lost_once_is_forgiven_and_twice_is_an_error(reason) -> None:
    assert compute_with_retry(Failing(reason), *ATOMS).energy == 1.0
    with pytest.raises(EngineLostError, match=reason):
        compute_with_retry(Failing(reason, reason), *ATOMS)


def test_what_the_engine_says_of_the_structure_is_not_asked_again() -> None:
    engine = Failing("not-converged")
    with pytest.raises(LabelError, match="not-converged"):
        compute_with_retry(engine, *ATOMS)
    assert engine.calls == 1
    with pytest.raises(LabelError, match="not-converged"):
        compute_with_retry(Failing("timeout", "not-converged"), *ATOMS)
