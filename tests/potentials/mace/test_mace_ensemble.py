import numpy as np
import pytest
import torch
from ase import Atoms

pytest.importorskip("mace")

from alflow.errors import InputError, StructureError
from alflow.potentials.mace.architecture import architecture_of, weights_of
from alflow.potentials.mace.ensemble import MACEEnsemble, join
from alflow.potentials.mace.library import AtomicNumberTable, DataLoader, data, making
from alflow.potentials.mace.settings import MACESettings
from alflow.structures import alkane
from alflow.types import Composition, Frames

SMALL = {
    "channels": 4,
    "max_l": 1,
    "correlation": 2,
    "spherical_l": 2,
    "radial_functions": 4,
    "radial_layers": (8,),
}


def ensemble(members=2, **settings):
    given = MACESettings(**{**SMALL, **settings})
    architecture = architecture_of(given, (1, 6), 8.0)
    weights = tuple(weights_of(architecture.module(seed=seed)) for seed in range(members))
    return MACEEnsemble(architecture, weights, np.arange(2.0 * members).reshape(members, 2), "cpu")


@pytest.fixture(scope="module")
def potential():
    return ensemble()


def shaken(carbons, count=3, seed=0):
    frames = alkane(carbons)
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, len(frames.numbers), 3))
    return Frames.of(frames.numbers, frames.positions + noise)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "double"},
        {"precision": "double", "max_l": 0, "spherical_l": 1, "radial_basis": "gaussian"},
        {"precision": "double", "layers": 1, "correlation": 3, "radial_basis": "chebyshev"},
        {"precision": "double", "layers": 3, "short_range_repulsion": False},
    ],
)
def test_is_the_network_of_mace_on_its_own_graphs(options):
    found, frames = ensemble(1, **options), shaken(2)
    energies, forces = found.evaluate(frames)
    with making("double"):
        table = AtomicNumberTable([1, 6])
        configurations = [data.Configuration(frames.numbers, row, {}, {}) for row in frames.positions]
        graphs = [data.AtomicData.from_config(one, table, 5.0) for one in configurations]
        batch = next(iter(DataLoader(graphs, 3, generator=torch.Generator()))).to_dict()
    output = found.architecture.module(found.weights[0], scripted=True)(batch)
    np.testing.assert_allclose(energies[0] - found.constant(frames.numbers)[0], output["energy"].detach(), atol=1e-9)
    np.testing.assert_allclose(forces[0].reshape(-1, 3), output["forces"].detach(), atol=1e-9)


def test_forces_are_the_derivative_of_the_energy():
    frames = shaken(2, 1)
    model = ensemble(2, precision="double").force_model(frames.composition)
    x, step = frames.positions[0], 1e-5
    forces = model(x).forces
    for atom, axis in [(0, 0), (1, 2), (5, 1)]:
        moved = np.zeros_like(x)
        moved[atom, axis] = step
        slope = (model(x + moved).energy - model(x - moved).energy) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, rel=1e-7, abs=1e-8)


def test_the_default_precision_of_the_process_is_not_that_of_the_potential(potential):
    frames = shaken(2, 2)
    before = potential.evaluate(frames)
    torch.set_default_dtype(torch.float64)
    try:
        after = potential.evaluate(frames)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_atoms_that_see_no_other_have_their_own_energies(potential):
    frames = Frames.of(np.array([6, 1]), np.array([[[0.0, 0, 0], [30.0, 0, 0]], [[0.0, 0, 0], [1.1, 0, 0]]]))
    energies, forces = potential.evaluate(frames)
    apart = potential.evaluate(frames.take(slice(1)))
    np.testing.assert_allclose(energies[:, 0], apart[0][:, 0], atol=1e-5)
    assert np.abs(forces[:, 0]).max() == 0.0
    assert np.abs(forces[:, 1]).max() > 0.0


def test_driver_and_spread(potential):
    frames = shaken(2, 1)
    energies, forces = potential.evaluate(frames)
    mean, one = potential.force_model(frames.composition), potential.force_model(frames.composition, 1)
    x = frames.positions[0]
    assert mean(x).energy == pytest.approx(energies.mean())
    np.testing.assert_allclose(mean(x).forces, forces[:, 0].mean(0), atol=1e-6)
    assert one(x).energy == pytest.approx(energies[1, 0])
    np.testing.assert_allclose(one(x).forces, forces[1, 0], atol=1e-6)
    assert mean(x).spread == pytest.approx(energies[:, 0].std(), rel=1e-5)
    assert one(x).spread == pytest.approx(energies[:, 0].std(), rel=1e-5)


def test_several_at_once_are_as_each_alone(potential):
    frames = shaken(2, 5)
    together = potential.batched_force_model(frames.composition, "mean", torch.device("cpu"))
    positions = frames.positions.copy()
    positions[3, 2, 1] = np.nan
    energies, forces, spreads = (value.numpy() for value in together(torch.from_numpy(positions)))
    alone = potential.force_model(frames.composition)
    for row in (0, 1, 2, 4):
        found = alone(frames.positions[row])
        assert energies[row] == pytest.approx(found.energy, abs=1e-5)
        assert spreads[row] == pytest.approx(found.spread, abs=1e-5)
        np.testing.assert_allclose(forces[row], found.forces, atol=1e-5)
    assert np.isnan(energies[3])
    assert np.isnan(forces[3]).all()


def test_two_ensembles_in_turn_do_not_mix(potential):
    frames, other = shaken(2, 2), ensemble(1, channels=2)
    before = potential.evaluate(frames)[0]
    first = potential.force_model(frames.composition)
    second = other.force_model(frames.composition)
    for row in range(2):
        assert first(frames.positions[row]).energy == pytest.approx(before[:, row].mean(), abs=1e-5)
        assert second(frames.positions[row]).energy == pytest.approx(other.evaluate(frames)[0][0, row], abs=1e-5)


def test_invariant_under_rotation_and_permutation():
    frames = shaken(2, 1)
    found = ensemble(1, precision="double")
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    order = np.random.default_rng(2).permutation(len(frames.numbers))
    turned = Frames.of(frames.numbers[order], np.ascontiguousarray(frames.positions[:, order] @ rotation) + 300.0)
    energies, forces = found.evaluate(frames)
    other, other_forces = found.evaluate(turned)
    np.testing.assert_allclose(other, energies, atol=1e-9)
    np.testing.assert_allclose(other_forces[0, 0], forces[0, 0][order] @ rotation, atol=1e-9)


def test_last_layer_is_linear_in_the_energy():
    found, frames = ensemble(2, precision="double", short_range_repulsion=False), shaken(2, 4)
    layer = found.last_layer
    predicted = layer.values(frames) @ layer.weights
    energies, forces = found.evaluate(frames)
    mean = energies.mean(axis=0)
    np.testing.assert_allclose(predicted - predicted[0], mean - mean[0], atol=1e-9)
    slopes = layer.slopes(frames)
    np.testing.assert_allclose(-(slopes @ layer.weights).reshape(forces[0].shape), forces.mean(axis=0), atol=1e-9)
    directions = np.random.default_rng(0).normal(size=(4, 2, len(frames.numbers), 3))
    along = np.einsum("fdx,fxn->fdn", directions.reshape(4, 2, -1), slopes)
    np.testing.assert_allclose(layer.slopes(frames, directions), along, atol=1e-9)
    with pytest.raises(StructureError, match="not finite"):
        layer.values(Frames.of(frames.numbers, frames.positions * np.nan))


def test_saved_and_loaded_select_and_join(potential, tmp_path):
    frames = shaken(1)
    potential.select([1]).save(tmp_path / "a.pt")
    potential.select([0]).save(tmp_path / "b.pt")
    joined = join([MACEEnsemble.load(tmp_path / "a.pt"), MACEEnsemble.load(tmp_path / "b.pt")])
    np.testing.assert_array_equal(joined.evaluate(frames)[0], potential.evaluate(frames)[0][[1, 0]])
    assert torch.load(tmp_path / "a.pt", weights_only=True)["format"] == "alflow-mace-1"


def test_refusals(potential, tmp_path):
    with pytest.raises(StructureError, match="atom 1 has the atomic number 8"):
        potential.force_model(Composition(np.array([6, 8])))
    with pytest.raises(InputError, match="member 2 was asked for"):
        potential.force_model(Composition(np.array([6])), 2)
    with pytest.raises(StructureError, match=r"shape \(1, 3\)"):
        potential.force_model(Composition(np.array([6, 6])))(np.zeros((1, 3)))
    torch.save({"format": "other"}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="alflow-mace-1"):
        MACEEnsemble.load(tmp_path / "x.pt")
    with pytest.raises(InputError, match="architecture"):
        join([potential, ensemble(1, channels=2)])


def test_is_an_ase_calculator(potential, tmp_path):
    from alflow.ase import Ensemble

    frames = shaken(2, 1)
    potential.save(tmp_path / "ensemble.pt")
    atoms = Atoms(frames.numbers, frames.positions[0], calculator=Ensemble(tmp_path / "ensemble.pt"))
    found = potential.force_model(frames.composition)(frames.positions[0])
    assert atoms.get_potential_energy() == pytest.approx(found.energy)
    np.testing.assert_allclose(atoms.get_forces(), found.forces)
    assert atoms.calc.results["energy_spread"] == pytest.approx(found.spread)
