"""Whatever an export writes is read back with the same numbers, charges and theory, in every format."""

import gzip
import io

import ase.db
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from alflow.config.plugins import FORMATS, names
from alflow.errors import InputError
from alflow.ledger import Ledger, LedgerRow, Origin
from alflow.ledger.export import export_format, export_labels
from alflow.ledger.imports import import_labels
from alflow.structures import read_structures
from alflow.types import Composition
from alflow.units import HARTREE_IN_EV

finite = st.floats(-1e6, 1e6, width=64)
sound = st.floats(-100.0, 80.0, width=64)
"""Energies and force components that a label can have: an import takes no others."""
theories = st.one_of(
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.sampled_from(["12345678", "123e4567", "T", "dftb3 1.0 (sk=ab12)", "a=b", 'quo"ted', "ünï code", "back\\slash"]),
)


@st.composite
def rows(draw, largest_charge=3, highest_spin=True):
    theory = draw(theories)
    found = []
    for step in range(draw(st.integers(1, 4))):
        numbers = np.array(draw(st.lists(st.integers(1, 86), min_size=1, max_size=3)))
        table = arrays_of.arrays(np.float64, (len(numbers), 3), elements=finite)
        positions = draw(table) + np.arange(len(numbers))[:, None] * 3e6
        forces = arrays_of.arrays(np.float64, (len(numbers), 3), elements=sound)
        label = {"energy": draw(sound), "forces": draw(forces)}
        if draw(st.integers(0, 4)) == 0:
            label = {"reason": "timeout"}
        lowest = Composition(numbers, draw(st.integers(-largest_charge, largest_charge)))
        excited = highest_spin and lowest.electrons > 2 and draw(st.booleans())
        found.append(
            LedgerRow(
                theory,
                Composition(numbers, lowest.charge, lowest.multiplicity + 2 * excited),
                positions,
                Origin("selected", 1, 0, step),
                **label,
            )
        )
    return found


def ledger_of(found, folder):
    opened = Ledger.open(folder / "ledger.sqlite")
    opened.add(found)
    opened.commit()
    return opened, {row.key: row for row in opened.rows() if row.reason is None}


def same_rows(other, labelled):
    """Hold each row of another ledger against the label that it came from."""
    found = {row.key: row for row in other.rows()}
    assert found.keys() == labelled.keys()
    for key, row in found.items():
        assert (row.energy, row.theory, row.composition) == (
            labelled[key].energy,
            labelled[key].theory,
            labelled[key].composition,
        )
        assert row.forces.tobytes() == labelled[key].forces.tobytes()
        assert row.positions.tobytes() == labelled[key].positions.tobytes()


def same_images(images, labelled):
    """Hold structures that ASE or alflow read against labels; their order is that of the ledger."""
    assert len(images) == len(labelled)
    for image, row in zip(images, labelled.values(), strict=True):
        assert image.numbers.tolist() == row.numbers.tolist()
        assert image.positions.tobytes() == row.positions.tobytes()
        assert image.calc.results["energy"] == row.energy
        assert np.asarray(image.calc.results["forces"]).tobytes() == row.forces.tobytes()


def same_structures(path, labelled):
    """Hold what alflow's reader finds in a file against labels."""
    read = read_structures(path, labels="required").structures
    same_images([one.atoms for one in read], labelled)
    for one, row in zip(read, labelled.values(), strict=True):
        assert (one.composition, one.theory, one.energy) == (row.composition, row.theory, row.energy)
        assert one.forces.tobytes() == row.forces.tobytes()


@settings(max_examples=20, deadline=None)
@given(rows(), st.sampled_from([".xyz", ".extxyz", ".xyz.gz", ".xyz.bz2", ".extxyz.xz"]), st.booleans())
def test_round_trip_of_exported_extended_xyz(tmp_path_factory, found, ending, carriage_returns):
    folder = tmp_path_factory.mktemp("export")
    ledger, labelled = ledger_of(found, folder)
    path = folder / f"out{ending}"
    with ledger:
        if not labelled:
            return
        assert export_labels(ledger, path) == len(labelled)
    images = ase.io.read(path, ":")
    same_images(images, labelled)
    for image, row in zip(images, labelled.values(), strict=True):
        assert (image.info["charge"], image.info["theory"]) == (row.charge, row.theory)
    if ending == ".xyz" and carriage_returns:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    same_structures(path, labelled)
    with Ledger.open(folder / "other") as other:
        import_labels(other, path, next(iter(labelled.values())).theory)
        same_rows(other, labelled)


@settings(max_examples=20, deadline=None)
@given(rows())
def test_round_trip_of_an_exported_database(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("export")
    ledger, labelled = ledger_of(found, folder)
    with ledger:
        if not labelled:
            return
        assert export_labels(ledger, folder / "out.db") == len(labelled)
    same_images(ase.io.read(folder / "out.db", ":"), labelled)
    same_structures(folder / "out.db", labelled)
    for row, stored in zip(labelled.values(), ase.db.connect(folder / "out.db").select(), strict=True):
        assert (stored.origin, stored.step, stored.data["theory"]) == ("selected", row.origin.step, row.theory)
        assert stored.toatoms().get_initial_charges().sum() == stored.charge == stored.total_charge == row.charge


@settings(max_examples=20, deadline=None)
@given(rows(largest_charge=0, highest_spin=False))
def test_round_trip_of_exported_arrays(tmp_path_factory, found):
    h5py = pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("export")
    ledger, labelled = ledger_of(found, folder)
    with ledger:
        if not labelled:
            return
        assert export_labels(ledger, folder / "out.npz") == export_labels(ledger, folder / "out.h5") == len(labelled)
    left = list(labelled.values())
    with np.load(folder / "out.npz", allow_pickle=False) as arrays:
        assert str(arrays["theory"]) == left[0].theory
        for group in range(len([name for name in arrays if name.startswith("numbers_")])):
            for place, energy in enumerate(arrays[f"energies_{group}"]):
                row = next(row for row in left if row.energy == energy
                           and row.positions.tobytes() == arrays[f"positions_{group}"][place].tobytes())  # fmt: skip
                assert arrays[f"numbers_{group}"].tolist() == row.numbers.tolist()
                assert arrays[f"charge_{group}"] == row.charge
                assert arrays[f"forces_{group}"][place].tobytes() == row.forces.tobytes()
                left.pop([row is one for one in left].index(True))
    assert not left
    with h5py.File(folder / "out.h5") as file:
        assert file.attrs["theory"] == found[0].theory
        energies = np.concatenate([group["energies"][:] for group in file.values()]) * HARTREE_IN_EV
    assert np.sort(energies) == pytest.approx(np.sort([row.energy for row in labelled.values()]), rel=1e-15, abs=1e-300)


@settings(max_examples=20, deadline=None)
@given(rows(), st.sampled_from([".xyz", ".db", ".npz"]))
def test_round_trip_of_charge_and_spin_through_an_import(tmp_path_factory, found, ending):
    folder = tmp_path_factory.mktemp("export")
    ledger, labelled = ledger_of(found, folder)
    path = folder / f"out{ending}"
    with ledger:
        if not labelled:
            return
        assert export_labels(ledger, path) == len(labelled)
    read = sorted((one.composition.key, one.energy) for one in read_structures(path, labels="required").structures)
    assert read == sorted((row.composition.key, row.energy) for row in labelled.values())
    with Ledger.open(folder / "other") as other:
        import_labels(other, path, next(iter(labelled.values())).theory)
        same_rows(other, labelled)


def test_arrays_of_before_there_was_a_multiplicity_are_of_the_lowest(tmp_path):
    triplet = LedgerRow("t", Composition([8, 8], 0, 3), np.eye(2, 3), Origin("selected", 0), energy=1.0,
                        forces=np.zeros((2, 3)))  # fmt: skip
    ledger, _ = ledger_of([triplet], tmp_path)
    with ledger:
        export_labels(ledger, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["multiplicity_0"] == 3
        np.savez(tmp_path / "old.npz", **{name: arrays[name] for name in arrays if name != "multiplicity_0"})
    (read,) = read_structures(tmp_path / "old.npz", labels="required").structures
    assert read.composition == Composition([8, 8], 0, 1)


def test_a_format_that_knows_no_spin_or_charge_says_so(tmp_path):
    pytest.importorskip("h5py")
    for number, (composition, words) in enumerate(
        [(Composition([8, 8], 0, 3), "lowest spin; found a multiplicity of 3"), (Composition([8, 8], 1), "charge 1")]
    ):
        row = LedgerRow("t", composition, np.eye(2, 3), Origin("selected", 0), energy=1.0, forces=np.zeros((2, 3)))
        (tmp_path / str(number)).mkdir()
        ledger, _ = ledger_of([row], tmp_path / str(number))
        with ledger, pytest.raises(InputError, match=words):
            export_labels(ledger, tmp_path / "out.h5")
        assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.xyz", "extxyz"), ("a.extxyz", "extxyz"), ("a.b.xyz.gz", "extxyz"), ("A.XYZ", "extxyz"), ("a.db", "ase-db"),
        ("a.h5", "torchani-h5"), ("a.hdf5", "torchani-h5"), ("a.npz", "npz"),
    ],
)  # fmt: skip
def test_round_trip_of_formats_and_names(tmp_path, name, form):
    assert export_format(tmp_path / name) == export_format(tmp_path / name, form) == form
    for other in set(names(FORMATS)) - {form}:
        with pytest.raises(InputError, match=f"is one of {form}, and the format named is {other}"):
            export_format(tmp_path / name, other)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.traj", "a.db.gz", "a.npz.gz", "a.gz", ".xyz", "a.json"])
@pytest.mark.parametrize("form", [None, *names(FORMATS)])
def test_outsider_name_of_no_format_is_refused(tmp_path, name, form):
    with pytest.raises(InputError, match=r"is that of its format: .*\.xyz or \.extxyz \(extxyz\)"):
        export_format(tmp_path / name, form)


def test_an_export_to_gz_is_compressed(tmp_path):
    ledger, _ = ledger_of(
        [
            LedgerRow(
                "t", Composition([1], 1), np.zeros((1, 3)), Origin("selected", 0), energy=1.0, forces=np.ones((1, 3))
            )
        ],
        tmp_path,
    )
    with ledger:
        export_labels(ledger, tmp_path / "out.xyz.gz")
    with gzip.open(tmp_path / "out.xyz.gz", "rt") as file:
        (image,) = ase.io.read(io.StringIO(file.read()), ":", format="extxyz")
    assert image.info["charge"] == 1
