import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("mace")

from alflow.errors import InputError, TrainingError
from alflow.potentials.mace.settings import MACESettings
from alflow.potentials.mace.training import train_mace_ensemble
from alflow.types import Dataset, Frames, Group, Labels, Split


def flat(ensemble):
    return [torch.cat([member[name].ravel() for name in sorted(member)]) for member in ensemble.weights]


def test_learns(trained, dataset):
    ensemble, members = trained
    energies = np.concatenate([group.labels.energies - group.labels.energies.mean() for group in dataset.groups])
    forces = np.concatenate([group.labels.forces.ravel() for group in dataset.groups])
    for member in members:
        assert member.valid_errors.energy_rmse_ev < 0.8 * energies.std()  # fifty steps, eight frames to validate
        assert member.valid_errors.force_rmse_ev_per_angstrom < 0.4 * forces.std()
        assert member.best_epoch == member.epochs == 10
    assert ensemble.members == 2
    assert not torch.equal(*flat(ensemble))


def test_errors_are_those_of_the_ensemble(trained, dataset):
    ensemble, members = trained
    for m, member in enumerate(members):
        off = np.concatenate([ensemble.evaluate(g.frames)[0][m] - g.labels.energies for g in dataset.groups])
        force = [(ensemble.evaluate(g.frames)[1][m] - g.labels.forces).ravel() for g in dataset.groups]
        rows = member.split.valid
        assert member.all_errors.energy_mae_ev == pytest.approx(np.abs(off).mean(), rel=1e-3)
        assert member.valid_errors.energy_rmse_ev == pytest.approx(np.sqrt((off[rows] ** 2).mean()), rel=1e-3)
        assert member.all_errors.force_mae_ev_per_angstrom == pytest.approx(np.abs(np.concatenate(force)).mean(), 1e-3)


def test_a_member_depends_on_seed_index_and_split_alone(trained, dataset, splits, small):
    alone, members = train_mace_ensemble(dataset, splits, small, seed=(7,), members=[1])
    assert members[0].index == 1
    assert torch.equal(flat(alone)[0], flat(trained[0])[1])
    other, _ = train_mace_ensemble(dataset, splits, small, seed=(8,), members=[1])
    assert not torch.equal(flat(other)[0], flat(trained[0])[1])


AGAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest, numpy as np, os, torch
from pathlib import Path
from alflow.potentials.mace.training import train_mace_ensemble
dataset = conftest.Dataset((conftest.group(1, 24, 0), conftest.group(2, 24, 1)))
rows = np.random.default_rng(0).permutation(48)
split = conftest.Split(np.sort(rows[:40]), np.sort(rows[40:]))
settings = conftest.small.__wrapped__()
target, killed_in = Path(sys.argv[2]), int(sys.argv[3])
def progress(epoch, _):
    if epoch == killed_in:
        os._exit(9)
checkpoint = target.with_suffix(".checkpoint")
found, _ = train_mace_ensemble(dataset, [split], settings, seed=(7,), checkpoint=checkpoint, progress=progress)
found.save(target)
"""
"""Trains as a worker does, in a process that has evaluated nothing before; it ends in an epoch, if that comes."""
NEVER = -1


def test_another_process_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path):
    from pathlib import Path

    from alflow.potentials import load_potential

    pytest.importorskip("mace")

    def train(name, killed_in):
        command = [sys.executable, "-c", AGAIN, Path(__file__).parent, tmp_path / name, str(killed_in)]
        return subprocess.run(command, check=False, timeout=300).returncode

    assert train("whole.pt", NEVER) == 0
    assert train("cut.pt", 5) == 9
    assert (tmp_path / "cut.checkpoint-0").exists()
    assert train("cut.pt", NEVER) == 0
    whole, cut = (load_potential(tmp_path / name) for name in ("whole.pt", "cut.pt"))
    assert torch.equal(flat(whole)[0], flat(cut)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pt", "whole.pt"]


def test_a_checkpoint_of_another_training_is_left_alone(dataset, splits, small, tmp_path):
    short = small.model_copy(update={"epochs": 2})

    def killed(epoch, _):
        raise KeyboardInterrupt

    path = tmp_path / "e.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_mace_ensemble(dataset, splits[:1], short, seed=(7,), checkpoint=path, progress=killed)
    other, _ = train_mace_ensemble(dataset, splits[:1], short, seed=(8,), checkpoint=path)
    alone, _ = train_mace_ensemble(dataset, splits[:1], short, seed=(8,))
    assert torch.equal(flat(other)[0], flat(alone)[0])


def test_the_process_is_left_as_it_was(dataset, splits, small):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    double = small.model_copy(update={"epochs": 1, "precision": "double"})
    found, _ = train_mace_ensemble(dataset, splits[:1], double, seed=(7,))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32
    assert {value.dtype for value in found.weights[0].values()} == {torch.float64}


def test_carried_over_weights_are_where_it_starts(trained, dataset, splits, small):
    still = small.model_copy(update={"learning_rate_carried_over": 1e-12, "epochs_carried_over": 1})
    ensemble, members = train_mace_ensemble(dataset, splits, still, seed=(9,), members=[1], initial=trained[0])
    torch.testing.assert_close(flat(ensemble)[0], flat(trained[0])[1], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(ensemble.self_energies[0], trained[0].self_energies[1])
    assert members[0].epochs == 1


@pytest.mark.parametrize(
    "change", [{"loss": "l1l2"}, {"averaging": 0.0}, {"criterion": "loss"}, {"stage_two": 0.0, "clip": None}]
)
def test_other_ways_to_train(dataset, splits, small, change):
    settings = small.model_copy(update={"epochs": 3, **change})
    found, members = train_mace_ensemble(dataset, splits[:1], settings, seed=(7,))
    assert np.isfinite(found.evaluate(dataset.groups[0].frames)[0]).all()
    assert 1 <= members[0].best_epoch <= 3


def test_refuses_no_data_and_a_loss_that_is_not_finite(dataset, splits, small):
    with pytest.raises(TrainingError, match="member 0 has 48 and 0"):
        train_mace_ensemble(dataset, [Split(np.arange(48), np.arange(0))], small, seed=(1,))
    with pytest.raises(TrainingError, match=r"members \[2\] were asked for, there are 2 splits"):
        train_mace_ensemble(dataset, splits, small, seed=(1,), members=[2])
    group = dataset.groups[0]
    bad = Dataset((Group(group.frames, Labels(np.full(24, np.nan), group.labels.forces)),))
    with pytest.raises(TrainingError, match="must stay finite"):
        train_mace_ensemble(bad, [Split(np.arange(20), np.arange(20, 24))], small, seed=(1,))


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch, dataset, splits, small):
    for name in ("cuda", "xpu"):
        monkeypatch.setattr(getattr(torch, name), "is_available", lambda: False)
    with pytest.raises(InputError, match=r"potential\.mace\.device is 'gpu', and torch finds none here"):
        train_mace_ensemble(dataset, splits, small.model_copy(update={"device": "gpu"}), seed=(1,))


def test_a_single_atom_beside_a_molecule_is_learnt(dataset, small):
    frames = Frames.of(np.array([1]), np.zeros((4, 1, 3)))
    atoms = Group(frames, Labels(np.full(4, -13.0), np.zeros((4, 1, 3))))
    data = Dataset((dataset.groups[0], atoms))
    split = Split(np.arange(0, 26), np.arange(26, 28))
    found, members = train_mace_ensemble(data, [split], small.model_copy(update={"epochs": 2}), seed=(1,))
    assert np.isfinite(members[0].all_errors.energy_mae_ev)
    assert np.isfinite(found.evaluate(frames)[0]).all()


@pytest.mark.parametrize(
    "given",
    [
        {"precision": "half"},
        {"device": "tpu"},
        {"channels": 0},
        {"max_l": 4},
        {"radial_layers": ()},
        {"radial_layers": (0,)},
        {"energy_weight": 0.0, "force_weight": 0.0},
        {"foundation_head": "Default"},
        {"foundation": "there.model", "channels": 64},
        {"averaging": 1.0},
        {"epochs": 0},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_network_are_refused(given):
    with pytest.raises(ValidationError):
        MACESettings.model_validate(given)
