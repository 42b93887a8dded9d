"""A structure's charge and spin reach a calculator of ASE's, by arguments of any name, by `info` or by moments."""

from __future__ import annotations

import copy
import itertools
import os
from pathlib import Path

import ions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from ions import Ion

from alflow.config.load import validate
from alflow.errors import ConfigError, InputError, LabelError
from alflow.labeling import make_engine
from alflow.labeling.engines.ase import ASEEngine
from alflow.labeling.engines.calculators import package_version
from alflow.labeling.engines.given import arguments_for, atoms_for, magnetic_moments
from alflow.labeling.engines.sleep import pair_model
from alflow.labeling.frames import theory_hash
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.labeling.kinds.names import with_argument
from alflow.types import Composition

HERE = Path(ions.__file__).parent
OXYGEN = np.array([8, 8])
APART = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.21]])
WATER = np.array([8, 1, 1])
BENT = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")


def chosen(calculator="ions.Ion", **given) -> ASECalculatorSettings:
    return ASECalculatorSettings(calculator=calculator, **given)


@pytest.mark.parametrize(
    ("names", "arguments", "seen"),
    [
        (("charge", "mult"), {}, {"charge": -1, "mult": 4}),  # ORCA, Gaussian
        (("charge", "dft.mult"), {"dft": {"xc": "b3lyp"}}, {"charge": -1, "dft": {"xc": "b3lyp", "mult": 4}}),  # NWChem
        (("total charge", "multiplicity"), {}, {"total charge": -1, "multiplicity": 4}),  # Turbomole
        (("contrl.icharg", "contrl.mult"), {}, {"contrl": {"icharg": -1, "mult": 4}}),  # GAMESS
    ],
)
def test_charge_and_multiplicity_are_put_where_the_names_say(names, arguments, seen):
    before = copy.deepcopy(arguments)
    settings = chosen(charge_argument=names[0], multiplicity_argument=names[1], arguments=arguments)
    ASEEngine(settings).compute(Composition(OXYGEN, -1, 4), APART)
    assert Ion.seen["arguments"] == seen
    assert settings.arguments == before


def test_unpaired_electrons_and_entries_of_info_are_handed_over():
    settings = chosen(
        charge_argument="input_data.system.tot_charge", unpaired_argument="input_data.system.tot_magnetization",
        arguments={"input_data": {"control": {"a": 1}, "system": {"nspin": 2}}},
    )  # fmt: skip
    ASEEngine(settings).compute(Composition(OXYGEN, 1, 2), APART)
    assert Ion.seen["arguments"] == {
        "input_data": {"control": {"a": 1}, "system": {"nspin": 2, "tot_charge": 1, "tot_magnetization": 1}}
    }
    learned = chosen(charge_argument="atoms.info.charge", multiplicity_argument="atoms.info.spin")
    ASEEngine(learned).compute(Composition(OXYGEN, 1, 2), APART)
    assert (Ion.seen["arguments"], Ion.seen["info"]) == ({}, {"charge": 1, "spin": 2})


TABLES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inside: st.dictionaries(st.text("abc", min_size=1, max_size=2), inside, max_size=3),
    max_leaves=6,
)
WORDS = st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=3).map(".".join)


def entry(table, name):
    """Return what lies at a dotted name, and the table without it."""
    first, dot, rest = name.partition(".")
    if not dot:
        return table[first], {key: value for key, value in table.items() if key != first}
    found, left = entry(table[first], rest)
    return found, {**table, first: left}


def without_empty(table):
    if not isinstance(table, dict):
        return table
    return {key: value for key, value in ((k, without_empty(v)) for k, v in table.items()) if value != {}}


@effort(max_examples=300, deadline=None)
@given(arguments=st.dictionaries(st.text("abc", min_size=1, max_size=2), TABLES, max_size=4),
       names=st.lists(WORDS, min_size=3, max_size=3))  # fmt: skip
def test_any_names_are_given_their_values_or_refused_in_a_sentence(arguments, names):
    data = dict(zip(("charge_argument", "multiplicity_argument", "unpaired_argument"), names, strict=True))
    try:
        settings = validate(ASECalculatorSettings, {"calculator": "ions.Ion", "arguments": arguments, **data}, "here")
    except ConfigError as error:
        assert "names an argument that each structure gives a value" in str(error)  # noqa: PT017
        return
    left = arguments_for(settings, Composition(OXYGEN, 3, 4))
    for name, value in zip(names, (3, 4, 3), strict=True):
        found, left = entry(left, name)
        assert found == value
    assert without_empty(left) == without_empty(arguments)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"charge_argument": "charge", "arguments": {"charge": 1}}, "'charge' cannot have one: it has the value 1"),
        ({"multiplicity_argument": "dft.mult", "arguments": {"dft": "b3lyp"}}, "dft is 'b3lyp', and no table"),
        ({"charge_argument": "q", "multiplicity_argument": "q"}, "multiplicity_argument .* has the value 0"),
        ({"charge_argument": "atoms.info.q", "unpaired_argument": "atoms.info.q"}, "unpaired_argument"),
        ({"charge_argument": ""}, "charge_argument"),
        ({"charge_argument": "a..b"}, "charge_argument"),
        ({"magmoms": "some"}, "magmoms"),
        ({"magmoms": {"O": float("nan")}}, "magmoms"),
        ({"box_periodic": True}, "box_periodic needs box_angstrom"),
        ({"box_angstrom": 0}, "box_angstrom"),
        ({"box_angstrom": [10, 10]}, "box_angstrom"),
        ({"reuse_tolerance": -1}, "reuse_tolerance"),
        ({"version_command": "orca --version"}, "version_command"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(data, words):
    with pytest.raises(ConfigError, match=words):
        validate(ASECalculatorSettings, {"calculator": "ions.Ion", **data}, "settings of ase")


def test_an_element_that_there_is_not_has_no_moment():
    with pytest.raises(InputError, match="'Xx' is none"):
        ASEEngine(chosen(magmoms={"O": 1, "Xx": 2}))


compositions = st.builds(
    lambda numbers, charge, raised: Composition(numbers, charge, Composition(numbers, charge).multiplicity + raised),
    st.lists(st.integers(6, 30), min_size=1, max_size=40), st.integers(-2, 2), st.sampled_from([0, 2]),
)  # fmt: skip


@effort(max_examples=200, deadline=None)
@given(composition=compositions, data=st.data())
def test_moments_add_up_to_the_unpaired_electrons_without_rounding(composition, data):
    unpaired = composition.multiplicity - 1
    symbols = atoms_for(chosen(), composition, np.zeros((len(composition), 3))).get_chemical_symbols()
    weights = data.draw(st.dictionaries(st.sampled_from(sorted(set(symbols))), st.floats(0.01, 5), min_size=1))
    for choice in ("spread", weights):
        moments = magnetic_moments(chosen(magmoms=choice), composition)
        if not unpaired:
            assert moments is None
            continue
        assert int(moments.sum()) == sum(moments.tolist()) == unpaired  # NWChem's input cuts the sum to a whole number
        for order in (moments[::-1], np.sort(moments)):
            assert order.sum() == unpaired
        share = np.array([1.0 if choice == "spread" else choice.get(symbol, 0.0) for symbol in symbols])
        assert moments == pytest.approx(share * unpaired / share.sum(), abs=1e-4)


def test_listed_moments_break_the_symmetry_and_have_to_add_up():
    broken = chosen(magmoms=[1, -1])
    ASEEngine(broken).compute(Composition(OXYGEN), APART)
    assert Ion.seen["moments"] == [1.0, -1.0]
    for settings, composition in (
        (broken, Composition(OXYGEN, 0, 3)),
        (chosen(magmoms=[1.0]), Composition(OXYGEN)),
        (chosen(magmoms={"H": 1.0}), Composition(OXYGEN, 0, 3)),
        (chosen(magmoms={"O": -1.0}), Composition(OXYGEN, 0, 3)),
    ):
        with pytest.raises(LabelError) as caught:
            ASEEngine(settings).compute(composition, APART)
        assert caught.value.reason == "bad-multiplicity"


def test_without_names_another_charge_or_spin_is_refused():
    engine = ASEEngine(chosen())
    for composition, reason in (
        (Composition(OXYGEN, 1), "bad-charge"),
        (Composition(OXYGEN, 0, 3), "bad-multiplicity"),
    ):
        with pytest.raises(LabelError, match="_argument") as caught:
            engine.compute(composition, APART)
        assert caught.value.reason == reason


@pytest.mark.parametrize(("told", "fine"), [(2.0, True), (-2.0, True), (1.7, True), (0.0, False), (4.0, False)])
def test_a_label_of_another_spin_than_was_asked_for_is_a_failure(told, fine):
    engine = ASEEngine(chosen(magmoms="spread", arguments={"magmom": told}))
    if fine:
        assert engine.compute(Composition(OXYGEN, 0, 3), APART).energy == pair_model(OXYGEN, APART)[0]
        return
    with pytest.raises(LabelError, match="2 unpaired electrons") as caught:
        engine.compute(Composition(OXYGEN, 0, 3), APART)
    assert caught.value.reason == "bad-multiplicity"
    ASEEngine(chosen(arguments={"magmom": told})).compute(Composition(OXYGEN), APART)  # nobody asked for a spin


@pytest.mark.parametrize("reuse", [False, True])
def test_charge_and_spin_cross_into_the_guarded_process(reuse):
    engine = GuardedEngine("ase", chosen(charge_argument="charge", multiplicity_argument="mult", reuse=reuse)
                           .model_dump(mode="json"), 60.0)  # fmt: skip
    plain = pair_model(OXYGEN, APART)[0]
    for charge, spin in itertools.product((-1, 0, 2, 0, -1), (0, 2)):
        composition = Composition(OXYGEN, charge, Composition(OXYGEN, charge).multiplicity + spin)
        expected = plain + charge + 0.1 * (composition.multiplicity - 1)
        assert engine.compute(composition, APART).energy == pytest.approx(expected, abs=1e-12)
    engine.close()


@pytest.mark.parametrize(("charge", "spin"), [(0, 1), (0, 3), (1, 2), (-1, 2), (1, 4), (2, 1)])
def test_tblite_by_ase_equals_tblite_by_the_engine_of_its_own(charge, spin):
    pytest.importorskip("tblite")
    arguments = {"verbosity": 0, "accuracy": 0.1, "electronic_temperature": 1000.0, "max_iterations": 250}
    names = {"charge_argument": "charge", "multiplicity_argument": "multiplicity"}
    found = ASEEngine(chosen("tblite.ase.TBLite", arguments=arguments, **names)).compute(
        Composition(OXYGEN, charge, spin), APART
    )
    own = make_engine("gfn2-xtb", {}).compute(Composition(OXYGEN, charge, spin), APART)
    assert found.energy == pytest.approx(own.energy, abs=1e-5)
    assert found.forces == pytest.approx(own.forces, abs=1e-4)


def test_a_molecule_lies_in_the_middle_of_its_box():
    plain = ASEEngine(chosen()).compute(Composition(WATER), BENT)
    boxed = ASEEngine(chosen(box_angstrom=9.0)).compute(Composition(WATER), BENT + 50.0)
    assert Ion.seen["middle"] == pytest.approx([4.5] * 3)
    assert (Ion.seen["cell"], Ion.seen["pbc"]) == ([9.0] * 3, False)
    assert boxed.energy == pytest.approx(plain.energy, abs=1e-9)
    assert boxed.forces == pytest.approx(plain.forces, abs=1e-9)
    ASEEngine(chosen(box_angstrom=[8, 9, 10], box_periodic=True)).compute(Composition(WATER), BENT)
    assert (Ion.seen["cell"], Ion.seen["pbc"]) == ([8.0, 9.0, 10.0], True)
    with pytest.raises(LabelError, match=r"must hold the molecule.* half its edges are \[0.6, 0.6, 0.6\]") as caught:
        ASEEngine(chosen(box_angstrom=1.2)).compute(Composition(WATER), BENT)
    assert caught.value.reason == "implausible-structure"


def test_what_changes_a_number_is_in_the_theory_and_nothing_else_is():
    plain = {"engine": "ase", "version": package_version("ions.Ion"), "calculator": "ions.Ion", "arguments": {"a": 1}}
    before = theory_hash(plain)  # of labels from before there were these settings
    assert ASEEngine(chosen(arguments={"a": 1})).theory == before
    assert ASEEngine(chosen(arguments={"a": 1}, reuse=True, reuse_tolerance=1e-6)).theory == before
    others = [
        {"charge_argument": "q"}, {"multiplicity_argument": "q"}, {"unpaired_argument": "q"}, {"magmoms": "spread"},
        {"magmoms": {"C": 1}}, {"magmoms": [1, -1]}, {"box_angstrom": 9}, {"box_angstrom": 9, "box_periodic": True},
    ]  # fmt: skip
    theories = {ASEEngine(chosen(arguments={"a": 1}, **other)).theory for other in others}
    assert len(theories | {before}) == len(others) + 1


def test_arguments_are_not_changed_where_a_table_lies_inside():
    inside = {"a": {"b": {"c": 1}}}
    assert with_argument(inside, "a.b.d", 2) == {"a": {"b": {"c": 1, "d": 2}}}
    assert inside == {"a": {"b": {"c": 1}}}
