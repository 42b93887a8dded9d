import numpy as np
import pytest
import torch
from ase import Atoms

from alflow.errors import InputError, StructureError
from alflow.potentials.schnet.ensemble import SchNetEnsemble, join
from alflow.potentials.schnet.network import fresh_parameters
from alflow.potentials.schnet.settings import SchNetSettings
from alflow.potentials.schnet.training import architecture_of
from alflow.structures import alkane
from alflow.types import Composition, Frames


def ensemble(members=3, **settings):
    settings = {"smooth_cutoff": False, "short_range_repulsion": False, **settings}
    architecture = architecture_of(SchNetSettings(**settings))
    parameters = tuple(fresh_parameters(architecture, seed) for seed in range(members))
    energies = np.arange(2.0 * members).reshape(members, 2)
    return SchNetEnsemble(architecture, (1, 6), parameters, energies)


def shaken(carbons, count=3, seed=0):
    frames = alkane(carbons)
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, len(frames.numbers), 3))
    return Frames.of(frames.numbers, frames.positions + noise)


def test_is_schnet_of_torch_geometric():
    potential, frames = ensemble(), shaken(4)
    energies, forces = potential.evaluate(frames)
    counts = [np.count_nonzero(frames.numbers == z) for z in (1, 6)]
    for member in range(3):
        module = potential.module(member).double()
        for frame in range(3):
            x = torch.tensor(frames.positions[frame], requires_grad=True)
            energy = module(torch.tensor(frames.numbers), x).sum()
            force = -torch.autograd.grad(energy, x)[0]
            constant = potential.self_energies[member] @ counts
            assert energy.item() == pytest.approx(energies[member, frame] - constant, abs=1e-5)
            np.testing.assert_allclose(force, forces[member, frame], atol=2e-4)


@pytest.mark.parametrize("options", [{}, {"smooth_cutoff": True}, {"short_range_repulsion": True}])
def test_forces_are_the_derivative_of_the_energy(options):
    frames = shaken(3, 1)
    model = ensemble(**options).force_model(frames.composition)
    x = frames.positions[0].copy()
    x[0] += 0.85 * (x[1] - x[0])  # two carbons so near that the repulsion acts
    forces = model(x).forces
    step = 1e-5
    for atom, axis in [(0, 0), (1, 2), (5, 1)]:
        moved = np.zeros_like(x)
        moved[atom, axis] = step
        slope = (model(x + moved).energy - model(x - moved).energy) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, rel=1e-7, abs=1e-6)


def test_energy_is_smooth_where_an_atom_leaves_the_cutoff():
    numbers = np.array([6, 6])
    model = ensemble(1).force_model(Composition(numbers))

    def at(r):
        return model(np.array([[0.0, 0, 0], [r, 0, 0]]))

    assert at(5.0 - 1e-4).energy == pytest.approx(at(5.0 + 1e-4).energy, abs=1e-7)
    assert np.abs(at(5.0 - 1e-4).forces).max() < 1e-4
    assert np.abs(at(5.1).forces).max() == 0.0


def test_repulsion_acts_where_atoms_are_too_near_and_nowhere_else():
    numbers = np.array([6, 6])
    with_it, without = ensemble(short_range_repulsion=True), ensemble()

    def difference(r):
        frames = Frames.of(numbers, np.array([[[0.0, 0, 0], [r, 0, 0]]]))
        return (with_it.evaluate(frames)[0] - without.evaluate(frames)[0])[0, 0]

    assert difference(1.5) == 0.0
    assert 0 < difference(1.2) < difference(0.8)
    # at 0.5 Å, hardly switched: 36 e²/r times the screening at r/a = 1.6
    length = 0.4685 / (2 * 6**0.23)
    terms = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
    bare = 36 * 14.399645 / 0.5 * sum(c * np.exp(-d * 0.5 / length) for c, d in terms)
    assert difference(0.5) == pytest.approx(bare * (1 - (0.5 / (0.85 * 1.52)) ** 2) ** 3, rel=1e-5)


def test_driver_and_spread():
    frames, potential = shaken(2, 1), ensemble()
    energies, forces = potential.evaluate(frames)
    mean, one = potential.force_model(frames.composition), potential.force_model(frames.composition, 1)
    x = frames.positions[0]
    assert mean(x).energy == pytest.approx(energies.mean())
    np.testing.assert_allclose(mean(x).forces, forces[:, 0].mean(0), atol=1e-12)
    assert one(x).energy == pytest.approx(energies[1, 0])
    np.testing.assert_allclose(one(x).forces, forces[1, 0], atol=1e-12)
    assert mean(x).spread == pytest.approx(energies[:, 0].std())
    assert one(x).spread == pytest.approx(energies[:, 0].std())
    assert potential.force_model(frames.composition, 1, spread=False)(x).spread == 0.0


def test_invariant_under_rotation_and_permutation():
    frames = shaken(3, 1)
    potential = ensemble(1)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    order = np.random.default_rng(2).permutation(len(frames.numbers))
    turned = Frames.of(frames.numbers[order], np.ascontiguousarray(frames.positions[:, order] @ rotation))
    energies, forces = potential.evaluate(frames)
    other, other_forces = potential.evaluate(turned)
    np.testing.assert_allclose(other, energies, atol=1e-9)
    np.testing.assert_allclose(other_forces[0, 0], forces[0, 0][order] @ rotation, atol=1e-9)


def test_threads_change_nothing():
    frames, potential = shaken(2, 5), ensemble()
    for one, two in zip(potential.evaluate(frames), potential.evaluate(frames, threads=2), strict=True):
        np.testing.assert_array_equal(one, two)


def test_saved_and_loaded_select_and_join(tmp_path):
    frames, potential = shaken(2), ensemble(smooth_cutoff=True)
    potential.select([2]).save(tmp_path / "a.pt")
    potential.select([0, 1]).save(tmp_path / "b.pt")
    joined = join([SchNetEnsemble.load(tmp_path / "a.pt"), SchNetEnsemble.load(tmp_path / "b.pt")])
    np.testing.assert_array_equal(joined.evaluate(frames)[0], potential.evaluate(frames)[0][[2, 0, 1]])
    assert torch.load(tmp_path / "a.pt", weights_only=True)["format"] == "alflow-schnet-1"


def test_refusals(tmp_path):
    potential = ensemble(1)
    with pytest.raises(StructureError, match="atom 1 has the atomic number 8"):
        potential.force_model(Composition(np.array([6, 8])))
    with pytest.raises(InputError, match="member 1 was asked for"):
        potential.force_model(Composition(np.array([6])), 1)
    with pytest.raises(StructureError, match=r"shape \(1, 3\)"):
        potential.force_model(Composition(np.array([6, 6])))(np.zeros((1, 3)))
    torch.save({"format": "other"}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="alflow-schnet-1"):
        SchNetEnsemble.load(tmp_path / "x.pt")
    with pytest.raises(InputError, match="cosine cutoff alone"):
        ensemble(1, smooth_cutoff=True).module(0)
    with pytest.raises(InputError, match="architecture"):
        join([potential, ensemble(1, features=64)])


def test_is_an_ase_calculator(tmp_path):
    from alflow.ase import Ensemble

    potential, frames = ensemble(), shaken(3, 1)
    potential.save(tmp_path / "ensemble.pt")
    atoms = Atoms(frames.numbers, frames.positions[0], calculator=Ensemble(tmp_path / "ensemble.pt"))
    found = potential.force_model(frames.composition)(frames.positions[0])
    assert atoms.get_potential_energy() == pytest.approx(found.energy)
    np.testing.assert_allclose(atoms.get_forces(), found.forces)
    assert atoms.calc.results["energy_spread"] == pytest.approx(found.spread)
