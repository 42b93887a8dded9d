import numpy as np
import pytest
import torch

from alflow.errors import TrainingError
from alflow.potentials.schnet import training
from alflow.potentials.schnet.graphs import graphs_of
from alflow.potentials.schnet.network import energies_and_forces, fresh_parameters, grid_tensors
from alflow.potentials.schnet.settings import SchNetSettings
from alflow.potentials.schnet.training import architecture_of, train_schnet_ensemble
from alflow.types import Dataset, Frames, Group, Labels, Split


def weights(ensemble):
    return [torch.cat([value.ravel() for value in member.values()]) for member in ensemble.parameters]


@pytest.fixture(scope="module")
def trained(dataset, splits, small):
    return train_schnet_ensemble(dataset, splits, small, seed=(7,))


def test_learns(trained, dataset):
    ensemble, members = trained
    energies = np.concatenate([group.labels.energies - group.labels.energies.mean() for group in dataset.groups])
    forces = np.concatenate([group.labels.forces.ravel() for group in dataset.groups])
    for member in members:
        assert member.valid_errors.energy_rmse_ev < 0.6 * energies.std()
        assert member.valid_errors.force_rmse_ev_per_angstrom < 0.3 * forces.std()
        assert 1 <= member.best_epoch <= member.epochs == 12
    assert ensemble.members == 2
    assert not torch.equal(*weights(ensemble))


def test_errors_are_those_of_the_ensemble(trained, dataset):
    ensemble, members = trained
    for m, member in enumerate(members):
        off = [ensemble.evaluate(g.frames)[0][m] - g.labels.energies for g in dataset.groups]
        force = [(ensemble.evaluate(g.frames)[1][m] - g.labels.forces).ravel() for g in dataset.groups]
        off, force = np.concatenate(off), np.concatenate(force)
        assert member.all_errors.energy_mae_ev == pytest.approx(np.abs(off).mean(), rel=1e-3)
        assert member.valid_errors.energy_rmse_ev == pytest.approx(
            np.sqrt((off[member.split.valid] ** 2).mean()), rel=1e-3
        )
        assert member.all_errors.force_mae_ev_per_angstrom == pytest.approx(np.abs(force).mean(), rel=1e-3)


def test_a_member_depends_on_seed_index_and_split_alone(trained, dataset, splits, small):
    alone, members = train_schnet_ensemble(dataset, splits, small, seed=(7,), members=[1], threads=2)
    assert members[0].index == 1
    assert torch.equal(weights(alone)[0], weights(trained[0])[1])
    other, _ = train_schnet_ensemble(dataset, splits, small, seed=(8,), members=[1])
    assert not torch.equal(weights(other)[0], weights(trained[0])[1])


def test_goes_on_from_a_checkpoint_as_if_nothing_had_happened(trained, dataset, splits, small, tmp_path):
    often = small.model_copy(update={"checkpoint_every_s": 0.0})

    def killed(epoch, _):
        if epoch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_schnet_ensemble(
            dataset, splits[:1], often, seed=(7,), checkpoint=tmp_path / "e.checkpoint", progress=killed
        )
    assert (tmp_path / "e.checkpoint-0").exists()
    seen = []
    again, _ = train_schnet_ensemble(
        dataset, splits[:1], often, seed=(7,), checkpoint=tmp_path / "e.checkpoint", progress=lambda *x: seen.append(x)
    )
    assert len(seen) == 12 - 5
    assert torch.equal(weights(again)[0], weights(trained[0])[0])
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_training_is_left_alone(dataset, splits, small, tmp_path):
    often = small.model_copy(update={"checkpoint_every_s": 0.0, "epochs": 3})

    def killed(epoch, _):
        if epoch == 2:
            raise KeyboardInterrupt

    path = tmp_path / "e.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_schnet_ensemble(dataset, splits[:1], often, seed=(7,), checkpoint=path, progress=killed)
    other, _ = train_schnet_ensemble(dataset, splits[:1], often, seed=(8,), checkpoint=path)
    alone, _ = train_schnet_ensemble(dataset, splits[:1], often, seed=(8,))
    assert torch.equal(weights(other)[0], weights(alone)[0])


def test_carried_over_weights_are_where_it_starts(trained, dataset, splits, small):
    still = small.model_copy(update={"learning_rate_carried_over": 1e-12, "averaging": 0.0})
    ensemble, members = train_schnet_ensemble(dataset, splits, still, seed=(9,), members=[1], initial=trained[0])
    torch.testing.assert_close(weights(ensemble)[0], weights(trained[0])[1], rtol=0, atol=1e-7)
    assert members[0].epochs == 8


def test_gradient_of_the_loss_with_respect_to_a_weight(dataset):
    """The compiled sums and their derivatives, against finite differences in a loss on forces."""
    architecture = architecture_of(SchNetSettings(features=8, gaussians=10, interactions=2))
    parameters = {k: v.requires_grad_() for k, v in fresh_parameters(architecture, 0).items()}
    batch = graphs_of(architecture.grid, [dataset.groups[1].frames.take(slice(0, 3))]).batch(np.array([0, 1, 2]))
    grid = grid_tensors(architecture.grid)

    def loss(*, differentiable):
        energies, forces = energies_and_forces(parameters, 2, grid, batch, differentiable=differentiable)
        return energies.square().mean() + 10 * forces.square().mean()

    loss(differentiable=True).backward()
    rng = np.random.default_rng(0)
    for name, value in parameters.items():
        if value.grad is None:
            continue
        direction = torch.tensor(rng.normal(size=value.shape), dtype=torch.float32)
        direction *= value.grad.ne(0)
        step, values = 1e-2 / float(direction.norm()), []
        before = value.detach().clone()
        for sign in (1, -1):
            with torch.no_grad():
                value.copy_(before + sign * step * direction)
            values.append(loss(differentiable=False).item())
        with torch.no_grad():
            value.copy_(before)
        slope, expected = (values[0] - values[1]) / (2 * step), float((value.grad * direction).sum())
        assert slope == pytest.approx(expected, rel=0.02, abs=2e-3), name


def test_plateau_ends_at_the_least_learning_rate(dataset, splits, small):
    settings = small.model_copy(
        update={
            "schedule": "plateau",
            "plateau_patience": 0,
            "plateau_factor": 0.01,
            "least_learning_rate": 1e-3,
            "learning_rate": 0.2,
            "epochs": 100,
        }
    )
    _, members = train_schnet_ensemble(dataset, splits[:1], settings, seed=(1,))
    assert members[0].epochs < 50


def test_refuses_no_data_and_a_loss_that_is_not_finite(dataset, splits, small):
    with pytest.raises(TrainingError, match="member 0 has 60 and 0"):
        train_schnet_ensemble(dataset, [Split(np.arange(60), np.arange(0))], small, seed=(1,))
    with pytest.raises(TrainingError, match=r"members \[2\] were asked for, there are 2 splits"):
        train_schnet_ensemble(dataset, splits, small, seed=(1,), members=[2])
    group = dataset.groups[0]
    bad = Labels(np.full(30, np.nan), group.labels.forces)
    with pytest.raises(TrainingError, match="must stay finite"):
        train_schnet_ensemble(
            Dataset((Group(group.frames, bad),)), [Split(np.arange(20), np.arange(20, 30))], small, seed=(1,)
        )


def test_self_energies_fit_the_labels(dataset, trained):
    for g in dataset.groups:
        counts = [np.count_nonzero(g.frames.numbers == z) for z in (1, 6)]
        assert trained[0].self_energies[0] @ counts == pytest.approx(g.labels.energies.mean(), abs=1e-6)


def test_paper_preset():
    settings = SchNetSettings(preset="paper", epochs=3)
    assert (settings.epochs, settings.learning_rate, settings.schedule, settings.rho) == (3, 5e-4, "plateau", 0.1)
    assert settings.plateau_factor == 0.8


def test_repulsion_is_not_learned_twice(splits, small):
    frames = Frames.of(np.array([6, 6]), np.array([[[0.0, 0, 0], [r, 0, 0]] for r in np.linspace(0.9, 1.6, 60)]))
    architecture = architecture_of(small.model_copy(update={"short_range_repulsion": True}))
    known = training.repulsion(frames.numbers, frames.positions, architecture.repulsion_reach)
    dataset = Dataset((Group(frames, Labels(known[0] - 5.0, known[1])),))
    prepared = training.prepare(dataset, architecture, {6: -2.5})
    assert float(prepared.energies.abs().max()) < 1e-5
    assert float(prepared.forces.abs().max()) < 1e-5
