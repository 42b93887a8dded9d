"""What every label engine has to be, whoever brings it."""

import shutil
import types
import typing

import numpy as np
import pytest
from guests import welcome

from alflow.config.plugins import ENGINES, PluginError, find_installed, names
from alflow.errors import InputError, LabelError
from alflow.labeling.frames import compute_checked
from alflow.types import Composition

welcome()
WITHOUT_A_PROGRAM = {"dftbplus": "dftb+"}


def kinds():
    for name in names(ENGINES):
        try:
            yield name, find_installed(ENGINES, name)
        except PluginError:
            continue


KINDS = dict(kinds())


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    program = WITHOUT_A_PROGRAM.get(request.param)
    if program and shutil.which(program) is None:
        pytest.skip(f"the program {program} is not on the PATH")
    return KINDS[request.param]


@pytest.fixture(scope="module")
def engine(kind):
    return kind.make(kind.settings.model_validate(kind.example))


def test_forces_are_the_slope_of_the_energy(engine, ethane):
    numbers, positions, step = ethane.numbers, ethane.positions[0], 1e-3
    forces = engine.compute(Composition(numbers), positions).forces
    for atom, axis in [(0, 0), (1, 1), (5, 2)]:
        there, back = positions.copy(), positions.copy()
        there[atom, axis] += step
        back[atom, axis] -= step
        slope = (
            engine.compute(Composition(numbers), there).energy - engine.compute(Composition(numbers), back).energy
        ) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=2e-3 * max(1.0, abs(slope)))


def test_the_same_structure_has_the_same_bits_whatever_came_before(kind, engine, ethane):
    first = engine.compute(Composition(ethane.numbers), ethane.positions[0])
    engine.compute(Composition(ethane.numbers), ethane.positions[1])
    other = kind.make(kind.settings.model_validate(kind.example))
    for again in (
        engine.compute(Composition(ethane.numbers), ethane.positions[0]),
        other.compute(Composition(ethane.numbers), ethane.positions[0]),
    ):
        assert again.energy == first.energy
        assert np.array_equal(again.forces, first.forces)
    assert other.theory == engine.theory


def test_what_is_no_number_is_refused(engine, ethane):
    positions = ethane.positions[0].copy()
    positions[2, 1] = np.nan
    with pytest.raises(LabelError):
        compute_checked(engine, ethane.composition, positions)


def others(annotation, value):
    """Return another value of a setting, or nothing where none can be told from its type."""
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
    if choices:
        return [choice for choice in choices if choice != value][:1]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [found for part in typing.get_args(annotation) for found in others(part, value)][:1]
    if annotation is bool:
        return [not value]
    return [value * 1.5 + 1] if isinstance(value, int) else [value * 1.5 + 1e-3] if isinstance(value, float) else []


def variants(kind):
    for name, field in kind.settings.model_fields.items():
        start = kind.settings.model_validate(kind.example)
        for other in others(field.annotation, getattr(start, name)):
            try:
                yield name, kind.settings.model_validate({**start.model_dump(), name: other})
            except ValueError:
                continue


def test_the_theory_changes_with_every_setting_that_changes_a_number(kind, engine, ethane):
    before = engine.compute(Composition(ethane.numbers), ethane.positions[0])
    for name, settings in variants(kind):
        try:
            other = kind.make(settings)
        except InputError:  # they need what is not here, a GPU for one
            continue
        try:
            after = other.compute(Composition(ethane.numbers), ethane.positions[0])
            same = after.energy == before.energy and np.array_equal(after.forces, before.forces)
        except LabelError:
            same = False
        assert same or other.theory != engine.theory, f"{name} changes a number, and not the theory"


def test_its_settings_describe_themselves(kind):
    schema = kind.settings.model_json_schema()
    assert schema["description"]
    assert all("description" in described for described in schema.get("properties", {}).values())
