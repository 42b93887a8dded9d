"""Export to and import from TorchANI, whose own forward and derivatives are the reference."""

import numpy as np
import pytest
import torch

from alflow.errors import InputError, StructureError
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.interop import PUBLISHED, _published, from_torchani, read_torchani, to_torchani
from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import Frames
from alflow.units import HARTREE_IN_EV

ELEMENTS = (1, 6, 7, 8)
NUMBERS = np.array([6, 1, 7, 8, 1, 6, 1, 8, 1, 6])


def frames():
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3)[:10] * 1.4
    return Frames.of(NUMBERS, grid + rng.uniform(-0.3, 0.3, (4, 10, 3)))


def ensemble(members=2, activation="gelu"):
    functions = SymmetryFunctions.like_2x(ELEMENTS)
    hidden = [(64, 48, 40), (56, 48, 40), (48, 40, 33), (48, 40, 32)]
    networks = fresh_networks(functions.length, hidden, activation, [np.random.default_rng(i) for i in range(members)])
    self_energies = np.array([-13.0, -1030.0, -1480.0, -2041.0]) + np.arange(members)[:, None]
    return ANIEnsemble(functions, networks, self_energies)


def torchani_labels(model, frames):
    """Return energies (M, F) and forces (M, F, A, 3) by TorchANI's forward and torch's derivatives."""
    positions = torch.tensor(frames.positions, requires_grad=True)
    species = torch.tensor(frames.numbers).repeat(len(frames), 1)
    energies = model((species, positions), ensemble_values=True).energies
    forces = [-torch.autograd.grad(member.sum(), positions, retain_graph=True)[0].numpy() for member in energies]
    return energies.detach().numpy() * HARTREE_IN_EV, np.stack(forces) * HARTREE_IN_EV


@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_exported_ensemble_gives_the_same_energies_and_forces(activation):
    trained = ensemble(activation=activation)
    energies, forces = torchani_labels(to_torchani(trained), frames())
    found_energies, found_forces = trained.evaluate(frames())
    assert np.abs(found_energies - energies).max() < 1e-5
    assert np.abs(found_forces - forces).max() < 1e-4


def test_exported_member_stands_alone():
    trained = ensemble()
    model = to_torchani(trained, [1])
    assert not hasattr(model.neural_networks, "members")
    species = torch.tensor(NUMBERS).repeat(4, 1)
    energies = model((species, torch.tensor(frames().positions))).energies.numpy() * HARTREE_IN_EV
    assert np.abs(trained.evaluate(frames())[0][1] - energies).max() < 1e-5


def test_import_of_an_export_is_the_same_ensemble():
    trained = ensemble(activation="celu")
    again = from_torchani(to_torchani(trained))
    assert again.functions.packed.radial_shifts == pytest.approx(trained.functions.packed.radial_shifts, abs=0)
    energies, forces = again.evaluate(frames())
    expected_energies, expected_forces = trained.evaluate(frames())
    assert np.abs(energies - expected_energies).max() < 2e-4
    assert np.abs(forces - expected_forces).max() < 1e-4


def test_import_of_a_model_that_torchani_built():
    import torchani

    torch.manual_seed(3)
    model = torchani.arch.simple_ani(
        ("H", "C", "N", "O"), "wb97x-631gd", ensemble_size=2, cutoff_fn="cosine", repulsion=False, strategy="pyaev"
    ).double()
    imported = from_torchani(model)
    energies, forces = torchani_labels(model, frames())
    found_energies, found_forces = imported.evaluate(frames())
    assert np.abs(found_energies - energies).max() < 1e-3
    assert np.abs(found_forces - forces).max() < 1e-3


def test_foreign_parts_are_refused():
    model = to_torchani(ensemble())
    model.aev_computer.radial.cutoff_fn = __import__("torchani").cutoffs.CutoffSmooth()
    with pytest.raises(InputError, match="CutoffSmooth"):
        from_torchani(model)


@pytest.mark.parametrize("elements", [(6, 1), (1, 6, 8), (8, 7, 6, 1), (7,)])
def test_an_ensemble_of_some_of_its_elements_says_the_same_of_them(elements):
    whole = ensemble()
    part = whole.of_elements(elements)
    assert part.functions.elements == tuple(sorted(elements))
    assert part.functions.length < whole.functions.length or len(elements) == 4
    chosen = np.isin(NUMBERS, elements)
    molecules = Frames.of(NUMBERS[chosen], frames().positions[:, chosen])
    for found, known in zip(part.evaluate(molecules), whole.evaluate(molecules), strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-5)


def test_an_element_that_an_ensemble_does_not_know_is_refused():
    with pytest.raises(StructureError, match="Z=14"):
        ensemble().of_elements((1, 14))


@pytest.mark.parametrize(("name", "members"), [("ani1x", 2), ("ani2x", 1)])
def test_a_published_model_is_read_from_the_file_of_its_state(tmp_path, name, members):
    model = _published(PUBLISHED[name], members).double()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    found = read_torchani(tmp_path / "state.pt")
    energies, forces = torchani_labels(model, frames())
    got = found.evaluate(frames())
    assert found.members == members
    assert np.abs(got[0] - energies).max() < 1e-3  # of 1e5 eV, in single precision
    assert np.abs(got[1] - forces).max() < 1e-3


@pytest.mark.parametrize("content", [{"a": torch.zeros(3)}, [1, 2], {"x.atomics.Xe.y": torch.zeros(1)}, None])
def test_a_file_of_something_else_is_refused_with_a_sentence(tmp_path, content):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state.pt is neither"):
        read_torchani(tmp_path / "state.pt")
