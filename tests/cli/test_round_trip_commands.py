"""Files from command to command: what one writes, the others read with the same numbers, charges and theory."""

import shutil

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from alflow.labeling import make_engine
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.ledger import Ledger, LedgerReader, LedgerRow, Origin
from alflow.ledger.export import export_labels
from alflow.runs.directory import RunDirectory
from alflow.types import Composition

EMT = ("--engine", "ase", "--set", "calculator=ase.calculators.emt.EMT", "--timeout", "0")
XTB = ("--engine", "gfn2-xtb", "--timeout", "0")
CAMPAIGN_THEORY = make_engine("ase", ASECalculatorSettings(calculator="ase.calculators.emt.EMT")).theory


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of a finished run, for tests that change it."""
    return RunDirectory(shutil.copytree(finished[0] / "runs" / "tiny", tmp_path / "a run"))


def ammonium():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.59
    return Atoms("NH4", np.vstack([np.zeros(3), corners]))


def labels_of(run):
    with LedgerReader.open(run.ledger) as ledger:
        return {row.key: row for row in ledger.rows() if row.reason is None}


@pytest.mark.parametrize("name", ["selected.xyz", "pull-00.xyz"])
def test_round_trip_of_what_a_run_writes(alflow, run, tmp_path, name):
    written = run.iteration(1) / name
    raw = ase.io.read(written, ":")
    code, _, err = alflow("label", written, "-o", "labelled.xyz", *EMT)
    assert code == 0, err
    labelled = ase.io.read(tmp_path / "labelled.xyz", ":")
    for before, after in zip(raw, labelled, strict=True):
        assert before.positions.tobytes() == after.positions.tobytes()
        assert {**before.info, "theory": CAMPAIGN_THEORY, "engine": "ase ase.calculators.emt.EMT"} == after.info
    known = labels_of(run)
    code, out, err = alflow("ledger", "import", run.path, "labelled.xyz")
    assert code == 0, err
    new = labels_of(run)
    assert f"{len(new) - len(known)} labels imported" in out
    if name == "selected.xyz":  # all of them were labelled by the run, with the same bits
        assert new.keys() == known.keys()
    energies = {row.positions.tobytes(): row for row in new.values()}
    for image in labelled:
        row = energies[image.positions.tobytes()]
        assert row.energy == image.get_potential_energy()
        assert row.forces.tobytes() == image.get_forces().tobytes()
    code, out, err = alflow("evaluate", run.iteration(1) / "ensemble.pt", "labelled.xyz")
    assert code == 0, err
    assert f"on {len(raw)} frames" in out


@pytest.mark.parametrize("name", ["out.xyz", "out.xyz.gz", "a b@2.extxyz", "out.db"])
def test_round_trip_of_exports_through_every_command(alflow, run, tmp_path, name):
    code, _, err = alflow("ledger", "export", run.path, name)
    assert code == 0, err
    known = labels_of(run)
    code, out, err = alflow("ledger", "import", run.path, name)
    assert code == 0, err
    assert f"0 labels imported, {len(known)} were known" in out
    code, out, err = alflow("evaluate", run.iteration(1) / "ensemble.pt", name, "--figure", "figure.png")
    assert code == 0, err
    assert f"on {len(known)} frames" in out
    code, _, err = alflow("label", name, "-o", "again.xyz", *EMT)
    assert code == 0, err
    again = {image.positions.tobytes(): image for image in ase.io.read(tmp_path / "again.xyz", ":")}
    for row in known.values():
        assert again[row.positions.tobytes()].get_potential_energy() == row.energy


@pytest.mark.parametrize("name", ["out.xyz", "out.xyz.xz", "out.db"])
def test_round_trip_of_an_ion_keeps_its_charge(alflow, tmp_path, name):
    ion = ammonium()
    ion.info["charge"] = 1
    ase.io.write(tmp_path / "in.xyz", ion, format="extxyz")
    assert alflow("label", "in.xyz", "-o", "labelled.xyz", *XTB)[0] == 0
    (labelled,) = ase.io.read(tmp_path / "labelled.xyz", ":")
    numbers, theory = labelled.numbers.astype(np.int64), labelled.info["theory"]
    with Ledger.open(tmp_path / "ledger") as ledger:
        origin = Origin("selected", 0)
        ledger.add([LedgerRow(theory, Composition(numbers, 1), labelled.positions, origin,
                              energy=labelled.get_potential_energy(), forces=labelled.get_forces())])  # fmt: skip
        ledger.commit()
        export_labels(ledger, tmp_path / name)
    code, _, err = alflow("label", name, "-o", "again.xyz", *XTB)
    assert code == 0, err
    (again,) = ase.io.read(tmp_path / "again.xyz", ":")
    assert again.info["charge"] == 1
    assert again.info["theory"] == theory
    assert again.get_potential_energy() == labelled.get_potential_energy()
    assert again.get_forces().tobytes() == labelled.get_forces().tobytes()


def test_outsider_labels_of_another_theory_are_not_imported(alflow, run, tmp_path):
    assert alflow("label", run.iteration(1) / "selected.xyz", "-o", "foreign.xyz", *XTB)[0] == 0
    before = labels_of(run).keys()
    code, _, err = alflow("ledger", "import", run.path, "foreign.xyz")
    assert code == 2
    assert "two theories do not mix" in err
    assert labels_of(run).keys() == before


def test_guest_file_with_a_failed_frame_is_imported_and_evaluated(alflow, run, tmp_path):
    images = ase.io.read(run.iteration(1) / "pull-00.xyz", ":")
    broken = images[1].copy()
    broken.positions[1] = broken.positions[0] + 0.01
    nowhere = images[1].copy()
    nowhere.positions[0, 0] = np.nan
    ase.io.write(tmp_path / "in.xyz", [*images, broken, nowhere], format="extxyz")
    code, out, err = alflow("label", "in.xyz", "-o", "labelled.xyz", *EMT)
    assert code == 0, err
    assert f"{len(images)} labels, 2 failures" in out
    code, out, err = alflow("ledger", "import", run.path, "labelled.xyz")
    assert code == 0, err
    code, out, err = alflow("evaluate", run.iteration(1) / "ensemble.pt", "labelled.xyz")
    assert code == 0, err
    assert f"on {len(images)} frames" in out


def test_round_trip_of_a_labelled_file_labelled_again(alflow, tmp_path):
    water = molecule("H2O")
    water.info = {"note": "two\nlines", "list": [1, 2], "none": None, "empty": ""}
    ase.io.write(tmp_path / "in.traj", [water, water])
    assert alflow("label", "in.traj", "-o", "one.xyz", *XTB)[0] == 0
    assert alflow("label", "one.xyz", "-o", "two.xyz", *XTB)[0] == 0
    assert (tmp_path / "one.xyz").read_bytes() == (tmp_path / "two.xyz").read_bytes()
    found = ase.io.read(tmp_path / "two.xyz", 0)
    assert (found.info["note"], found.info["list"].tolist(), found.info["none"], found.info["empty"]) == (
        "two\nlines", [1, 2], None, ""
    )  # fmt: skip


def test_guest_frame_with_two_atoms_in_one_place_is_left_out_and_counted(alflow, run, tmp_path):
    frame = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=1.0\nC 0 0 0 0 0 0\nH 0 0 {} 0 0 0\n"
    (tmp_path / "frames.xyz").write_text(frame.format("1.1") + frame.format("0.0"))
    code, out, err = alflow("evaluate", run.iteration(1) / "ensemble.pt", "frames.xyz")
    assert code == 0, err
    assert "on 1 frames" in out
    assert "nan" not in out
    assert "1 frame of frames.xyz left out: two atoms in one place" in err
