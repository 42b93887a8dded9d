"""Files of structures as other people and programs write them: the right frames and numbers, or one sentence."""

import gzip
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alflow.errors import StructureError
from alflow.structures import LabelKeys, read_dataset, read_structure, read_structures

WATER = "O 0 0 0.1197\nH 0 0.7616 -0.4786\nH 0 -0.7616 -0.4786\n"
LABELLED = "O 0 0 0.12 0 0 1\nH 0 0.76 -0.48 0 0 -0.5\nH 0 -0.76 -0.48 0 0 -0.5\n"
HEAD = "Properties=species:S:1:pos:R:3:forces:R:3"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def frame(comment="", atoms=WATER):
    return f"{len(atoms.splitlines())}\n{comment}\n{atoms}"


def file(folder, text, name="some.xyz"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


# ---- charges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "charge"),
    [
        ("neutral water, no charge", 0),
        ("water, total charge 0, singlet", 0),
        ("charge", 0),
        ("", 0),
        ("charge=1", 1),
        ("charge=-1", -1),
        ("charge=+2", 2),
        ("charge=1.0", 1),
        ('charge="1"', 1),
        ("total_charge=-2", -2),
        ("Charge=1", 1),
        ("TOTAL_CHARGE=1 charge=1", 1),
    ],
)
def test_guest_charge_is_what_is_said(tmp_path, comment, charge):
    found = read_structures(file(tmp_path, frame(comment)))
    assert [one.charge for one in found.structures] == [charge]


@pytest.mark.parametrize(
    "comment", ["charge=neutral", 'charge="0 1"', "charge=None", "charge=0.5", "charge=nan", "charge=1 total_charge=0"]
)
def test_guest_charge_that_is_none_is_refused_with_frame_and_file(tmp_path, comment):
    path = file(tmp_path, frame() + frame(comment))
    with pytest.raises(StructureError, match=r"frame 1 \(from 0\) of .*some\.xyz"):
        read_structures(path)


@pytest.mark.parametrize(("charges", "total"), [((0.4, 0.3, 0.3), 1), ((0, 0, 0), 0), ((-0.99, 0.0, 0.0), -1)])
def test_guest_charges_of_atoms_add_up_to_the_total(tmp_path, charges, total):
    lines = [f"{line} {charge}" for line, charge in zip(WATER.splitlines(), charges, strict=True)]
    text = frame("Properties=species:S:1:pos:R:3:initial_charges:R:1", "\n".join(lines) + "\n")
    found = read_structures(file(tmp_path, text))
    assert found.structures[0].charge == total
    assert any("add up to" in note for note in found.notes) == bool(total)


def test_guest_charges_of_atoms_that_add_up_to_no_whole_number_are_refused(tmp_path):
    lines = "".join(f"{line} 0.2\n" for line in WATER.splitlines())
    text = frame("Properties=species:S:1:pos:R:3:initial_charges:R:1", lines)
    with pytest.raises(StructureError, match=r"add up to a whole number.* give 0\.600"):
        read_structures(file(tmp_path, text))


def test_guest_radical_is_noted(tmp_path):
    found = read_structures(file(tmp_path, frame("charge=1") + frame() + frame("charge=-1")))
    assert any("odd number of electrons" in note and "frames 0, 2" in note for note in found.notes)
    assert not read_structures(file(tmp_path, frame())).notes


@QUICK
@given(value=st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.lists(st.integers())))
def test_guest_charge_of_any_kind_is_a_number_or_a_sentence(tmp_path, value):
    atoms = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.5], [0, -0.8, 0.5]], info={"charge": value})
    path = tmp_path / "any.traj"
    ase.io.write(path, atoms)
    sentence = ""
    try:
        found = read_structures(path).structures[0].charge
    except StructureError as error:
        sentence, found = str(error), None
    assert "charge" in sentence if found is None else isinstance(value, bool) or found == value


# ---- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        frame() * 3,
        frame() + "\n" + frame() + "\n  \n\n" + frame() + "\n\n",
        (frame("a") * 3).replace("\n", "\r\n"),
        "\ufeff" + frame() * 3,
        "\n" + frame() * 3,
        (frame() * 3).rstrip("\n"),
        (frame() * 3).replace("O 0", "O\t0"),
    ],
    ids=["plain", "blank lines", "CRLF", "BOM", "blank first", "no last line end", "tabs"],
)
def test_guest_frames_are_all_read(tmp_path, text):
    found = read_structures(file(tmp_path, text))
    assert len(found.structures) == 3
    assert all(one.atoms.get_chemical_formula() == "H2O" for one in found.structures)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (frame() + "not a frame\n", r"line 6 of .*some\.xyz is 'not a frame'"),
        (frame() + "3\ncut\nO 0 0 0\n", "ends 2 lines too early for the 3 atoms that line 6 announces"),
        (frame().replace("H 0 0.7616", "\nH 0 0.7616"), "line 4 of .* is empty"),
        (frame() + "-1\n\n", "line 6"),
        (frame(atoms="O 0 0 0\nH 0 0 x\nH 0 1 1\n"), r"frame 0 .*line 1\) must be readable"),
        ("", "it is empty"),
        ("\n\n", "holds none"),
    ],
)
def test_guest_file_that_is_no_row_of_frames_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(StructureError, match=message):
        read_structures(file(tmp_path, text))


@QUICK
@given(
    blanks=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    cut=st.one_of(st.none(), st.integers(1, 200)),
)
def test_guest_frames_are_all_there_or_the_file_is_refused(tmp_path, blanks, end, cut):
    whole = "".join("\n" * blank + frame(f"number={row}") for row, blank in enumerate(blanks))
    text = whole if cut is None else whole[: max(1, len(whole) - cut)]
    path, sentence = file(tmp_path, text.replace("\n", end)), ""
    try:
        found = read_structures(path).structures
    except StructureError as error:
        sentence, found = str(error), ()
    assert [one.atoms.info["number"] for one in found] == list(range(len(found)))
    assert len(found) == len(blanks) if cut is None else found or "some.xyz" in sentence


# ---- names -----------------------------------------------------------------------------------------------------------


NAMES = [
    "mol@300K.xyz",
    "water.xyz@2",
    "a b.xyz",
    "-o.xyz",
    "~.xyz",
    "[1].xyz",
    "*.xyz",
    "é漢.xyz",
    "a\nb.xyz",
    "%s.xyz",
]


@pytest.mark.parametrize("name", NAMES)
def test_guest_name_is_read_and_no_other_file(tmp_path, name):
    file(tmp_path, frame(atoms="He 0 0 0\n"), "water.xyz")
    path = file(tmp_path, frame(), name)
    found = read_structures(path)
    assert [one.atoms.get_chemical_formula() for one in found.structures] == ["H2O"]


@pytest.mark.parametrize("name", ["none.xyz", "water.xyz@2", "~"])
def test_guest_file_that_is_not_there_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file(tmp_path, frame(), "water.xyz")
    with pytest.raises(StructureError, match="No such file"):
        read_structures(name)


@pytest.mark.parametrize("name", ["t@1.traj", "t.db", "t.json", "a b.cif", "t.xyz.gz"])
def test_guest_formats_of_ase_are_read_under_any_name(tmp_path, name):
    images = [Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.5], [0, -0.8, 0.5 + row / 10]]) for row in range(2)]
    path = tmp_path / name
    if name.endswith("db"):
        with ase.db.connect(path) as database:
            for image in images:
                database.write(image, total_charge=1)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress((frame() * 2).encode()))
    else:
        plain = tmp_path / f"plain{Path(name).suffix}"
        ase.io.write(plain, images[:1] if name.endswith("cif") else images)
        plain.rename(path)
    found = read_structures(path)
    count = 1 if name.endswith("cif") else 2
    assert [one.charge for one in found.structures] == [1 if name.endswith("db") else 0] * count


def test_guest_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "cut.xyz.gz"
    path.write_bytes(gzip.compress((frame() * 2).encode())[:-9])
    with pytest.raises(StructureError, match=r"cut\.xyz\.gz"):
        read_structures(path)


# ---- species, cells, numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("species", "symbol"),
    [
        ("D", "H"),
        ("T", "H"),
        ("8", "O"),
        ("O1", "O"),
        ("o", "O"),
        ("CL", "Cl"),
        ("C12", "C"),
        ("H_a", "H"),
        ("Cl3", "Cl"),
    ],
)
def test_guest_species_is_the_element_that_is_meant(tmp_path, species, symbol):
    found = read_structures(file(tmp_path, frame(atoms=f"{species} 0 0 0\n")))
    assert found.structures[0].atoms.get_chemical_symbols() == [symbol]
    assert any("Isotopes" in note for note in found.notes) == (species in "DT")


@pytest.mark.parametrize("species", ["Xx", "Q1", "0", "119", "water", "?"])
def test_guest_species_of_no_element_is_refused_with_frame_and_atom(tmp_path, species):
    with pytest.raises(StructureError, match="atom 1 of frame 0"):
        read_structures(file(tmp_path, frame(atoms=f"O 0 0 0\n{species} 0 0 1\n")))


def test_guest_cell_without_size_is_no_period(tmp_path):
    found = read_structures(file(tmp_path, frame('Lattice="0 0 0 0 0 0 0 0 0"')))
    assert len(found.structures) == 1
    with pytest.raises(StructureError, match="is periodic"):
        read_structures(file(tmp_path, frame('Lattice="9 0 0 0 9 0 0 0 9"')))
    assert (
        read_structures(file(tmp_path, frame('Lattice="9 0 0 0 9 0 0 0 9" pbc="F F F"'))).structures[0].atoms.cell.any()
    )


def test_guest_coordinates_are_numbers(tmp_path):
    fortran = file(tmp_path, frame(atoms="O 0.0D+00 0.1d1 -1.0D-01\n"))
    assert read_structures(fortran).structures[0].atoms.positions.tolist() == [[0.0, 1.0, -0.1]]
    path = file(tmp_path, frame(atoms="O 0 0 nan\n"))
    with pytest.raises(StructureError, match="those of atom 0 of frame 0"):
        read_structures(path)
    assert np.isnan(read_structures(path, finite=False).structures[0].atoms.positions[0, 2])


# ---- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "energy"),
    [
        ("energy=-424.0", -424.0),
        ("energy=-424.014744D+00", -424.014744),
        ("energy=-4.24d2", -424.0),
        ("energy=-424", -424),
    ],
)
def test_guest_energy_is_a_number(tmp_path, comment, energy):
    found = read_structures(file(tmp_path, frame(f"{HEAD} {comment}", LABELLED)), labels="required")
    assert found.structures[0].energy == energy
    assert found.structures[0].forces[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("word", ["energy", "energy=T", "energy=low", 'energy="-424 -423"', "energy=nan", "energy=inf"])
def test_guest_energy_that_is_none_is_refused(tmp_path, word):
    path = file(tmp_path, frame(f"{HEAD} {word}", LABELLED))
    with pytest.raises(StructureError, match="'energy' of frame 0"):
        read_structures(path, labels="required")


@pytest.mark.parametrize(
    ("head", "atoms", "message"),
    [
        ("Properties=species:S:1:pos:R:3:forces:R:1", "O 0 0 0 1\nH 0 0 1 1\n", r"shape \(2,\)"),
        ("Properties=species:S:1:pos:R:3:forces:S:3", "O 0 0 0 a b c\nH 0 0 1 a b c\n", "could not convert"),
        (HEAD, "O 0 0 0 0 0 0\nH 0 0 1 0 0 nan\n", "not at atom 1"),
    ],
)
def test_guest_forces_that_are_none_are_refused(tmp_path, head, atoms, message):
    with pytest.raises(StructureError, match=message):
        read_structures(file(tmp_path, frame(f"{head} energy=-1", atoms)), labels="required")


def test_guest_keys_are_named_and_can_be_given(tmp_path):
    head = HEAD.replace("forces", "dft_forces")
    path = file(tmp_path, frame(f"{head} REF_energy=-424.0", LABELLED))
    with pytest.raises(StructureError, match=r"has no 'energy'\. It has 'REF_energy', 'dft_forces'\. --energy-key"):
        read_structures(path, labels="required")
    found = read_dataset(path, LabelKeys("REF_energy", "dft_forces"))
    assert found.dataset.groups[0].labels.energies.tolist() == [-424.0]
    with pytest.raises(StructureError, match="has no 'energy'"):
        read_dataset(path)


def test_guest_frames_without_a_label_are_counted(tmp_path):
    text = frame(f"{HEAD} energy=-1", LABELLED) + frame("label_failure=timeout") + frame()
    found = read_dataset(file(tmp_path, text))
    assert len(found.dataset) == 1
    assert found.left_out == {"timeout": 1, "no label": 1}
    with pytest.raises(StructureError, match=r"none of .* has \(2 timeout\)"):
        read_dataset(file(tmp_path, frame("label_failure=timeout") * 2))


@QUICK
@given(
    energy=st.one_of(st.floats(), st.integers(-(10**6), 10**6), st.text(max_size=6), st.lists(st.floats(), max_size=3)),
    shape=st.sampled_from([(3, 3), (3,), (3, 1), (2, 3), (9,)]),
)
def test_guest_label_of_any_kind_is_numbers_or_a_sentence(tmp_path, energy, shape):
    atoms = Atoms("OH2", [[0, 0, 0], [0, 0.8, 0.5], [0, -0.8, 0.5]])
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results = {"energy": energy, "forces": np.ones(shape)}
    path = tmp_path / "any.traj"
    try:
        ase.io.write(path, atoms)
    except (TypeError, ValueError, AssertionError):
        return
    sentence, found = "", None
    try:
        found = read_structures(path, labels="required").structures[0]
    except StructureError as error:
        sentence = str(error)
    if found is None:
        assert "frame 0" in sentence or "ASE reads" in sentence
    else:
        assert np.isfinite(found.energy)
        assert found.forces.shape == (3, 3)


def test_guest_first_frame_is_the_start(tmp_path):
    frames, notes = read_structure(file(tmp_path, frame("charge=0") + frame(atoms="He 0 0 0\n")))
    assert frames.numbers.tolist() == [8, 1, 1]
    assert any("1 more are left out" in note for note in notes)
    with pytest.raises(StructureError, match=r"at least 0\.6 Å apart"):
        read_structure(file(tmp_path, frame(atoms="O 0 0 0\nH 0 0 0.1\n")))
