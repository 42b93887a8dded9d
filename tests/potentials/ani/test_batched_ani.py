"""The route by torch beside the kernels: energies, forces and spreads of many structures at once."""

import functools

import numpy as np
import pytest
import torch

from alflow.errors import StructureError
from alflow.potentials.ani.batched import BatchedForceModel
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.structures import alkane
from alflow.types import Composition, Frames

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def ensemble(activation="gelu", members=3, elements=(1, 6, 8)):
    functions = SymmetryFunctions.like_2x(elements)
    generators = [np.random.default_rng(index) for index in range(members)]
    networks = fresh_networks(functions.length, [(40, 32, 24)] * len(elements), activation, generators)
    return ANIEnsemble(functions, networks, np.arange(float(members * len(elements))).reshape(members, -1))


def shaken(carbons, count=5):
    molecule = alkane(carbons)
    numbers = molecule.numbers.copy()
    numbers[-1] = 8
    noise = np.random.default_rng(4).normal(0.0, 0.1, (count, *molecule.positions.shape[1:]))
    return Frames.of(numbers, molecule.positions + noise)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "energy", "force"), [(torch.float64, 2e-5, 1e-4), (torch.float32, 1e-4, 1e-3)])
@pytest.mark.parametrize(
    ("carbons", "driver", "activation"), [(2, "mean", "gelu"), (8, 1, "gelu"), (3, "mean", "celu")]
)
def test_as_the_kernels(device, precision, energy, force, carbons, driver, activation):
    potential, frames = ensemble(activation), shaken(carbons)
    energies, forces = potential.evaluate(frames)
    model = BatchedForceModel(potential, frames.composition, torch.device(device), driver=driver, precision=precision)
    model.make_room(frames.positions)
    found = [values.cpu().numpy() for values in model(torch.from_numpy(frames.positions).to(device))]
    assert model.fits()
    assert np.abs(forces).max() > 1.0
    pick = (lambda values: values.mean(axis=0)) if driver == "mean" else (lambda values: values[driver])
    assert found[0] == pytest.approx(pick(energies), abs=energy)
    assert found[1] == pytest.approx(pick(forces), abs=force)
    assert found[2] == pytest.approx(energies.std(axis=0), abs=energy)


def test_lists_that_are_too_short_are_noticed_and_grow():
    potential, frames = ensemble(), shaken(8)
    model = BatchedForceModel(potential, frames.composition, torch.device("cpu"))
    positions = torch.from_numpy(frames.positions)
    rounds = 0
    while True:
        energies, _, _ = model(positions)
        if model.fits():
            break
        model.make_room()
        rounds += 1
    assert rounds > 1
    assert energies.numpy() == pytest.approx(potential.evaluate(frames)[0].mean(axis=0), abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_structure_without_sense_spoils_no_other(device):
    potential, frames = ensemble(), shaken(3)
    model = BatchedForceModel(potential, frames.composition, torch.device(device))
    model.make_room(frames.positions)
    positions = torch.from_numpy(frames.positions).to(device)
    before = model(positions)
    positions[2, 4] = torch.nan
    positions[3] = 0.0
    after = model(positions)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[[0, 1, 4]], other[[0, 1, 4]])
    assert not bool(after[0][2].isfinite())
    assert not bool(after[1][3].isfinite().any())


def test_an_atom_alone():
    potential = ensemble()
    model = BatchedForceModel(potential, Composition(np.array([6])), torch.device("cpu"))
    energies, forces, _ = model(torch.zeros(2, 1, 3, dtype=torch.float64))
    found, _ = potential.evaluate(Frames.of(np.array([6]), np.zeros((2, 1, 3))))
    assert energies.numpy() == pytest.approx(found.mean(axis=0), abs=1e-5)
    assert not forces.numpy().any()


def test_an_element_that_is_unknown_is_named():
    with pytest.raises(StructureError, match="atom 0 is N"):
        BatchedForceModel(ensemble(), Composition(np.array([7, 1, 1, 1])), torch.device("cpu"))


def test_compiled_for_one_shape_after_the_other(monkeypatch):
    quick = functools.partial(torch.compile, backend="aot_eager")  # traced as for a device, and run without a compiler
    monkeypatch.setattr(torch, "compile", quick)
    for count in (2, 3):
        potential, frames = ensemble(members=2), shaken(3, count)
        found = []
        for compiled in (False, True):
            model = BatchedForceModel(potential, frames.composition, torch.device("cpu"), compiled=compiled)
            model.make_room(frames.positions)
            found.append(model(torch.from_numpy(frames.positions)))
        for one, other in zip(*found, strict=True):
            assert other.numpy() == pytest.approx(one.numpy(), abs=1e-4)
        assert float(found[1][1].abs().max()) > 0.5
