"""A dozen labels of another theory: fresh weights, those of the first theory, and the difference of the two."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from alflow.potentials import Training
from alflow.potentials.ani.kind import KIND
from alflow.potentials.selfenergies import shifts_between
from alflow.types import Dataset, Frames, Group, Labels, Split

SETTINGS = KIND.settings.model_validate(
    {
        "hidden_layers": {"H": (16, 12), "C": (16, 12)},
        "other_layers": (16, 12),
        "training": {"epochs": 60, "epochs_carried_over": 60, "batch_size": 4, "checkpoint_every_s": 0.0},
    }
)
FEW = 12


def cheap_labels(numbers, positions):
    energies, forces = [], []
    for place in positions:
        atoms = Atoms(numbers, place, calculator=EMT())
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return Labels(np.array(energies), np.array(forces))


def dearer(labels):
    """Return the labels of a theory that is steeper, and lies elsewhere."""
    return Labels(1.15 * labels.energies - 500.0, 1.15 * labels.forces)


@pytest.fixture(scope="module")
def frames():
    start = molecule("C2H6")
    rng = np.random.default_rng(3)
    positions = start.positions + rng.normal(scale=0.06, size=(160, 8, 3))
    found = Frames.of(start.numbers, positions)
    return found, cheap_labels(start.numbers, positions)


def train(frames, labels, **more):
    count = len(frames)
    split = Split(np.arange(0, count - count // 5), np.arange(count - count // 5, count))
    dataset = Dataset((Group(frames, labels),))
    return KIND.train(dataset, [split], SETTINGS, Training(seed=(1,), **more))[0]


def test_weights_of_the_first_theory_and_the_difference_both_need_fewer_labels(frames, tmp_path):
    structures, cheap = frames
    known, few, unseen = slice(0, 100), slice(100, 100 + FEW), slice(100 + FEW, None)
    base = train(structures.take(known), cheap.take(known))
    labels, truth = dearer(cheap.take(few)), dearer(cheap.take(unseen)).forces
    some, others = structures.take(few), structures.take(unseen)

    dataset = Dataset((Group(some, labels),))
    base.shifted(shifts_between(dataset, base.evaluate(some)[0])).save(tmp_path / "start.pt")
    own = cheap.take(few)
    gap = Labels(labels.energies - own.energies, labels.forces - own.forces)
    forces = {
        "fresh": train(some, labels).evaluate(others)[1][0],
        "transfer": train(some, labels, initial=tmp_path / "start.pt").evaluate(others)[1][0],
        "delta": train(some, gap).evaluate(others)[1][0] + cheap.take(unseen).forces,
    }
    errors = {name: float(np.abs(found - truth).mean()) for name, found in forces.items()}
    sys.stdout.write(f"{errors}\n")
    assert errors["transfer"] < 0.7 * errors["fresh"]
    assert errors["delta"] < 0.5 * errors["fresh"]
