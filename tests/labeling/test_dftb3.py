import shutil

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed

from alflow.ase.dftb3 import DFTB3
from alflow.dftb.parameters import locate
from alflow.errors import ConfigError, LabelError, ParameterError, StructureError
from alflow.labeling.engines import dispersion
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.frames import label_frames
from alflow.labeling.kinds.dftb import DFTB3Settings, DFTBPlusSettings
from alflow.types import Composition, Frames

METHANE = molecule("CH4")


@pytest.fixture(scope="module")
def engine():
    return DFTB3Engine(DFTB3Settings())


def reason(engine, numbers, positions, charge=0):
    with pytest.raises(LabelError) as error:
        engine.compute(Composition(np.array(numbers), charge), np.array(positions, dtype=float))
    return error.value.reason, error.value.detail


def test_bits_depend_on_the_arguments_alone(engine):
    first = engine.compute(Composition(METHANE.numbers), METHANE.positions)
    engine.compute(Composition(METHANE.numbers), METHANE.positions * 1.05)
    again, fresh = (
        e.compute(Composition(METHANE.numbers), METHANE.positions) for e in (engine, DFTB3Engine(DFTB3Settings()))
    )
    for other in (again, fresh):
        assert other.energy == first.energy
        assert (other.forces == first.forces).all()


def test_setup_is_done_once_a_composition(engine, monkeypatch):
    engine.compute(Composition(METHANE.numbers), METHANE.positions)
    monkeypatch.setattr("alflow.labeling.engines.dftb3.build_tables", None)
    engine.compute(Composition(METHANE.numbers), METHANE.positions * 1.01)
    with pytest.raises(TypeError):
        engine.compute(Composition(METHANE.numbers[::-1]), METHANE.positions)


def test_frames_are_labelled_and_failures_say_why(engine):
    positions = np.repeat(METHANE.positions[None], 4, axis=0)
    positions[1, 0] = np.nan
    positions[2, 1] = positions[2, 2]
    batch = label_frames(engine, Frames.of(METHANE.numbers.astype(np.int64), positions))
    assert batch.rows.tolist() == [0, 3]
    assert [failure.reason for failure in batch.failures] == ["implausible-structure"] * 2
    assert (batch.cycles[batch.rows] > 1).all()


def test_bad_input_has_its_reason(engine):
    assert reason(engine, [14, 1], [[0, 0, 0], [0, 0, 1.5]])[0] == "unknown-element"
    assert reason(engine, [1, 1], [[0, 0, 0], [0, 0, 0.74]], 2)[0] == "bad-charge"
    assert reason(engine, [1, 1], [[0, 0, 0], [0, 0, 0.74]], -3)[0] == "bad-charge"
    with pytest.raises(LabelError, match="lowest spin alone") as error:
        engine.compute(Composition(np.array([1, 1]), 0, 3), np.array([[0, 0, 0], [0, 0, 0.74]]))
    assert error.value.reason == "bad-multiplicity"
    assert reason(engine, [6, 1], [[0, 0, 0], [0, 0, np.inf]])[0] == "implausible-structure"
    assert reason(engine, [6, 1], [[0, 0, 0], [0, 0, 0]])[0] == "implausible-structure"


def test_atoms_and_ions_without_neighbours(engine):
    for numbers, charge in (([1], 0), ([1], -1), ([17], -1), ([11], 0), ([6], 2)):
        evaluation = engine.compute(Composition(np.array(numbers), charge), np.zeros((1, 3)))
        assert np.isfinite(evaluation.energy)
        assert not evaluation.forces.any()


def test_the_fingerprint_follows_numbers_and_nothing_else(tmp_path):
    def theory(**settings):
        return DFTB3Engine(DFTB3Settings(**settings)).theory

    assert theory() == theory(max_cycles=99)
    different = {
        theory(),
        theory(electronic_temperature_k=300),
        theory(hydrogen_damping_zeta=None),
        theory(third_order=False),
        theory(scc_tolerance=1e-9),
        theory(dispersion="d3bj"),
    }
    assert len(different) == 6
    own = tmp_path / "own"
    shutil.copytree(locate("3ob-3-1"), own)
    assert theory(parameters_dir=str(own)) == theory()
    (own / "Zn-Zn.skf").write_text((own / "Zn-Zn.skf").read_text() + "\n")
    assert theory(parameters_dir=str(own)) not in different


def test_a_missing_file_of_ones_own_is_named(tmp_path):
    (tmp_path / "C-C.skf").write_bytes((locate("3ob-3-1") / "C-C.skf").read_bytes())
    own = DFTB3Engine(DFTB3Settings(parameters_dir=str(tmp_path)))
    with pytest.raises(ParameterError, match=r"(C-H|H-C|H-H)\.skf"):
        own.compute(Composition(METHANE.numbers), METHANE.positions)


def test_second_order_and_undamped_differ(engine):
    water = molecule("H2O")
    energies = [
        DFTB3Engine(DFTB3Settings(**settings)).compute(Composition(water.numbers), water.positions).energy
        for settings in ({}, {"third_order": False}, {"hydrogen_damping_zeta": None})
    ]
    assert np.ptp(energies) > 0.01
    assert len(set(np.round(energies, 4))) == 3


def test_dispersion_attracts_two_methanes_and_its_forces_are_right():
    numbers = np.tile(METHANE.numbers, 2)
    positions = np.concatenate([METHANE.positions, METHANE.positions + np.array([0, 0, 4.0])])
    engine = DFTB3Engine(DFTB3Settings(dispersion="d3bj", scc_tolerance=1e-10))
    details = engine.details(Composition(numbers), positions)
    assert -0.5 < details.parts.dispersion < -0.01
    step = np.zeros_like(positions)
    step[0, 2] = 1e-3
    up, down = (engine.compute(Composition(numbers), positions + s).energy for s in (step, -step))
    assert details.forces[0, 2] == pytest.approx(-(up - down) / 2e-3, abs=1e-5)


def test_dispersion_without_its_library_is_a_clear_error(monkeypatch):
    def nothing(name):
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(dispersion, "import_module", nothing)
    with pytest.raises(ConfigError, match=r"alflow\[dispersion\]"):
        DFTB3Engine(DFTB3Settings(dispersion="d3bj"))


def test_one_keyword_swaps_the_engines():
    shared = DFTB3Settings(electronic_temperature_k=300).model_dump()
    assert DFTBPlusSettings(**shared).electronic_temperature_k == 300


def test_ase_calculator(engine):
    atoms = METHANE.copy()
    atoms.calc = DFTB3(electronic_temperature_k=1000)
    known = engine.details(Composition(METHANE.numbers), METHANE.positions)
    assert atoms.get_potential_energy() == known.energy
    assert atoms.get_potential_energy(force_consistent=True) == known.energy
    assert (atoms.get_forces() == known.forces).all()
    assert (atoms.get_charges() == known.charges).all()
    atoms.rattle(0.01)
    moved = engine.compute(Composition(atoms.numbers), atoms.positions)
    assert atoms.get_potential_energy() == pytest.approx(moved.energy, abs=1e-9)


def test_ase_calculator_charge_and_refusals():
    atoms = molecule("NH3")
    atoms.calc = DFTB3()
    neutral = atoms.get_charges().sum()
    atoms.info["charge"] = 1
    assert atoms.get_charges().sum() - neutral == pytest.approx(1.0)
    atoms.pbc = True
    with pytest.raises(StructureError, match="pbc"):
        atoms.get_potential_energy()
    silane = molecule("SiH4")
    silane.calc = DFTB3()
    with pytest.raises(CalculationFailed, match="unknown-element"):
        silane.get_potential_energy()
