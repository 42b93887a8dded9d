"""Structures that nobody expects, for each engine: a right label or one failure with its reason, never a crash."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from alflow.errors import FAILURE_REASONS
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import GuardedEngine
from alflow.structures import alkane
from alflow.types import Composition, Frames

ENGINES = {
    "dftb3": ("dftb3", {}),
    "GFN2-xTB": ("gfn2-xtb", {"max_cycles": 60}),
    "GFN1-xTB": ("gfn2-xtb", {"method": "GFN1-xTB", "max_cycles": 60}),
    "EMT by ASE": ("ase", {"calculator": "ase.calculators.emt.EMT"}),
    "GFN2-xTB by ASE": ("ase", {"calculator": "tblite.ase.TBLite", "arguments": {"verbosity": 0}}),
    "DFTB3 by ASE": ("ase", {"calculator": "alflow.ase.DFTB3"}),
    "PySCF": ("pyscf", {"functional": "LDA,VWN", "basis": "STO-3G", "grid_level": 0, "max_cycles": 40}),
}
WATER = molecule("H2O")
FAR = WATER.positions.copy()
FAR[2] += 1e6
ATOM = np.zeros((1, 3))


def two(distance: float) -> np.ndarray:
    return np.array([[0.0, 0, 0], [0, 0, distance]])


STRUCTURES: dict[str, tuple[list[int], np.ndarray, int]] = {
    **{f"atom {number}": ([number], ATOM, 0) for number in (1, 2, 6, 10, 18, 36, 54, 57, 86, 87, 92, 103, 118)},
    **{f"no element {number}": ([number], ATOM, 0) for number in (0, -1, 119, 1000)},
    "nothing": ([], np.zeros((0, 3)), 0),
    "carbon atoms at 0.5 Å": ([6, 6], two(0.5), 0),
    "carbon atoms at 0.49 Å": ([6, 6], two(0.49), 0),
    "iodine atoms at 0.51 Å": ([53, 53], two(0.51), 0),
    "H and I at 0.51 Å": ([1, 53], two(0.51), 0),
    "atoms on each other": ([6, 6], two(0.0), 0),
    **{f"water {charge:+d}": ([8, 1, 1], WATER.positions, charge) for charge in (1, -1, 8, 9, 10, 50, -5, -50)},
    "H+": ([1], ATOM, 1),
    "H2 2+": ([1, 1], two(0.74), 2),
    "H-": ([1], ATOM, -1),
    "He 2+": ([2], ATOM, 2),
    "a million Å away": ([8, 1, 1], WATER.positions + 1e6, 0),
    "1e12 Å away": ([8, 1, 1], WATER.positions + 1e12, 0),
    "1e300 Å away": ([8, 1, 1], WATER.positions + 1e300, 0),
    "an atom a million Å away": ([8, 1, 1], FAR, 0),
    "not numbers": ([8, 1, 1], WATER.positions * np.nan, 0),
    "infinite": ([8, 1, 1], np.full((3, 3), np.inf), 0),
    "uranium fluoride": ([92, 9, 9], np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), 0),
    "salt": ([11, 17], two(2.4), 0),
}
ALWAYS = {
    "no element 0": "unknown-element",
    "no element -1": "unknown-element",
    "no element 119": "unknown-element",
    "no element 1000": "unknown-element",
    "nothing": "implausible-structure",
    "carbon atoms at 0.49 Å": "implausible-structure",
    "atoms on each other": "implausible-structure",
    "1e12 Å away": "implausible-structure",
    "1e300 Å away": "implausible-structure",
    "not numbers": "implausible-structure",
    "infinite": "implausible-structure",
}
"""What no engine is asked for."""
OWN = {
    ("dftb3", "atom 2"): "unknown-element",
    ("GFN2-xTB", "atom 87"): "unknown-element",
    ("GFN2-xTB by ASE", "atom 92"): "engine-error",
    ("DFTB3 by ASE", "atom 92"): "unknown-element",  # the words of the calculator inside
    ("EMT by ASE", "atom 2"): "engine-error",
    ("EMT by ASE", "water +1"): "bad-charge",
    ("dftb3", "iodine atoms at 0.51 Å"): "implausible-label",
    ("dftb3", "H and I at 0.51 Å"): "implausible-label",
    ("GFN2-xTB", "H and I at 0.51 Å"): "implausible-label",
    ("GFN1-xTB", "H and I at 0.51 Å"): "implausible-label",
    **{
        (engine, system): "bad-charge"
        for engine in ("dftb3", "GFN2-xTB", "GFN1-xTB")
        for system in ("H+", "H2 2+", "water +8", "water +9", "water +10", "water +50")
    },
    ("dftb3", "water -5"): "bad-charge",
    ("GFN2-xTB", "water -5"): "bad-charge",  # its orbitals hold four electrons more: tblite drops the fifth
    ("GFN2-xTB", "He 2+"): "bad-charge",
}
WATER_EV = {"dftb3": -110.769, "GFN2-xTB": -137.968, "GFN1-xTB": -156.968, "PySCF": -2034.212}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    """Return a guarded engine and its name here."""
    name, settings = ENGINES[request.param]
    made = GuardedEngine(name, settings, 120.0)
    yield request.param, made
    made.close()


@pytest.mark.parametrize("system", STRUCTURES)
def test_outsider_structures_are_labelled_or_fail_with_a_reason(engine, system) -> None:
    name, guarded = engine
    numbers, positions, charge = STRUCTURES[system]
    batch = label_frames(guarded, Frames.of(np.array(numbers, dtype=np.int64), positions[None], charge))
    reason = batch.failures[0].reason if batch.failures else None
    assert reason != "engine-crash"
    if expected := ALWAYS.get(system) or OWN.get((name, system)):
        assert reason == expected, batch
    if reason is None:
        assert np.isfinite(batch.labels.energies).all()
        assert np.abs(batch.labels.forces.sum(axis=1)).max() < 1e-3
    else:
        assert reason in FAILURE_REASONS
        assert batch.failures[0].detail


def test_outsider_after_all_of_them_water_is_water(engine) -> None:
    """No structure before has left anything in the engine."""
    name, guarded = engine
    for shift in (0.0, 1e6):
        energy = guarded.compute(Composition(WATER.numbers), WATER.positions + shift).energy
        assert energy == pytest.approx(WATER_EV.get(name.removesuffix(" by ASE"), energy), abs=2e-3)


def test_outsider_a_molecule_of_three_hundred_atoms() -> None:
    chain = alkane(99)
    for name, settings in (("gfn2-xtb", {}), ("ase", {"calculator": "ase.calculators.emt.EMT"})):
        guarded = GuardedEngine(name, settings, 300.0)
        evaluation = guarded.compute(Composition(chain.numbers), chain.positions[0])
        assert evaluation.forces.shape == (299, 3)
        guarded.close()
