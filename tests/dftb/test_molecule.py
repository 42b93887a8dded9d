"""Forces against differences, broken bonds, and what happens when the charges do not converge."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from alflow.errors import LabelError
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.types import Composition

ZINC = Atoms(
    "ZnO2H2SP",
    positions=[
        [0, 0, 0],
        [1.8, 0, 0],
        [-1.8, 0.2, 0],
        [2.3, 0.8, 0.1],
        [-2.3, -0.8, 0.1],
        [0.1, 2.2, 0.3],
        [0.2, -0.4, 2.4],
    ],
)
SALTS = Atoms(
    "NaFKClMgICaBr",
    positions=[[0, 0, 0], [2, 0, 0], [0, 3, 0], [2.9, 2.5, 0], [0, 0, 3], [2.8, 0.3, 3], [0, 3.5, 3], [3, 3.3, 3]],
)
STEP = 1e-4


@pytest.mark.parametrize(
    "atoms",
    [molecule("H2O"), molecule("CH3Cl"), molecule("CH3SH"), molecule("PH3"), molecule("SO2"), ZINC, SALTS],
    ids=lambda atoms: atoms.get_chemical_formula(),
)
@pytest.mark.parametrize("temperature", [300.0, 3000.0])
def test_forces_are_differences_of_the_energy(atoms, temperature):
    engine = DFTB3Engine(DFTB3Settings(electronic_temperature_k=temperature, scc_tolerance=1e-10))
    positions = atoms.positions + np.random.default_rng(len(atoms)).normal(size=(len(atoms), 3)) * 0.1
    here = engine.details(Composition(atoms.numbers), positions)
    for place in np.ndindex(positions.shape):
        energies = []
        for shift in (-2, -1, 1, 2):
            moved = positions.copy()
            moved[place] += shift * STEP
            energies.append(engine.details(Composition(atoms.numbers), moved, here.charges).energy)
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * STEP)
        assert here.forces[place] == pytest.approx(-slope, abs=1e-6)


@pytest.mark.parametrize("temperature", [300.0, 1000.0, 3000.0])
def test_a_breaking_bond_is_continuous_and_always_converges(temperature):
    """Butane's inner bond to 6 Å: energy differences are the integral of the forces (Simpson)."""
    engine = DFTB3Engine(DFTB3Settings(electronic_temperature_k=temperature))
    atoms = molecule("trans-butane")
    first, second = sorted(
        (i for i in range(14) if atoms.numbers[i] == 6), key=lambda i: abs(atoms.positions[i]).sum()
    )[:2]
    axis = atoms.positions[second] - atoms.positions[first]
    length = np.linalg.norm(axis)
    axis /= length
    middle = 0.5 * (atoms.positions[second] + atoms.positions[first]) @ axis
    side = atoms.positions @ axis > middle
    energies, pulls = [], []
    distances = np.linspace(1.4, 6.0, 231)
    for distance in distances:
        positions = atoms.positions.copy()
        positions[side] += (distance - length) * axis
        details = engine.details(Composition(atoms.numbers), positions)
        assert details.cycles <= 15
        energies.append(details.energy)
        pulls.append(details.forces[side].sum(axis=0) @ axis)
    step = distances[1] - distances[0]
    simpson = -step / 3 * (np.array(pulls[:-2:2]) + 4 * np.array(pulls[1:-1:2]) + np.array(pulls[2::2]))
    assert np.diff(energies[::2]) == pytest.approx(simpson, abs=2e-5)
    assert 3.0 < energies[-1] - min(energies) < 8.0


def test_warm_and_cold_starts_agree():
    engine, atoms = DFTB3Engine(DFTB3Settings()), molecule("C2H6")
    cold = engine.details(Composition(atoms.numbers), atoms.positions)
    warm = engine.details(Composition(atoms.numbers), atoms.positions + 0.02, cold.charges)
    far = engine.details(Composition(atoms.numbers), atoms.positions, np.linspace(-1, 1, 8))
    assert warm.cycles < cold.cycles
    for other in (warm, far):
        assert other.energy == pytest.approx(cold.energy, abs=1e-9)
        assert other.forces == pytest.approx(cold.forces, abs=1e-6)


def test_what_does_not_converge_is_a_failure_with_its_history():
    engine, atoms = DFTB3Engine(DFTB3Settings(max_cycles=1, scc_tolerance=1e-12)), molecule("H2O")
    with pytest.raises(LabelError) as error:
        engine.compute(Composition(atoms.numbers), atoms.positions)
    assert error.value.reason == "not-converged"
    for attempt in ("neutral atoms", "small steps", "cooled down"):
        assert attempt in error.value.detail


def test_cooling_rescues_where_two_cycles_do_not_reach():
    """With two cycles an attempt, only the last rung (many short attempts, each from the last) gets there."""
    atoms = molecule("H2O")
    short = DFTB3Engine(DFTB3Settings(max_cycles=2, scc_tolerance=1e-7, electronic_temperature_k=300))
    full = DFTB3Engine(DFTB3Settings(electronic_temperature_k=300))
    rescued, plain = (engine.details(Composition(atoms.numbers), atoms.positions) for engine in (short, full))
    assert rescued.cycles > plain.cycles
    assert rescued.energy == pytest.approx(plain.energy, abs=1e-9)


def test_the_parts_add_up_and_charges_are_mulliken():
    atoms = molecule("CH3Cl")
    details = DFTB3Engine(DFTB3Settings()).details(Composition(atoms.numbers, 1), atoms.positions)
    parts = details.parts
    total = parts.h0 + parts.second_order + parts.third_order + parts.repulsion + parts.entropy + parts.dispersion
    assert details.energy == pytest.approx(total, abs=1e-12)
    assert details.charges.sum() == pytest.approx(1.0, abs=1e-9)
    assert details.occupations.sum() == pytest.approx(13.0, abs=1e-9)
    assert details.dipole == pytest.approx(details.charges @ atoms.positions)


def test_the_water_molecule_is_polar_towards_its_hydrogens():
    atoms = molecule("H2O")
    details = DFTB3Engine(DFTB3Settings()).details(Composition(atoms.numbers), atoms.positions)
    assert details.charges[0] < -0.3
    towards_hydrogens = atoms.positions[1:].mean(axis=0) - atoms.positions[0]
    assert details.dipole @ towards_hydrogens > 0.1
