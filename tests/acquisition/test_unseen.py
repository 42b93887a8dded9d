"""Errors of an ensemble along reference pulls that it has not learnt from."""

from types import SimpleNamespace

import numpy as np
import pytest

from alflow.campaign.judging import UNSEEN_FRAMES, UNSEEN_STRIDE, Judge
from alflow.types import Frames, Segment


class Shifted:
    """Two members whose mean is off by 1 eV, but for the first frame of a pull 2 eV, and by 0.5 eV/Å."""

    def __init__(self) -> None:
        self.frames = 0

    def evaluate(self, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
        self.frames += len(frames)
        label = frames.positions[:, 0, 0]
        error = np.where(label == 0.0, 2.0, 1.0)
        forces = np.full(frames.positions.shape, 0.5)
        return np.stack([label + error - 0.1, label + error + 0.1]), np.stack([forces, forces])


def pull(records: int) -> list[Segment]:
    place = np.arange(records, dtype=np.float64)
    positions = np.zeros((records, 2, 3))
    positions[:, 0, 0] = place
    parts = np.array_split(np.arange(records), 3)
    return [
        Segment(
            Frames.of(np.array([1, 1]), positions[rows], 0),
            steps=rows,
            energy=place[rows],
            forces=np.zeros((len(rows), 2, 3)),
            **dict.fromkeys(("time", "target", "coordinate", "work", "spread", "temperature"), place[rows]),
            end=SimpleNamespace(),
        )
        for rows in parts
    ]


@pytest.mark.parametrize(("pulls", "records"), [(1, 101), (4, 3251), (80, 3251)])
def test_errors_are_relative_to_the_first_frame_of_each_pull_and_taken_on_a_bounded_number(pulls, records):
    potential = Shifted()
    judge = Judge(SimpleNamespace(), lambda: potential, SimpleNamespace(), SimpleNamespace())
    energy, force = judge.unseen_errors([pull(records)] * pulls)
    assert potential.frames <= min(pulls * (records // UNSEEN_STRIDE + 1), 1.1 * UNSEEN_FRAMES)
    assert potential.frames >= min(pulls * (records // UNSEEN_STRIDE), 0.9 * UNSEEN_FRAMES)
    assert energy == pytest.approx(1.0 - pulls / potential.frames)  # the first frame of each pull has none
    assert force == pytest.approx(0.5)


def test_without_reference_pulls_there_are_no_errors():
    judge = Judge(SimpleNamespace(), Shifted, SimpleNamespace(), SimpleNamespace())
    assert judge.unseen_errors([]) == (None, None)
