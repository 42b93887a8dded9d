"""Labels out of the ledger and back in."""

import ase.db
import ase.io
import numpy as np
import pytest

from alflow.config.plugins import FORMATS, find, names
from alflow.errors import InputError
from alflow.ledger import TRAINING_KINDS, Counts, Ledger, LedgerRow, Origin, check_ledger
from alflow.ledger.export import export_labels
from alflow.ledger.imports import import_labels
from alflow.ledger.removal import Unwanted, find_labels
from alflow.types import Composition
from alflow.units import HARTREE_IN_EV

WATER = np.array([8, 1, 1])
THEORY = "dftb3 1.0 (sk=ab12)"
METHANE = np.array([6, 1, 1, 1, 1])


def row(seed, *, theory="dftb3 1.0 (sk=ab12)", numbers=WATER, failed=None, charge=0, kind="selected"):
    rng = np.random.default_rng(seed)
    positions, forces = rng.normal(size=(2, len(numbers), 3)) * np.array([3.0, 1.0])[:, None, None]
    label = {"reason": failed} if failed else {"energy": float(rng.normal(-100.0)), "forces": forces}
    return LedgerRow(theory, Composition(numbers, charge), positions, Origin(kind, 1, 0, seed), **label)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.add([row(1), row(2, numbers=METHANE), row(3, failed="timeout"), row(4), row(5, kind="reference")])
        yield opened


def test_extended_xyz_goes_out_and_comes_back_to_the_last_bit(tmp_path, ledger):
    path = tmp_path / "labels.xyz"
    assert export_labels(ledger, path, "extxyz") == 4
    with Ledger.open(tmp_path / "other") as other:
        assert counted(other, path, THEORY, trusted=False) == (4, 0)
        labelled = {found.key: found for found in ledger.rows() if found.reason is None}
        for found in other.rows():
            assert found.energy == labelled[found.key].energy
            assert found.forces.tobytes() == labelled[found.key].forces.tobytes()
        assert other.counts() == Counts(4, 0)
        assert check_ledger(other).sound


def test_extended_xyz_is_what_ase_reads(tmp_path, ledger):
    path = tmp_path / "labels.xyz"
    export_labels(ledger, path, "extxyz", kinds=TRAINING_KINDS)
    first, second, third = ase.io.read(path, ":")
    assert (first.get_chemical_formula(), second.get_chemical_formula()) == ("H2O", "CH4")
    assert first.info["theory"] == "dftb3 1.0 (sk=ab12)"
    assert (first.info["origin"], first.info["iteration"], third.info["step"]) == ("selected", 1, 4)
    assert first.get_potential_energy() == row(1).energy
    assert not first.pbc.any()


def test_ase_database(tmp_path, ledger):
    path = tmp_path / "labels.db"
    assert export_labels(ledger, path, "ase-db") == 4
    database = ase.db.connect(path)
    assert database.metadata == {"theory": "dftb3 1.0 (sk=ab12)"}
    found = database.get(formula="CH4")
    assert found.energy == row(2, numbers=METHANE).energy
    assert (found.forces == row(2, numbers=METHANE).forces).all()
    assert (found.positions == row(2, numbers=METHANE).positions).all()
    assert (found.origin, found.iteration, found.step, found.total_charge) == ("selected", 1, 2, 0)
    assert found.data["theory"] == "dftb3 1.0 (sk=ab12)"
    assert database.count(origin="reference") == 1


def test_arrays(tmp_path, ledger):
    path = tmp_path / "labels.npz"
    assert export_labels(ledger, path, "npz") == 4
    with np.load(path, allow_pickle=False) as arrays:
        assert str(arrays["theory"]) == "dftb3 1.0 (sk=ab12)"
        assert arrays["energies_0"].tolist() == [row(1).energy, row(4).energy, row(5).energy]
        assert (arrays["positions_1"][0] == row(2, numbers=METHANE).positions).all()
        assert arrays["kind_0"].tolist() == ["selected", "selected", "reference"]
        assert arrays["origin_0"].tolist() == [[1, 0, 1, 0], [1, 0, 4, 0], [1, 0, 5, 0]]


def test_torchani_data_set_is_what_torchani_reads(tmp_path, ledger, monkeypatch):
    pytest.importorskip("h5py")
    monkeypatch.setenv("TORCHANI_NO_WARN_EXTENSIONS", "1")
    datasets = pytest.importorskip("torchani.datasets")
    path = tmp_path / "labels.h5"
    assert export_labels(ledger, path, "torchani-h5") == 4
    data = datasets.ANIDataset(path, verbose=False)
    assert data.grouping == "by_formula"
    assert dict(data.group_sizes) == {"CH4": 1, "H2O": 3}
    water = data["H2O"]
    assert water["species"].tolist() == [[8, 1, 1]] * 3
    assert water["energies"].numpy() * HARTREE_IN_EV == pytest.approx(np.array([row(s).energy for s in (1, 4, 5)]))
    assert water["forces"][1].numpy() * HARTREE_IN_EV == pytest.approx(row(4).forces)
    assert (water["coordinates"][2].numpy() == row(5).positions).all()


def test_charged_molecules_go_out_in_formats_that_know_charges(tmp_path):
    with Ledger.open(tmp_path / "l") as ledger, Ledger.open(tmp_path / "m") as other:
        ledger.add([row(1, charge=-1)])
        with pytest.raises(InputError, match="holds neutral molecules; found charge -1"):
            export_labels(ledger, tmp_path / "l.h5", "torchani-h5")
        export_labels(ledger, tmp_path / "l.xyz", "extxyz")
        import_labels(other, tmp_path / "l.xyz", THEORY)
        assert [found.charge for found in other.rows()] == [-1]


@pytest.mark.parametrize("form", names(FORMATS))
def test_an_export_does_not_overwrite_unless_told_and_leaves_nothing_half_written(tmp_path, ledger, form):
    path = tmp_path / "out" / f"labels{find(FORMATS, form).endings[0]}"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(InputError, match="No file is written over unasked"):
        export_labels(ledger, path, form)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match="'b' is named"):
        export_labels(ledger, path, form, theory="b", overwrite=True)
    assert path.read_text() == "mine"
    assert export_labels(ledger, path, form, overwrite=True) == 4
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_export_of_two_theories_has_to_name_one(tmp_path, ledger):
    ledger.add([row(9, theory="b")])
    with pytest.raises(InputError, match=r"one theory; none is named, .* holds dftb3 1\.0 \(sk=ab12\), b"):
        export_labels(ledger, tmp_path / "x.xyz", "extxyz")
    assert export_labels(ledger, tmp_path / "x.xyz", "extxyz", theory="b") == 1


def counted(ledger, path, theory="t", *, trusted=True):
    found = import_labels(ledger, path, theory, trusted=trusted)
    return found.new, found.known


def xyz(path, *comments):
    path.write_text(
        "".join(f"2\n{comment}\nH 0 0 0 0 0 1\nH 0 0 {0.7 + place} 0 0 -1\n" for place, comment in enumerate(comments))
    )
    return path


HEAD = "Properties=species:S:1:pos:R:3:forces:R:3"


def test_a_user_s_own_labels_come_in_once_and_only_what_is_new(tmp_path):
    with Ledger.open(tmp_path / "l") as ledger:
        first = xyz(tmp_path / "1", f"{HEAD} energy=-31.0")
        both = xyz(tmp_path / "2", f"{HEAD} energy=-31.0", f"{HEAD} energy=-30.0")
        assert counted(ledger, first) == (1, 0)
        assert counted(ledger, both) == (1, 1)
        assert counted(ledger, both) == (0, 2)
        dataset, origins = ledger.dataset("t")
        assert dataset.groups[0].labels.energies.tolist() == [-31.0, -30.0]
        assert origins == (Origin("import", 0, step=0), Origin("import", 0, step=1))
        assert ledger.paid_again() == 0


def test_forces_of_fixed_atoms_are_taken_as_they_are(tmp_path):
    columns = "Properties=species:S:1:pos:R:3:forces:R:3:move_mask:L:1"
    (tmp_path / "fixed.xyz").write_text(f"2\n{columns} energy=-31.0\nH 0 0 0 0 0 1.5 F\nH 0 0 0.8 0 0 -1.5 T\n")
    with Ledger.open(tmp_path / "l") as ledger:
        import_labels(ledger, tmp_path / "fixed.xyz", "t", trusted=True)
        assert np.abs(ledger.dataset("t")[0].groups[0].labels.forces[0, :, 2]).tolist() == [1.5, 1.5]


def test_a_file_that_repeats_a_frame_gives_it_once(tmp_path):
    path = xyz(tmp_path / "1", f"{HEAD} energy=-31.0")
    path.write_text(path.read_text() * 3)
    with Ledger.open(tmp_path / "l") as ledger:
        assert counted(ledger, path) == (1, 2)


@pytest.mark.parametrize(
    ("comments", "trusted", "message"),
    [
        ([f"{HEAD} energy=1 theory=a"], False, "the ledger's are of 't', frame 0 .* names 'a'.*--theory own"),
        ([f"{HEAD} energy=1 theory=t", f"{HEAD} energy=1"], False, r"frame 1 \(from 0\) of .* names none"),
        ([HEAD], True, r"frame 0 \(from 0\) of .* has no 'energy'.*--energy-key"),
        (["Properties=species:S:1:pos:R:3:x:R:3 energy=1"], True, "has no 'forces'. It has .*'x'"),
        ([f"{HEAD} energy=nan"], True, "one finite number, in eV; 'energy' of frame 0"),
        ([f'{HEAD} energy=1 Lattice="9 0 0 0 9 0 0 0 9"'], True, "is periodic"),
        ([f"{HEAD} energy=1 charge=0.5"], True, "charge = 0.5"),
        (
            [f"{HEAD} energy=1", f"{HEAD.replace('R:3', 'R:9')} energy=1"],
            True,
            r"frame 1 .* \(line 5\) must be readable",
        ),
        ([f"{HEAD} energy=1e4"], True, "lies between"),
    ],
)
def test_bad_files_are_refused_with_a_sentence_and_leave_no_trace(tmp_path, comments, trusted, message):
    with Ledger.open(tmp_path / "l") as ledger:
        with pytest.raises(InputError, match=message):
            import_labels(ledger, xyz(tmp_path / "bad.xyz", *comments), "t", trusted=trusted)
        assert ledger.counts() == Counts(0, 0)


def test_files_that_are_no_structures_are_refused(tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 9)
    with Ledger.open(tmp_path / "l") as ledger:
        for name in ("absent", "empty", "noise"):
            with pytest.raises(InputError, match=name):
                import_labels(ledger, tmp_path / name, "t", trusted=True)


@pytest.mark.parametrize(("unit", "size"), [("Hartree", 27.211386), ("kcal/mol", 0.0433641), ("kJ/mol", 0.01036427)])
def test_guest_energies_in_another_unit_are_named(tmp_path, unit, size):
    own = xyz(tmp_path / "own.xyz", f"{HEAD} energy=-31000.0".replace("-31000.0", "-150.0"))
    theirs = xyz(tmp_path / "theirs.xyz", f"{HEAD} energy={-150.5 / size!r}")
    theirs.write_text(theirs.read_text().replace("0 0 0.7", "0 0 0.75"))
    with Ledger.open(tmp_path / "l") as ledger:
        import_labels(ledger, own, "t", trusted=True)
        with pytest.raises(InputError, match=f"would fit if they were in {unit}"):
            import_labels(ledger, theirs, "t", trusted=True, max_offset_ev=50.0)


def test_guest_frames_that_could_not_be_labelled_are_left_out_and_counted(tmp_path):
    path = xyz(tmp_path / "f.xyz", f"{HEAD} energy=-31.0", "Properties=species:S:1:pos:R:3:x:R:3 label_failure=timeout")
    with Ledger.open(tmp_path / "l") as ledger:
        found = import_labels(ledger, path, "t", trusted=True)
        assert (found.new, found.failed) == (1, 1)


def test_guest_labels_that_no_potential_could_learn_are_refused(tmp_path):
    overlap = tmp_path / "overlap.xyz"
    overlap.write_text(f"2\n{HEAD} energy=-31.0\nH 0 0 0 0 0 1\nH 0 0 0.1 0 0 -1\n")
    huge = tmp_path / "huge.xyz"
    huge.write_text(f"2\n{HEAD} energy=-31.0\nH 0 0 0 0 0 1e30\nH 0 0 0.8 0 0 -1\n")
    with Ledger.open(tmp_path / "l") as ledger:
        with pytest.raises(InputError, match=r"at least 0.5 Å apart.*frame 0"):
            import_labels(ledger, overlap, "t", trusted=True)
        with pytest.raises(InputError, match="force on an atom is at most 1000"):
            import_labels(ledger, huge, "t", trusted=True)


def test_guest_labels_are_taken_out_again(tmp_path, ledger):
    rows = [row for row in ledger.rows() if row.reason is None]
    meant = find_labels(ledger, THEORY, Unwanted(kind="reference"))
    assert [one.key for one in meant] == [one.key for one in rows if one.origin.kind == "reference"]
    ledger.remove([one.key for one in meant], "bad")
    assert ledger.failures_by_reason()["removed"] == 1
    assert len(ledger.dataset(THEORY)[0]) == len(rows) - 1
    assert check_ledger(ledger).sound
    largest = max(float(np.abs(one.forces).max()) for one in rows if one.origin.kind != "reference")
    assert len(find_labels(ledger, THEORY, Unwanted(force_above_ev_per_angstrom=0.999 * largest))) == 1


@pytest.mark.parametrize(
    ("unit", "size"),
    [("Hartree", 27.211386), ("Rydberg", 13.605693), ("kcal/mol", 0.0433641), ("kJ/mol", 0.01036427)],
)
@pytest.mark.parametrize("energy", [-31.5, -60.0, -155.0])
def test_guest_energies_in_another_unit_are_refused_within_the_bounds_too(tmp_path, unit, size, energy):
    own = xyz(tmp_path / "own.xyz", f"{HEAD} energy={energy}")
    theirs = xyz(tmp_path / "theirs.xyz", f"{HEAD} energy={(energy - 1.0) / size!r}")
    theirs.write_text(theirs.read_text().replace("0 0 0.7", "0 0 0.75"))
    with Ledger.open(tmp_path / "l") as ledger:
        import_labels(ledger, own, "t", trusted=True)
        with pytest.raises(InputError, match=f"would fit if they were in {unit}"):
            import_labels(ledger, theirs, "t", trusted=True, max_offset_ev=1e9)
        assert ledger.counts() == Counts(1, 0)


@pytest.mark.parametrize(
    ("usual", "energy"), [(-155.0, -125.0), (-31.5, -20.0), (3.0, 0.1), (0.2, 5.0), (-155.0, -9.0)]
)
def test_guest_energies_that_are_only_far_off_are_in_ev(tmp_path, usual, energy):
    own = xyz(tmp_path / "own.xyz", f"{HEAD} energy={usual}")
    theirs = xyz(tmp_path / "theirs.xyz", f"{HEAD} energy={energy}")
    theirs.write_text(theirs.read_text().replace("0 0 0.7", "0 0 0.75"))
    with Ledger.open(tmp_path / "l") as ledger:
        import_labels(ledger, own, "t", trusted=True)
        assert import_labels(ledger, theirs, "t", trusted=True).new == 1
