import numpy as np
import pytest

from alflow.dftb.coulomb import (
    add_charge_gradient,
    charge_energies,
    charge_interactions,
    charge_kernel,
    charge_potential,
    short_range_coefficients,
)

HUBBARD = np.array([0.42, 0.36, 0.33])
DERIVATIVE = np.array([-0.19, -0.15, -0.11])
HYDROGEN = np.array([True, False, False])
SPECIES = np.array([0, 0, 1, 1, 2])
POSITIONS = np.array([[0.0, 0, 0], [1.9, 0.3, 0], [0, 2.6, 0.4], [-2.2, 0.1, 1.0], [0.3, -2.0, -2.4]])
EXCESS = np.array([-0.3, -0.2, 0.4, 0.25, -0.1])


def interactions(positions=POSITIONS, hubbard=HUBBARD, zeta=4.0):
    short = short_range_coefficients(hubbard, HYDROGEN, zeta)
    arrays = np.empty((4, len(positions), len(positions)))
    charge_interactions(SPECIES[: len(positions)], hubbard, DERIVATIVE, short, positions, *arrays)
    return arrays


def test_one_atom_has_its_hubbard_parameter():
    gamma, third, *_ = interactions()
    assert np.diag(gamma) == pytest.approx(HUBBARD[SPECIES])
    assert np.diag(third) == pytest.approx(0.5 * DERIVATIVE[SPECIES])


def test_far_charges_are_points():
    far = np.array([[0.0, 0, 0], [60.0, 0, 0]])
    gamma, third, slope, _ = interactions(far)
    assert gamma[0, 1] == pytest.approx(1 / 60)
    assert slope[0, 1] == pytest.approx(-1 / 3600)
    assert abs(third[0, 1]) < 1e-12


def test_near_charges_approach_the_hubbard_parameter():
    close = np.array([[0.0, 0, 0], [0.0, 0, 1e-3]])
    assert interactions(close)[0][0, 1] == pytest.approx(HUBBARD[0], abs=1e-4)


def test_unequal_approaches_equal():
    short = short_range_coefficients(np.array([0.36, 0.3601]), np.array([False, False]), None)
    r, powers = 3.0, 3.0 ** np.arange(-1, 4)
    sums = [
        (np.exp(-short.exponents[a, b] * r)[:, None] * short.value[a, b] * powers).sum() for a, b in ((0, 0), (0, 1))
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-3)


@pytest.mark.parametrize("zeta", [4.0, None])
def test_third_order_is_the_derivative_with_respect_to_the_hubbard_parameter(zeta):
    third = interactions(zeta=zeta)[1]
    for kind in range(3):
        change = np.zeros(3)
        change[kind] = 1e-5
        upper, lower = (
            interactions(hubbard=HUBBARD + change, zeta=zeta),
            interactions(hubbard=HUBBARD - change, zeta=zeta),
        )
        slope = DERIVATIVE[kind] * (upper[0] - lower[0]) / 2e-5
        for a, b in np.ndindex(5, 5):
            if SPECIES[a] == kind and SPECIES[b] != kind:
                assert third[a, b] == pytest.approx(slope[a, b], abs=1e-9)


def test_potential_and_kernel_are_derivatives_of_the_energy():
    gamma, third, *_ = interactions()
    potential, kernel = np.empty(5), np.empty((5, 5))
    charge_potential(gamma, third, EXCESS, potential)
    charge_kernel(gamma, third, EXCESS, kernel)
    for a in range(5):
        step = np.zeros(5)
        step[a] = 1e-4
        up, down = (sum(charge_energies(gamma, third, EXCESS + s)) for s in (step, -step))
        assert (up - down) / 2e-4 == pytest.approx(potential[a], abs=1e-8)
        shifted = np.empty((2, 5))
        charge_potential(gamma, third, EXCESS + step, shifted[0])
        charge_potential(gamma, third, EXCESS - step, shifted[1])
        assert (shifted[0] - shifted[1]) / 2e-4 == pytest.approx(kernel[:, a], abs=1e-8)


def test_gradient_against_differences():
    *_, gamma_slope, third_slope = interactions()
    gradient = np.zeros((5, 3))
    add_charge_gradient(POSITIONS, gamma_slope, third_slope, EXCESS, gradient)
    for place in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[place] = 1e-4
        up, down = (sum(charge_energies(*interactions(POSITIONS + s)[:2], EXCESS)) for s in (step, -step))
        assert (up - down) / 2e-4 == pytest.approx(gradient[place], abs=1e-8)
