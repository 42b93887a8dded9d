"""Trainings on a GPU take the passes of torch: what they do in an epoch is what the kernels of a CPU do."""

import numpy as np
import pytest

from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training.trainer import train_ensemble
from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, Labels, Split


@pytest.fixture(scope="module")
def dataset():
    """Propane and butane, shaken, with the energies and forces of a random network."""
    functions = SymmetryFunctions.like_2x((1, 6))
    networks = fresh_networks(functions.length, [(24, 16, 12)] * 2, "gelu", [np.random.default_rng(9)])
    teacher, groups = ANIEnsemble(functions, networks, np.array([[-10.0, -100.0]])), []
    for carbons in (3, 4):
        molecule = alkane(carbons)
        noise = np.random.default_rng(carbons).normal(0.0, 0.05, (60, *molecule.positions.shape[1:]))
        frames = Frames.of(molecule.numbers, molecule.positions + noise)
        (energies,), (forces,) = teacher.evaluate(frames)
        groups.append(Group(frames, Labels(energies, forces)))
    return Dataset(tuple(groups))


@pytest.mark.gpu
@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_epochs_on_a_gpu_end_where_those_on_a_cpu_end(dataset, preset, epochs):
    orders = [np.random.default_rng(member).permutation(len(dataset)) for member in range(3)]
    splits = [Split(order[:96], order[96:]) for order in orders]
    network, found = ANISettings(hidden_layers={"H": (32, 24, 16), "C": (24, 16, 16)}, other_layers=(8, 8, 8)), []
    for device in ("cpu", "gpu"):
        settings = ANITrainingSettings(preset=preset, epochs=epochs, batch_size=16, device=device)
        found.append(train_ensemble(dataset, splits, settings, network, seed=[5]))
    (one, members), (other, others) = found
    for cpu, gpu in zip(members, others, strict=True):
        for name in ("energy_mae_ev", "force_mae_ev_per_angstrom"):
            assert getattr(gpu.valid_errors, name) == pytest.approx(getattr(cpu.valid_errors, name), rel=1e-3), name
    frames = dataset.groups[0].frames
    (energies, forces), (same_energies, same_forces) = one.evaluate(frames), other.evaluate(frames)
    assert same_energies == pytest.approx(energies, abs=1e-3 * np.std(energies))
    assert same_forces == pytest.approx(forces, abs=1e-3 * np.std(forces))
