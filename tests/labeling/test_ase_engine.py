import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.calculators.emt import EMT
from pydantic import ValidationError

from alflow.errors import InputError, LabelError
from alflow.labeling import make_engine
from alflow.labeling.engines.ase import ASEEngine
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.structures import alkane
from alflow.types import Composition


class Moody(Calculator):
    """Remembers what it computed, as self-consistent codes do, and gives up on long bonds."""

    implemented_properties = ("energy", "free_energy", "forces")
    default_parameters = {"charge": 0}  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls = getattr(self, "calls", 0) + 1
        if atoms.get_distance(0, 1) > 5:
            raise SCFError("no convergence")
        self.results = {"energy": 1.0, "free_energy": 0.9 + self.calls, "forces": np.zeros((len(atoms), 3))}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "moody_calculators", sys.modules[__name__])


def test_it_gives_what_the_calculator_gives():
    engine = make_engine("ase", ASECalculatorSettings(calculator="ase.calculators.emt.EMT"))
    propane = alkane(3)
    atoms = Atoms(propane.numbers, propane.positions[0], calculator=EMT())
    evaluation = engine.compute(Composition(propane.numbers), propane.positions[0])
    assert evaluation.energy == atoms.get_potential_energy()
    assert np.array_equal(evaluation.forces, atoms.get_forces())


def test_arguments_reach_the_calculator():
    numbers, x = np.array([18, 18]), np.array([[0.0, 0, 0], [0, 0, 3.7]])
    weak, strong = (
        ASEEngine(
            ASECalculatorSettings(calculator="ase.calculators.lj.LennardJones", arguments={"epsilon": e, "sigma": 3.4})
        )
        for e in (1.0, 2.0)
    )
    assert strong.compute(Composition(numbers), x).energy == pytest.approx(
        2 * weak.compute(Composition(numbers), x).energy
    )
    assert strong.theory != weak.theory


def test_the_free_energy_is_taken_and_nothing_is_remembered():
    engine = ASEEngine(ASECalculatorSettings(calculator="moody_calculators.Moody"))
    numbers, x = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]])
    assert engine.compute(Composition(numbers), x).energy == pytest.approx(1.9)
    assert engine.compute(Composition(numbers), x + 0.1).energy == pytest.approx(1.9)
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(numbers), x * 6)
    assert caught.value.reason == "not-converged"


def test_a_charge_must_be_in_the_arguments():
    numbers, x = np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]])
    with pytest.raises(LabelError, match="the structure \\+1") as caught:
        ASEEngine(ASECalculatorSettings(calculator="moody_calculators.Moody")).compute(Composition(numbers, 1), x)
    assert caught.value.reason == "bad-charge"
    charged = ASECalculatorSettings(calculator="moody_calculators.Moody", arguments={"charge": 1})
    assert ASEEngine(charged).compute(Composition(numbers, 1), x).energy == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("calculator", "arguments", "message"),
    [
        ("ase.calculators.emt.NoSuch", {}, "cannot be imported"),
        ("no_such_package.Calculator", {}, "cannot be imported"),
        ("ase.atoms.Atoms", {"positions": 3}, "refused"),
        ("ase.units.create_units", {}, "refused"),
        ("ase.units.create_units", {"codata_version": "2014"}, "follows ASE's interface"),
        ("ase.units.kB", {}, "what a function returns"),
        ("ase.calculators.tip3p.TIP3P", {"nonsense": 3}, "refused .*nonsense"),
    ],
)
def test_bad_paths_and_arguments_are_input_errors(calculator, arguments, message):
    with pytest.raises(InputError, match=message):
        ASEEngine(ASECalculatorSettings(calculator=calculator, arguments=arguments))


def test_a_path_without_a_dot_is_refused():
    with pytest.raises(ValidationError, match="calculator"):
        ASECalculatorSettings(calculator="EMT")
