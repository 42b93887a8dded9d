"""A composition is a value: atoms, charge, spin; files say it, engines take it."""

import pickle

import numpy as np
import pytest

from alflow.errors import LabelError, StructureError
from alflow.labeling import make_engine
from alflow.structures import read_structure, read_structures
from alflow.types import Composition, Frames

OXYGEN = np.array([8, 8])
APART = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.21]])


@pytest.mark.parametrize(
    ("numbers", "charge", "lowest"), [([8, 8], 0, 1), ([8, 8], 1, 2), ([1], 0, 2), ([7, 8], 0, 2), ([6, 1, 1], -1, 2)]
)
def test_the_lowest_multiplicity_is_that_of_the_electrons(numbers, charge, lowest):
    composition = Composition(np.array(numbers), charge)
    assert composition.multiplicity == lowest
    assert composition.is_lowest
    assert composition == Composition(np.array(numbers), charge, lowest)


@pytest.mark.parametrize(("charge", "multiplicity"), [(0, 2), (1, 1), (0, 19), (0, -1), (0, 4)])
def test_a_multiplicity_that_the_electrons_cannot_have_is_refused(charge, multiplicity):
    with pytest.raises(StructureError, match=r"2S \+ 1"):
        Composition(OXYGEN, charge, multiplicity)


def test_a_charge_is_a_whole_number():
    with pytest.raises(StructureError, match="whole number"):
        Composition(OXYGEN, 0.5)  # type: ignore[arg-type]


def test_equal_compositions_are_one_key_of_a_mapping():
    found = {
        Composition(OXYGEN): 1,
        Composition(OXYGEN, 0, 3): 2,
        Composition(OXYGEN, 1): 3,
        Composition(OXYGEN[:1]): 4,
    }
    assert len(found) == 4
    assert found[Composition(np.array([8, 8], dtype=">i4"), 0, 1)] == 1
    assert found[pickle.loads(pickle.dumps(Composition(OXYGEN, 0, 3)))] == 2
    frames = Frames.of(OXYGEN, APART[None], 0, 3)
    assert found[frames.take(slice(0)).composition] == 2


def write(folder, comment):
    path = folder / "o2.xyz"
    path.write_text(f"2\n{comment}\nO 0 0 0\nO 0 0 1.21\n")
    return path


@pytest.mark.parametrize("comment", ["multiplicity=3", "spin_multiplicity=3", "Multiplicity=3 charge=0"])
def test_a_file_says_the_multiplicity(tmp_path, comment):
    frames, _ = read_structure(write(tmp_path, comment))
    assert frames.composition == Composition(OXYGEN, 0, 3)


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("multiplicity=2", "cannot have 2"),
        ("multiplicity=0", "from 1 on"),
        ("multiplicity=triplet", "'triplet'"),
        ("multiplicity", "True"),
        ("multiplicity=1.5", "1.5"),
        ("multiplicity=1 spin_multiplicity=3", "several"),
    ],
)
def test_what_is_no_multiplicity_is_a_sentence(tmp_path, comment, words):
    with pytest.raises(StructureError, match=words):
        read_structures(write(tmp_path, comment))


def test_oxygen_is_a_triplet_in_an_engine_that_knows_spin():
    engine = make_engine("gfn2-xtb", {"electronic_temperature_k": 300.0})
    singlet = engine.compute(Composition(OXYGEN, 0, 1), APART).energy
    assert engine.compute(Composition(OXYGEN, 0, 5), APART).energy > singlet + 1.0
    assert engine.compute(Composition(OXYGEN, 0, 1), APART).energy == singlet


@pytest.mark.parametrize("name", ["dftb3", "ase"])
def test_an_engine_that_does_not_know_a_spin_says_so(name):
    settings = {"calculator": "ase.calculators.emt.EMT"} if name == "ase" else {}
    with pytest.raises(LabelError) as caught:
        make_engine(name, settings).compute(Composition(OXYGEN, 0, 3), APART)
    assert caught.value.reason == "bad-multiplicity"
