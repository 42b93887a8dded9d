"""What the writer of extended XYZ writes, ASE reads back: numbers to the last bit, texts of any kind, arrays."""

import io
import math

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from alflow.structures.extxyz import RESERVED_COLUMNS, RESERVED_KEYS, extxyz_frame, one_line
from alflow.structures.xyz import cut_frames, read_frame

floats = st.floats(width=64)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
ODD_TEXTS = (
    "", " ", "T", "F F", "true", "12", "1e5", "nan", "1_000", "1, 2", "-", "_JSON", "_JSON [1]", "_JSON {", "a=b",
    'a "quoted" word', "it's", "{x}", "[1, 2", "back\\slash", "end\\", "two\nlines", "cr\r\nlf", "tab\there", "\x00",
    "\x1c\x85\u2028", "\ud800", "Å ψ 水", "\u00a0", "'", '"', 'Lattice="1"', "Properties=pos:R:3", "a  b", " a ",
    "\uff11\uff12", "#", "%s", "$HOME", "None", "null", "0x10", "1d5", "1+2j", "inf,", ",", "T,F",
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(ODD_TEXTS), st.text(max_size=12), st.text(alphabet=" =\"'\\{}[]\n,T1.e_", max_size=12)
)
numbers = st.one_of(st.integers(), st.integers(-5, 5), floats, st.booleans())
plain_json = st.recursive(
    st.one_of(numbers, texts, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
tables = st.one_of(
    arrays_of.arrays(np.float64, arrays_of.array_shapes(max_dims=3, min_side=0, max_side=4), elements=floats),
    arrays_of.arrays(np.int64, arrays_of.array_shapes(max_dims=2, max_side=4)),
    arrays_of.arrays(np.bool_, arrays_of.array_shapes(max_dims=2, max_side=4)),
    arrays_of.arrays(np.uint64, arrays_of.array_shapes(max_dims=1, max_side=4)),
    arrays_of.arrays(np.float32, arrays_of.array_shapes(max_dims=2, max_side=4)),
)
keys = st.one_of(st.sampled_from(("step", "my key", "Å", "a=b", '"', "", "uid", "virial", "pbc", "energy")), texts)
ARRAYS = ("tags", "masses", "momenta", "initial_charges", "initial_magmoms", "pos0", "forces", "a", "a1")
infos = st.dictionaries(keys, st.one_of(plain_json, tables), max_size=4)


def read_back(*frames):
    """Return what ASE reads; alflow's reader has to find the same."""
    text = "".join(frames)
    by_ase = ase.io.read(io.StringIO(text, newline=None), ":", format="extxyz")
    own = [read_frame(frame, "a frame", []) for frame in cut_frames(text, "a file")]
    assert len(own) == len(by_ase)
    for one, other in zip(own, by_ase, strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.arrays.keys() == other.arrays.keys()
        assert all(same(value, other.info[key]) for key, value in one.info.items())
        assert (one.calc is None) == (other.calc is None)
    return by_ase


def same(found, given):
    """Say whether two values are the same numbers and texts; a list of numbers may come back as an array."""
    if isinstance(given, float | np.floating) and math.isnan(given):
        return isinstance(found, float | np.floating) and math.isnan(found)
    if isinstance(given, np.ndarray):
        return np.shape(found) == given.shape and np.array_equal(
            np.asarray(found), given, equal_nan=given.dtype.kind == "f"
        )
    if isinstance(given, list):
        return len(found) == len(given) and all(same(one, other) for one, other in zip(found, given, strict=True))
    if isinstance(given, dict):
        return found.keys() == given.keys() and all(same(found[key], value) for key, value in given.items())
    return found == given and isinstance(given, str) == isinstance(found, str)


def is_ragged(value):
    try:
        np.array(value)
    except ValueError:
        return True
    return False


def holds(value):
    """Say whether the format holds a value as it is: not lists of different lengths, which are text."""
    return not (isinstance(value, list) and is_ragged(value)) and not (isinstance(value, np.ndarray) and not value.size)


@settings(max_examples=150, deadline=None)
@given(infos)
def test_round_trip_of_any_info(info):
    atoms = molecule("H2O")
    atoms.info = info
    text = extxyz_frame(atoms, -1.5, np.ones((3, 3)))
    assert len(text.splitlines()) == text.count("\n") == 5
    text.encode()
    found, last = read_back(text, extxyz_frame(molecule("CH4")))
    assert len(last) == 5
    assert found.get_potential_energy() == -1.5
    again = extxyz_frame(found, -1.5, np.ones((3, 3)))
    assert extxyz_frame(read_back(again)[0], -1.5, np.ones((3, 3))) == again
    assert len(found.info) == len(info)
    for key, value in info.items():
        if key.isprintable() and key and key not in RESERVED_KEYS | {"uid", "virial"} and holds(value):
            assert same(found.info[key], value), (key, value, found.info)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(ARRAYS), keys),
        st.one_of(
            arrays_of.arrays(np.float64, st.sampled_from([(3,), (3, 1), (3, 2), (3, 3, 2), (3, 0)]), elements=floats),
            arrays_of.arrays(np.int64, st.sampled_from([(3,), (3, 3)])),
            arrays_of.arrays(np.bool_, (3,)),
            st.lists(texts, min_size=3, max_size=3).map(lambda words: np.array(words, dtype=object)),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_round_trip_of_any_arrays(given_arrays):
    atoms = molecule("H2O")
    usual = {"numbers", "positions"}
    for name, array in given_arrays.items():
        if name not in usual:
            atoms.arrays[name] = array
    found, last = read_back(extxyz_frame(atoms, 2.0, np.zeros((3, 3))), extxyz_frame(molecule("CH4")))
    assert len(last) == 5
    assert (found.numbers == atoms.numbers).all()
    assert (found.positions == atoms.positions).all()
    assert not found.get_forces().any()
    for name in set(given_arrays) - usual - RESERVED_COLUMNS - RESERVED_KEYS:
        if name in found.arrays:
            assert same(found.arrays[name].reshape(atoms.arrays[name].shape), atoms.arrays[name]), name
        elif name.isprintable() and name and name not in ("uid", "virial"):
            assert same(found.info[name], atoms.arrays[name].tolist()), name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_round_trip_of_numbers_to_the_last_bit(data):
    count = data.draw(st.integers(1, 4))
    table = arrays_of.arrays(np.float64, (count, 3), elements=finite)
    atoms = Atoms(data.draw(st.lists(st.integers(0, 118), min_size=count, max_size=count)), data.draw(table))
    atoms.cell = data.draw(arrays_of.arrays(np.float64, (3, 3), elements=finite))
    atoms.pbc = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    energy, forces = data.draw(finite), data.draw(table)
    (found,) = read_back(extxyz_frame(atoms, energy, forces))
    assert found.positions.tobytes() == atoms.positions.tobytes()
    assert np.array_equal(found.cell, atoms.cell)
    assert found.pbc.tolist() == atoms.pbc.tolist()
    assert found.numbers.tolist() == atoms.numbers.tolist()
    assert found.calc.results["energy"] == energy
    assert found.calc.results["forces"].tobytes() == forces.tobytes()


def test_what_a_molecule_carries_comes_back_where_it_was():
    atoms = molecule("CH3CH2OH")
    atoms.set_masses([2.014 if symbol == "H" else None for symbol in atoms.symbols])
    atoms.set_tags(range(9))
    atoms.set_initial_charges(np.linspace(-1, 1, 9))
    atoms.set_momenta(np.arange(27.0).reshape(9, 3) / 7)
    atoms.new_array("site", np.array([f"C{atom}" for atom in range(9)]))
    atoms.set_cell([4, 5, 6])
    atoms.info = {"virial": np.arange(9.0).reshape(3, 3), "comment": "two\nlines", "dipole": [1.0, 2.0, 3.0]}
    (found,) = read_back(extxyz_frame(atoms))
    assert found.calc is None
    assert found.arrays.keys() == atoms.arrays.keys()
    for name, array in atoms.arrays.items():
        assert (found.arrays[name] == array).all()
    assert (found.info["virial"] == atoms.info["virial"]).all()
    assert found.info["comment"] == "two\nlines"
    assert found.info["info_dipole"].tolist() == [1.0, 2.0, 3.0]
    assert (found.cell == atoms.cell).all()
    assert not found.pbc.any()


@pytest.mark.parametrize(
    "text", ["SCF did not converge:\n  cycle 1  E = -1.0\r\n\n  cycle 2\nsee job.out", "x" * 10**6, "a\u2028b\x0cc", ""]
)
def test_a_text_of_several_lines_keeps_its_meaning_on_one(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert len(line) < 2100
    assert one_line("SCF did not converge:\n  cycle 1  E = -1.0\nsee job.out") == (
        "SCF did not converge: | cycle 1 E = -1.0 | see job.out"
    )


def test_guest_comment_with_every_kind_of_space_is_one_line(tmp_path):
    comment = "a\u2028b\x0cc\x1dd\x85e"
    text = f"1\n{comment}\r\nH 0 0 0\r\n1\n{comment}\nH 0 0 1\n"
    assert [frame.lines[1] for frame in cut_frames(text, "a file")] == [comment, comment]
