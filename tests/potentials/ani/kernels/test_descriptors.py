"""Descriptors, Jacobian and forces against TorchANI's own, which differentiates by itself."""

from dataclasses import replace

import numpy as np
import pytest

from alflow.errors import StructureError
from alflow.potentials.ani.kernels.descriptors import Structures, descriptors_with_jacobian, workspace_for
from alflow.potentials.ani.kernels.geometry import fill_descriptors, fill_forces
from alflow.potentials.ani.kernels.jacobian import forces_of_batch, tangents_of_batch
from alflow.potentials.ani.symmetry import SymmetryFunctions

ELEMENTS = (1, 6, 7, 8)
FUNCTIONS = SymmetryFunctions.like_2x(ELEMENTS)


def torchani_vectors(numbers, positions):
    """Return descriptors (F, A, L) and a function from ∂E/∂G to ∂E/∂r, in double precision."""
    import torch
    from torchani.aev import AEVComputer

    computer = AEVComputer.like_2x(num_species=len(ELEMENTS)).double()
    species = torch.tensor([[ELEMENTS.index(number) for number in numbers]] * len(positions))
    coordinates = torch.tensor(positions, requires_grad=True)
    vectors = computer(species, coordinates)

    def pull_back(gradient):
        return torch.autograd.grad(vectors, coordinates, torch.tensor(gradient), retain_graph=True)[0].numpy()

    return vectors.detach().numpy(), pull_back


def descriptors(functions, numbers, positions):
    """Return (F, A, L) descriptors in double precision."""
    return evaluate(functions, numbers, positions, np.zeros((*positions.shape[:2], functions.length)))[0]


def evaluate(functions, numbers, positions, gradient):
    """Return (F, A, L) descriptors in double precision, and the forces of ∂E/∂G (F, A, L)."""
    work = workspace_for(functions.packed, positions)
    vectors, forces = np.zeros(gradient.shape), np.zeros(positions.shape)
    for frame, structure in enumerate(positions):
        fill_descriptors(structure, functions.species(numbers), functions.packed, work, vectors[frame])
        fill_forces(functions.packed, work, gradient[frame], forces[frame])
    return vectors, forces


def of(numbers, positions):
    """Return structures as the kernels take them."""
    return Structures(FUNCTIONS.species(numbers), positions)


def random_molecule(rng):
    """Return ten atoms of four elements on a jittered grid, six frames."""
    numbers = np.array([6, 1, 7, 8, 1, 6, 1, 8, 1, 6])
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3)[:10] * 1.4
    return numbers, grid + rng.uniform(-0.3, 0.3, (6, 10, 3))


def straight_molecules():
    """Return a straight row of five atoms along three directions: angles of exactly 0 and 180 degrees."""
    numbers = np.array([8, 6, 8, 7, 1])
    row = np.array([0.0, 1.16, 2.32, 3.4, 4.4])
    return numbers, np.stack([np.outer(row, axis) for axis in ([1.0, 0, 0], [0, 0, 1.0], [0.6, 0.8, 0])])


def near_cutoffs():
    """Return three atoms with distances a little inside and outside both cutoffs."""
    numbers = np.array([6, 8, 1])
    distances = [cutoff + shift for shift in (-1e-3, -1e-7, 1e-7, 1e-3) for cutoff in (3.5, 5.1)]
    frames = [[[0.0, 0, 0], [distance, 0, 0], [0.3, 1.0, 0.1]] for distance in distances]
    return numbers, np.array(frames)


CASES = {
    "random": random_molecule(np.random.default_rng(1)),
    "straight": straight_molecules(),
    "near cutoffs": near_cutoffs(),
}


@pytest.mark.parametrize("name", CASES)
def test_vectors_equal_torchani(name):
    numbers, positions = CASES[name]
    expected, _ = torchani_vectors(numbers, positions)
    found = descriptors(FUNCTIONS, numbers, positions)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_forces_equal_autograd(name):
    numbers, positions = CASES[name]
    rng = np.random.default_rng(2)
    gradient = rng.normal(size=(*positions.shape[:2], FUNCTIONS.length))
    _, pull_back = torchani_vectors(numbers, positions)
    expected = -pull_back(gradient)
    _, found = evaluate(FUNCTIONS, numbers, positions, gradient)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_jacobian_products_equal_autograd(name):
    numbers, positions = CASES[name]
    rng = np.random.default_rng(3)
    frames, atoms = positions.shape[:2]
    gradient = rng.normal(size=(frames, atoms, FUNCTIONS.length)).astype(np.float32)
    moves = rng.normal(size=(frames, atoms, 3)).astype(np.float32)
    _, pull_back = torchani_vectors(numbers, positions)
    expected = -pull_back(gradient.astype(float))
    _, jacobian = descriptors_with_jacobian(FUNCTIONS.packed, [of(numbers, positions)])
    rows = rng.permutation(frames * atoms)
    batch = (jacobian, np.arange(frames), np.arange(frames + 1) * atoms, rows)

    shuffled = np.empty((frames * atoms, FUNCTIONS.length), np.float32)
    shuffled[rows] = gradient.reshape(-1, FUNCTIONS.length)
    forces = np.empty((frames * atoms, 3), np.float32)
    forces_of_batch(*batch, shuffled, forces, 0, frames)
    assert np.abs(forces.reshape(expected.shape) - expected).max() < 1e-5 * np.abs(expected).max()

    tangents = np.empty_like(shuffled)
    tangents_of_batch(*batch, moves.reshape(-1, 3), tangents, 0, frames)
    work = (tangents[rows] * gradient.reshape(-1, FUNCTIONS.length)).sum()
    assert work == pytest.approx(-(expected * moves).sum(), rel=1e-4)


def test_groups_of_two_compositions():
    (first_numbers, first), (second_numbers, second) = CASES["random"], CASES["straight"]
    groups = [of(first_numbers, first), of(second_numbers, second)]
    vectors, joined = descriptors_with_jacobian(FUNCTIONS.packed, groups)
    expected = descriptors(FUNCTIONS, second_numbers, second)
    assert vectors[60:] == pytest.approx(expected.reshape(15, -1), abs=1e-6)
    rng = np.random.default_rng(4)
    gradient = rng.normal(size=(15, FUNCTIONS.length)).astype(np.float32)
    forces = np.empty((15, 3), np.float32)
    frames, offsets = np.array([2, len(first) + 1]), np.array([0, 10, 15])
    forces_of_batch(joined, frames, offsets, np.arange(15), gradient, forces, 0, 2)
    _, (expected,) = evaluate(FUNCTIONS, second_numbers, second[1:2], gradient[None, 10:])
    assert forces[10:] == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())
    _, (expected,) = evaluate(FUNCTIONS, first_numbers, first[2:3], gradient[None, :10])
    assert forces[:10] == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


def test_threads_give_the_same_bits():
    numbers, positions = CASES["random"]
    kept = [descriptors_with_jacobian(FUNCTIONS.packed, [of(numbers, positions)], threads) for threads in (1, 3)]
    for one, three in zip(*((vectors, *jacobian) for vectors, jacobian in kept), strict=True):
        assert np.array_equal(one, three)


def test_unknown_element_is_named():
    with pytest.raises(StructureError, match="atom 1 is Cl, the potential knows H, C, N, O"):
        FUNCTIONS.species(np.array([6, 17]))


def test_broken_positions_are_named():
    numbers, positions = CASES["random"]
    broken = positions.copy()
    broken[2, 4, 1] = np.nan
    with pytest.raises(StructureError, match="those of frame 2 are not"):
        descriptors(FUNCTIONS, numbers, broken)


def test_shifts_that_are_not_even():
    numbers, positions = CASES["random"]
    uneven = replace(FUNCTIONS, radial_shifts=(0.8, 1.0, 1.7), angular_shifts=(0.9, 1.1, 2.4))
    even = replace(FUNCTIONS, radial_shifts=(1.0,), angular_shifts=(1.1,))
    found, expected = (descriptors(functions, numbers, positions) for functions in (uneven, even))
    radial = found[:, :, : uneven.radial_length].reshape(*positions.shape[:2], len(ELEMENTS), 3)[..., 1]
    assert radial == pytest.approx(expected[:, :, : even.radial_length], abs=1e-12)
    angular = found[:, :, uneven.radial_length :].reshape(*positions.shape[:2], -1, 3, 4)[..., 1, :]
    assert angular.reshape(*positions.shape[:2], -1) == pytest.approx(expected[:, :, even.radial_length :], abs=1e-12)


@pytest.mark.parametrize("eta", [19.7, 80.0])
def test_gaussians_on_a_ladder_and_too_steep_for_one(eta):
    functions = replace(FUNCTIONS, radial_eta=eta, angular_eta=eta)
    distances = np.array([0.4, 1.1, 2.7, 5.0])
    positions = np.zeros((4, 2, 3))
    positions[:, 1, 2] = distances
    found = descriptors(functions, np.array([1, 1]), positions)[:, 0, :16]
    rounded = np.array(functions.radial_shifts, np.float32).astype(float)
    gaussians = np.exp(-float(np.float32(eta)) * (distances[:, None] - rounded) ** 2)
    cutoff = 0.5 * np.cos(np.pi * distances / 5.1) + 0.5
    assert found == pytest.approx(0.25 * gaussians * cutoff[:, None], abs=1e-9)
    assert (functions.packed.scalars[2] == 0.0) == (eta == 80.0)
