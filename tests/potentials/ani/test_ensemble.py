"""The ensemble: what it evaluates, saves, joins and drives."""

import numpy as np
import pytest
import torch

from alflow.errors import InputError, StructureError
from alflow.potentials.ani.ensemble import ANIEnsemble, join
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import Composition, Frames

NUMBERS = np.array([1, 6, 1, 6, 1, 1, 1, 1])
POSITIONS = np.array(
    [
        [0, 0, 1.1],
        [0, 0, 0],
        [1.0, 0, -0.3],
        [0, 1.4, -0.4],
        [-1, -0.4, 0],
        [0.8, 2, 0.1],
        [-0.9, 1.9, 0],
        [0, 1.5, -1.5],
    ]
)


def ensemble(members=3, hidden=(40, 32, 24)):
    functions = SymmetryFunctions.like_2x((1, 6))
    generators = [np.random.default_rng(index) for index in range(members)]
    networks = fresh_networks(functions.length, [hidden, hidden], "gelu", generators)
    return ANIEnsemble(functions, networks, np.tile([-10.0, -100.0], (members, 1)))


def frames(count=5):
    return Frames.of(NUMBERS, POSITIONS + np.random.default_rng(4).uniform(-0.1, 0.1, (count, 8, 3)))


def test_forces_are_the_derivative_of_the_energy():
    model = ensemble().force_model(Composition(NUMBERS))
    forces = model(POSITIONS).forces
    step = 0.01
    for atom in range(len(NUMBERS)):
        for axis in range(3):
            shift = np.zeros_like(POSITIONS)
            shift[atom, axis] = step
            # Fourth order: single precision in the networks needs a wide step.
            one, two = (model(POSITIONS - n * shift).energy - model(POSITIONS + n * shift).energy for n in (1, 2))
            assert (8 * one - two) / (12 * step) == pytest.approx(forces[atom, axis], abs=3e-4)


def test_energy_knows_no_place_nor_turn():
    model = ensemble().force_model(Composition(NUMBERS))
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    here, there = model(POSITIONS), model(POSITIONS @ turn + 3.0)
    assert here.energy == pytest.approx(there.energy, abs=1e-5)
    assert np.abs(here.forces @ turn - there.forces).max() < 1e-5
    assert np.abs(here.forces.sum(axis=0)).max() < 1e-10


def test_mean_and_spread_are_those_of_the_members():
    trained = ensemble()
    energies, forces = trained.evaluate(frames())
    for driver in ("mean", 0, 2):
        found = trained.force_model(Composition(NUMBERS), driver)(frames().positions[1])
        expected = forces[:, 1].mean(axis=0) if driver == "mean" else forces[driver, 1]
        energy = energies[:, 1].mean() if driver == "mean" else energies[driver, 1]
        assert found.energy == pytest.approx(energy, abs=1e-6)
        assert np.abs(found.forces - expected).max() < 1e-5
        assert found.spread == pytest.approx(energies[:, 1].std(), abs=1e-6)


def test_a_driver_without_spread_has_the_same_forces():
    trained = ensemble()
    full = trained.force_model(Composition(NUMBERS), 1)(POSITIONS)
    bare = trained.force_model(Composition(NUMBERS), 1, spread=False)(POSITIONS)
    assert np.array_equal(full.forces, bare.forces)
    assert bare.spread == 0.0 < full.spread


def test_same_positions_same_bits_whatever_came_before():
    trained = ensemble()
    model = trained.force_model(Composition(NUMBERS))
    first = model(POSITIONS)
    model(POSITIONS * 0.8)
    model(POSITIONS * 3.0)
    again, other = model(POSITIONS), trained.force_model(Composition(NUMBERS))(POSITIONS)
    for found in (again, other):
        assert found.energy == first.energy
        assert found.spread == first.spread
        assert np.array_equal(found.forces, first.forces)


def test_threads_give_the_same_bits():
    trained = ensemble()
    for one, two in zip(trained.evaluate(frames(), threads=1), trained.evaluate(frames(), threads=2), strict=True):
        assert np.array_equal(one, two)


def test_lone_atoms_have_the_energy_of_isolated_networks():
    model = ensemble().force_model(Composition(np.array([6, 6])))
    apart = model(np.array([[0.0, 0, 0], [0, 0, 50.0]]))
    assert np.array_equal(apart.forces, np.zeros((2, 3)))
    assert np.isfinite(apart.energy)


def test_broken_positions_show_in_the_energy():
    trained = ensemble()
    positions = frames().positions.copy()
    positions[1, 3, 0] = np.nan
    found = trained.force_model(Composition(NUMBERS))(positions[1])
    assert np.isnan([found.energy, found.spread]).all()
    assert np.isnan(found.forces).all()
    energies, _ = trained.evaluate(Frames.of(NUMBERS, positions))
    assert np.isnan(energies[0]).tolist() == [False, True, False, False, False]


def test_saved_and_loaded_is_the_same(tmp_path):
    trained = ensemble()
    trained.save(tmp_path / "ensemble.pt")
    again = ANIEnsemble.load(tmp_path / "ensemble.pt")
    assert again.functions == trained.functions
    for one, two in zip(trained.evaluate(frames()), again.evaluate(frames()), strict=True):
        assert np.array_equal(one, two)


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"format": "other"}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="alflow-ani-1"):
        ANIEnsemble.load(tmp_path / "other.pt")


def test_join_of_selections_is_the_whole():
    trained = ensemble()
    joined = join([trained.select([2]), trained.select([0, 1])])
    energies, _ = trained.evaluate(frames())
    assert np.array_equal(joined.evaluate(frames())[0], energies[[2, 0, 1]])


def test_unlike_ensembles_do_not_join():
    with pytest.raises(InputError, match="same settings"):
        join([ensemble(), ensemble(hidden=(40, 32, 16))])


def test_bad_requests_are_refused():
    trained = ensemble()
    with pytest.raises(InputError, match="member 3 was asked for, of an ensemble of 3"):
        trained.force_model(Composition(NUMBERS), 3)
    with pytest.raises(StructureError, match="atom 1 is O, the potential knows H, C"):
        trained.force_model(Composition(np.array([1, 8])))
    with pytest.raises(StructureError, match="bound to 8 atoms"):
        trained.force_model(Composition(NUMBERS))(POSITIONS[:5])


def test_ase_calculator(tmp_path):
    from ase import Atoms

    from alflow.ase import Ensemble

    trained = ensemble()
    trained.save(tmp_path / "ensemble.pt")
    atoms = Atoms(numbers=NUMBERS, positions=POSITIONS, calculator=Ensemble(tmp_path / "ensemble.pt"))
    expected = trained.force_model(Composition(NUMBERS))(POSITIONS)
    assert atoms.get_potential_energy() == expected.energy
    assert np.array_equal(atoms.get_forces(), expected.forces)
    assert atoms.calc.results["energy_spread"] == expected.spread
    atoms.pop(0)
    assert np.isfinite(atoms.get_potential_energy())
    atoms.pbc = True
    with pytest.raises(StructureError, match="periodic"):
        atoms.get_potential_energy()
