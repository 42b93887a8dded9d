"""Whole steps on a device beside the same steps one operation after the other."""

import warnings

import numpy as np
import pytest
import torch

from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training import device_steps
from alflow.potentials.ani.training.data import prepare
from alflow.potentials.ani.training.trainer import Trainer
from alflow.potentials.sharing import Share
from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, Labels, Split

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def dataset(*carbons):
    """Return shaken alkanes of several sizes with random labels; in one of each two, the hydrogens come first."""
    groups = []
    for size in carbons:
        molecule, rng = alkane(size), np.random.default_rng(size)
        order = np.argsort(molecule.numbers, kind="stable") if size % 2 else slice(None)
        positions = molecule.positions + rng.normal(0.0, 0.05, (24, *molecule.positions.shape[1:]))
        labels = Labels(rng.normal(0.0, 0.3, 24), rng.normal(0.0, 1.0, positions.shape))
        groups.append(Group(Frames.of(molecule.numbers[order], positions[:, order]), labels))
    return Dataset(tuple(groups))


def trained(device, data, rows, *, whole, **settings):
    """Return a trainer after two epochs over `rows`, those of each member; whole steps or one by one."""
    hidden, generators = [(16, 12), (12, 8)], [np.random.default_rng(member) for member in range(len(rows))]
    networks = fresh_networks(data.functions.length, hidden, "gelu", generators)
    chosen = ANITrainingSettings(device="gpu" if device == "cuda" else "cpu", **settings)
    splits = [Split(part, part[:0]) for part in rows]
    trainer = Trainer(data, splits, chosen, networks, np.array([[0.1, -0.2]] * len(rows)), Share())
    trainer.run_on(trainer.device, whole_steps=whole)
    trainer.plateau.factors = [1.0, 0.5][: len(rows)]
    for _ in range(2):
        trainer.train_epoch(rows, 4, 1e-3)
    return trainer


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("carbons", "changes"),
    [
        ((2,), {}),
        ((1, 2, 3), {"averaging": 0.9, "optimizer": "adamw-sgd"}),
        ((3, 2), {"force_weight": 0.0, "descriptor_floor": 0.0}),
    ],
)
def test_whole_steps_end_where_steps_one_by_one_end(device, carbons, changes):
    data = prepare(dataset(*carbons), SymmetryFunctions.like_2x((1, 6)), 1.0)
    orders = [np.random.default_rng(member).permutation(len(data)) for member in (5, 6)]
    rows = [orders[0][:22], orders[1][:19]]  # of batches of 8 none is full, and they differ in length
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Training goes on")
        one, other = (trained(device, data, rows, whole=whole, batch_size=8, **changes) for whole in (False, True))
    assert one.steps is None
    assert (other.steps.eager == "") == (device == "cuda")
    for name in ("flat", "average"):
        found, expected = (
            (trainer.parameters.flat.detach() if name == "flat" else trainer.average).cpu().numpy()
            for trainer in (other, one)
        )
        assert found == pytest.approx(expected, abs=1e-6 if device == "cpu" else 2e-5), name
    assert other.step_count == one.step_count == 6
    assert float((one.parameters.flat - one.best).abs().max()) > 1e-3


def test_a_recording_that_fails_is_told_and_training_goes_on(monkeypatch):
    data = prepare(dataset(1), SymmetryFunctions.like_2x((1, 6)), 1.0)
    rows = [np.arange(10)]
    expected = trained("cpu", data, rows, whole=True, batch_size=4)

    def fails(function, device):
        function()
        return function, "The step could not be recorded."

    monkeypatch.setattr(device_steps, "captured", fails)
    monkeypatch.setattr(device_steps, "CUDA", "cpu")
    with pytest.warns(RuntimeWarning, match="could not be recorded.*Training goes on"):
        found = trained("cpu", data, rows, whole=True, batch_size=4)
    assert torch.equal(found.parameters.flat, expected.parameters.flat)
