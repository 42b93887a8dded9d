"""Training on a toy molecule: gradient against autograd, learning, determinism, resuming, mixed compositions."""

import functools

import numpy as np
import pytest
import torch

from alflow.errors import StructureError, TrainingError
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import Networks, fresh_networks
from alflow.potentials.ani.scaling import descriptor_scaling
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training.activation import celu, gelu
from alflow.potentials.ani.training.compiled_optimiser import CompiledOptimiser
from alflow.potentials.ani.training.contraction import DenseContraction, contraction_of
from alflow.potentials.ani.training.data import lay_out, prepare
from alflow.potentials.ani.training.parameters import from_networks
from alflow.potentials.ani.training.passes import DevicePasses
from alflow.potentials.ani.training.schedule import Optimiser
from alflow.potentials.ani.training.targets import gather_targets
from alflow.potentials.ani.training.trainer import Trainer, train_ensemble
from alflow.potentials.selfenergies import fit_self_energies
from alflow.potentials.sharing import Share, sharing
from alflow.types import Dataset, Frames, Group, Labels, Split

NETWORK = ANISettings(hidden_layers={"H": (24, 16), "C": (24, 16)}, other_layers=(8, 8))


def toy_labels(numbers, positions):
    """Return energies and forces of a Morse potential between all atoms, and -10 or -100 eV an atom."""
    frames, atoms, _ = positions.shape
    energies, forces = np.zeros(frames), np.zeros(positions.shape)
    for i in range(atoms):
        for j in range(i):
            vector = positions[:, j] - positions[:, i]
            distance = np.linalg.norm(vector, axis=1)
            decay = np.exp(-1.5 * (distance - 1.3))
            energies += 0.5 * (1.0 - decay) ** 2 - 0.5
            slope = 1.5 * (1.0 - decay) * decay
            forces[:, i] += (slope / distance)[:, None] * vector
            forces[:, j] -= (slope / distance)[:, None] * vector
    return Labels(energies + np.where(numbers == 6, -100.0, -10.0).sum(), forces)


def toy_group(rng, frames, *, large=False):
    """Return jittered frames of CH4, or of C2H6 without its symmetry."""
    numbers = np.array([6, 1, 1, 1, 1] if not large else [6, 6, 1, 1, 1, 1, 1, 1])
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    shape = np.concatenate([[[0.0, 0, 0]], corners])
    if large:
        far = np.array([0.9, 0.9, 0.9])
        shape = np.concatenate([[[0.0, 0, 0], far], corners[1:], far - corners[1:]])
    positions = shape + rng.uniform(-0.08, 0.08, (frames, len(numbers), 3))
    return Group(Frames.of(numbers, positions), toy_labels(numbers, positions))


def toy(frames=60, *, mixed=False):
    rng = np.random.default_rng(5)
    groups = (toy_group(rng, frames),)
    return Dataset((*groups, toy_group(rng, frames // 2, large=True)) if mixed else groups)


def splits_of(dataset, members, seed=3):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(dataset)) for _ in range(members)]
    cut = len(dataset) * 4 // 5
    return [Split(order[:cut], order[cut:]) for order in orders]


def settings(**given):
    return ANITrainingSettings(**{"epochs": 4, "batch_size": 8, "device": "cpu", "averaging": 0.9, **given})


def torchani_loss(dataset, networks, member, frames, alpha):
    """Return eq. 3 of one member through TorchANI's descriptors and torch's own derivatives, and its gradient."""
    from torchani.aev import AEVComputer

    computer = AEVComputer.like_2x(num_species=2).double()
    weights = [[torch.tensor(w[member], dtype=torch.double, requires_grad=True) for w in e] for e in networks.weights]
    biases = [[torch.tensor(b[member], dtype=torch.double, requires_grad=True) for b in e] for e in networks.biases]
    starts = np.concatenate([[0], np.cumsum([len(group.frames) for group in dataset.groups])])
    loss = torch.zeros((), dtype=torch.double)
    for row in frames:
        index = int(np.searchsorted(starts, row, side="right") - 1)
        group, local = dataset.groups[index], row - starts[index]
        species = torch.tensor((group.frames.numbers == 6).astype(int))[None]
        positions = torch.tensor(group.frames.positions[local : local + 1], requires_grad=True)
        vectors = computer(species, positions)[0]
        energy = torch.zeros((), dtype=torch.double)
        for e in range(2):
            hidden = vectors[species[0] == e]
            for layer, (w, b) in enumerate(zip(weights[e], biases[e], strict=True)):
                hidden = hidden @ w + b
                if layer < len(weights[e]) - 1:
                    hidden = (
                        torch.nn.functional.gelu(hidden) if networks.activation == "gelu" else torch.celu(hidden, 0.1)
                    )
            energy = energy + hidden.sum()
        forces = -torch.autograd.grad(energy, positions, create_graph=True)[0][0]
        atoms = len(group.frames.numbers)
        reference = group.labels.energies[local]
        force_error = ((forces - torch.tensor(group.labels.forces[local])) ** 2).sum()
        loss = loss + ((energy - reference) ** 2 / np.sqrt(atoms) + alpha * force_error / atoms) / len(frames)
    flat = [w for e in weights for w in e] + [b for e in biases for b in e]
    return float(loss.detach()), torch.autograd.grad(loss, flat, allow_unused=True)


@pytest.mark.parametrize("activation", ["gelu", "celu"])
@pytest.mark.parametrize("route", ["compiled", "compiled in parts", "device", "resident"])
def test_gradient_of_the_loss_equals_autograd(route, activation):
    dataset = toy(12, mixed=True)
    functions = SymmetryFunctions.like_2x((1, 6))
    data = prepare(dataset, functions, 1.0, threads=3 if route == "compiled in parts" else 1)
    networks = fresh_networks(
        functions.length, [(40, 16), (33, 8)], activation, [np.random.default_rng(i) for i in (1, 2)]
    )
    networks = Networks(
        networks.weights,
        tuple(tuple(b + np.float32(0.1) for b in element) for element in networks.biases),
        activation,
    )
    frames_of = [np.array([0, 13, 5, 17]), np.array([3, 4, 15])]
    with sharing(data.threads) as share:
        chosen = settings(force_weight=0.7, descriptor_floor=0.0)
        trainer = Trainer(data, splits_of(dataset, 2), chosen, networks, np.zeros((2, 2)), share)
        if route in ("device", "resident"):
            ones = torch.ones(2, functions.length)
            contract = contraction_of(data, torch.device("cpu"), 1.0 if route == "resident" else 1e-6)
            assert (contract is DenseContraction) == (route == "device")
            trainer.passes = DevicePasses(activation, 0.0 * ones, ones, contract)
        trainer.gradient.flat.fill_(torch.nan)
        batch = lay_out(data, frames_of, share)
        targets = gather_targets(data, trainer.references, 0.7, batch)
        with torch.no_grad():
            errors = trainer.passes.run(trainer.parameters, batch, targets, trainer.gradient, forces=True)
    for member, frames in enumerate(frames_of):
        loss, expected = torchani_loss(dataset, networks, member, frames, 0.7)
        assert float(errors.loss[batch.member == member].sum()) == pytest.approx(loss, rel=1e-5)
        layers = (trainer.gradient.weights, trainer.gradient.biases)
        found = [layer[member].squeeze(0) for part in layers for element in part for layer in element]
        largest = max(float(part.abs().max()) for part in expected)
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one.numpy().reshape(other.shape) - other.numpy()).max() < 2e-5 * largest


@pytest.mark.parametrize("activate", [gelu, celu])
def test_slopes_and_curvatures_are_derivatives(activate):
    x = torch.linspace(-4, 4, 201, dtype=torch.double)[torch.arange(201) != 100]
    h = 1e-4
    _, slope, curvature = activate(x.clone())
    up, up_slope, _ = activate(x + h)
    down, down_slope, _ = activate(x - h)
    assert torch.allclose(slope, (up - down) / (2 * h), atol=1e-6)
    assert torch.allclose(curvature, (up_slope - down_slope) / (2 * h), atol=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "adamw-sgd"])
def test_compiled_optimiser_equals_torch(kind):
    networks = fresh_networks(9, [(8, 5), (7, 4)], "gelu", [np.random.default_rng(i) for i in (1, 2)])
    chosen = settings(optimizer=kind, weight_decay=(0.3, 0.1, 0.0))
    found = []
    for optimiser_of in (functools.partial(CompiledOptimiser, share=Share()), Optimiser):
        parameters = from_networks(networks, torch.device("cpu"))
        gradient = parameters.like(torch.zeros_like(parameters.flat))
        optimiser, rng = optimiser_of(chosen, parameters, gradient), np.random.default_rng(4)
        with torch.no_grad():
            for step in range(5):
                gradient.flat.copy_(torch.from_numpy(rng.normal(0, 10.0 ** (step - 3), len(gradient.flat))))
                optimiser.step([1e-2, 3e-2])
        found.append(parameters.flat.detach().numpy())
    assert np.abs(found[0] - found[1]).max() < 1e-6
    assert np.abs(found[0] - from_networks(networks, torch.device("cpu")).flat.numpy()).max() > 1e-2


def test_training_learns_energies_and_forces():
    dataset = toy(80)
    splits = splits_of(dataset, 1)
    _, (before,) = train_ensemble(dataset, splits, settings(epochs=1), NETWORK, seed=[1])
    _, (after,) = train_ensemble(dataset, splits, settings(epochs=60, learning_rate=5e-3), NETWORK, seed=[1])
    assert after.valid_errors.energy_rmse_ev < 0.2 * before.valid_errors.energy_rmse_ev
    assert after.valid_errors.force_rmse_ev_per_angstrom < 0.4 * before.valid_errors.force_rmse_ev_per_angstrom


def test_reported_errors_are_those_of_the_ensemble():
    dataset = toy(40, mixed=True)
    splits = splits_of(dataset, 2)
    ensemble, members = train_ensemble(dataset, splits, settings(), NETWORK, seed=[1])
    parts = [ensemble.evaluate(group.frames) for group in dataset.groups]
    energies = np.concatenate([part[0] for part in parts], axis=1)
    reference = np.concatenate([group.labels.energies for group in dataset.groups])
    for m, member in enumerate(members):
        assert member.index == m
        errors = (energies[m] - reference)[member.split.valid]
        assert member.valid_errors.energy_mae_ev == pytest.approx(np.abs(errors).mean(), rel=1e-3)
        forces = np.concatenate(
            [(part[1][m] - g.labels.forces).ravel() for part, g in zip(parts, dataset.groups, strict=True)]
        )
        assert member.all_errors.force_rmse_ev_per_angstrom == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-3)


def same_weights(one, other):
    pairs = zip(one.networks.weights, other.networks.weights, strict=True)
    return all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, preset):
    dataset = toy(30)
    splits = splits_of(dataset, 2)
    decay = {"weight_decay": 1e-5} if preset == "paper" else {}
    chosen = ANITrainingSettings(preset=preset, epochs=4, batch_size=8, device="cpu", checkpoint_every_s=0, **decay)
    whole, members = train_ensemble(dataset, splits, chosen, NETWORK, seed=[7])

    class KilledError(Exception):
        pass

    def kill(done, total):
        assert total == 4
        if done == 2:
            raise KilledError

    path = tmp_path / "training.pt"
    with pytest.raises(KilledError):
        train_ensemble(dataset, splits, chosen, NETWORK, seed=[7], checkpoint=path, progress=kill)
    epochs = []
    resumed, again = train_ensemble(
        dataset, splits, chosen, NETWORK, seed=[7], checkpoint=path, progress=lambda done, _: epochs.append(done)
    )
    assert epochs == [3, 4]
    assert same_weights(whole, resumed)
    assert [member.valid_errors for member in members] == [member.valid_errors for member in again]


def test_a_checkpoint_of_another_training_is_not_used(tmp_path):
    dataset = toy(30)
    splits = splits_of(dataset, 1)
    path = tmp_path / "training.pt"
    train_ensemble(dataset, splits, settings(checkpoint_every_s=0), NETWORK, seed=[7], checkpoint=path)
    path.with_name("damaged.pt").write_bytes(path.read_bytes()[:100])
    expected, _ = train_ensemble(dataset, splits, settings(checkpoint_every_s=0), NETWORK, seed=[8])
    for name in ("training.pt", "damaged.pt"):
        found, _ = train_ensemble(
            dataset, splits, settings(checkpoint_every_s=0), NETWORK, seed=[8], checkpoint=path.with_name(name)
        )
        assert same_weights(expected, found)


def test_recomputed_batches_give_the_same_weights():
    dataset = toy(30, mixed=True)
    splits = splits_of(dataset, 1)
    cached, _ = train_ensemble(dataset, splits, settings(epochs=2), NETWORK, seed=[7])
    small = settings(epochs=2, memory_limit_gb=1e-6)
    assert prepare(dataset, cached.functions, small.memory_limit_gb).cache is None
    recomputed, _ = train_ensemble(dataset, splits, small, NETWORK, seed=[7])
    assert same_weights(cached, recomputed)


def test_members_alone_equal_members_together():
    dataset = toy(30)
    splits = splits_of(dataset, 3)
    together, _ = train_ensemble(dataset, splits, settings(epochs=2), NETWORK, seed=[7])
    alone, (member,) = train_ensemble(dataset, splits, settings(epochs=2), NETWORK, seed=[7], members=[1])
    assert member.index == 1
    frames = dataset.groups[0].frames
    assert alone.evaluate(frames)[0][0] == pytest.approx(together.evaluate(frames)[0][1], abs=1e-4)
    assert abs(together.evaluate(frames)[0][0] - together.evaluate(frames)[0][1]).max() > 1e-3


def test_scaled_descriptors_are_the_same_function():
    dataset = toy(20, mixed=True)
    functions = SymmetryFunctions.like_2x((1, 6))
    data = prepare(dataset, functions, 1.0)
    generators = [np.random.default_rng(i) for i in (1, 2)]
    networks = fresh_networks(functions.length, [(24, 16), (12, 8)], "gelu", generators)
    scaling = descriptor_scaling(data, 0.05)
    again = scaling.fold(scaling.apply(networks))
    frames = dataset.groups[1].frames
    plain, folded = (ANIEnsemble(functions, n, np.zeros((2, 2))).evaluate(frames)[0] for n in (networks, again))
    assert plain == pytest.approx(folded, abs=1e-4)
    hydrogen = data.cache[0][data.cache[1].species == 0]
    scaled = (hydrogen - scaling.shift[0]) * scaling.scale[0]
    assert np.abs(scaled.mean(axis=0)).max() < 1e-4
    deviations = scaled.std(axis=0)
    assert deviations.max() == pytest.approx(1.0, abs=1e-4)
    assert deviations[hydrogen.std(axis=0) < 0.05].max() < 1.0


def test_carried_over_weights_start_where_the_last_ended():
    dataset = toy(40)
    splits = splits_of(dataset, 1)
    chosen = settings(epochs=30, learning_rate=5e-3, epochs_carried_over=1, learning_rate_carried_over=1e-4)
    first, (before,) = train_ensemble(dataset, splits, chosen, NETWORK, seed=[7])
    second, (after,) = train_ensemble(dataset, splits, chosen, NETWORK, seed=[8], initial=first)
    assert after.epochs == 1
    assert not same_weights(first, second)
    assert after.train_errors.energy_rmse_ev < 2 * before.train_errors.energy_rmse_ev + 0.01


def test_new_element_needs_fresh_weights():
    dataset = toy(10)
    first, _ = train_ensemble(dataset, splits_of(dataset, 1), settings(epochs=1), NETWORK, seed=[7])
    group = dataset.groups[0]
    strange = Dataset((Group(Frames.of(np.array([8, 1, 1, 1, 1]), group.frames.positions), group.labels),))
    with pytest.raises(StructureError, match="atom 0 is O, the potential knows H, C"):
        train_ensemble(strange, splits_of(strange, 1), settings(epochs=1), NETWORK, seed=[7], initial=first)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(np.array([], int), np.array([0])), "the split of member 0 has none"),
        (Split(np.array([0, 99]), np.array([1])), "from 0 to 99"),
    ],
)
def test_bad_splits_are_refused(split, message):
    with pytest.raises(TrainingError, match=message):
        train_ensemble(toy(10), [split], settings(), NETWORK, seed=[1])


@pytest.mark.parametrize("chosen", [{"criterion": "energy"}, {"schedule": "plateau"}])
def test_validation_frames_are_asked_for_where_they_are_needed(chosen):
    dataset, split = toy(10), Split(np.arange(10), np.array([], int))
    with pytest.raises(TrainingError, match="the split of member 0 has none"):
        train_ensemble(dataset, [split], settings(**chosen), NETWORK, seed=[1])
    _, (member,) = train_ensemble(dataset, [split], settings(epochs=1), NETWORK, seed=[1])
    assert np.isnan(member.valid_errors.energy_mae_ev)


def test_absurd_labels_end_a_training():
    dataset = toy(10)
    labels = dataset.groups[0].labels
    broken = Labels(np.where(np.arange(10) == 3, np.inf, labels.energies), labels.forces)
    with pytest.raises(TrainingError, match="must stay finite"):
        train_ensemble(
            Dataset((Group(dataset.groups[0].frames, broken),)),
            [Split(np.arange(10), np.arange(2))],
            settings(),
            NETWORK,
            seed=[1],
        )


def test_threads_give_the_same_weights():
    dataset = toy(12, mixed=True)
    one, two = (
        train_ensemble(dataset, splits_of(dataset, 3), settings(epochs=2), NETWORK, seed=[1], threads=threads)[0]
        for threads in (1, 2)
    )
    assert same_weights(one, two)


def test_threads_of_torch_are_set_back():
    before, within = torch.get_num_threads(), []
    torch.set_num_threads(2)
    train_ensemble(
        toy(10),
        splits_of(toy(10), 1),
        settings(epochs=1),
        NETWORK,
        seed=[1],
        threads=3,
        progress=lambda *_: within.append(torch.get_num_threads()),
    )
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert (within, after) == ([1], 2)


def test_self_energies_tell_elements_apart():
    counts = np.array([[4, 1], [6, 2], [8, 3]])
    assert fit_self_energies(counts, counts @ [-10.0, -100.0]) == pytest.approx([-10.0, -100.0])


def test_a_single_composition_shares_its_energy_out():
    counts = np.array([[4, 1]] * 3)
    found = fit_self_energies(counts, np.array([-140.0, -141.0, -142.0]))
    assert counts[0] @ found == pytest.approx(-141.0)
