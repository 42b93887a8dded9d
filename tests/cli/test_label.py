"""`alflow label`: order kept, charges read, failures marked, here and over a site alike."""

import ase.io
import numpy as np
import pytest
from ase.build import molecule


@pytest.fixture
def structures(tmp_path):
    water, methyl, methane = molecule("H2O"), molecule("CH3"), molecule("CH4")
    methyl.info["charge"] = 1
    broken = molecule("H2O")
    broken.positions[1] = broken.positions[0] + 0.01
    ase.io.write(tmp_path / "in.xyz", [water, methyl, broken, methane, water], format="extxyz")
    return tmp_path / "in.xyz"


def labelled(path):
    return ase.io.read(path, ":")


def test_frames_come_back_in_order_and_failures_are_marked(alflow, structures, tmp_path):
    code, out, err = alflow("label", structures, "-o", tmp_path / "out.xyz", "--engine", "gfn2-xtb")
    assert code == 0, err
    assert "4 labels, 1 failures" in out
    assert "1 implausible-structure" in out
    images = labelled(tmp_path / "out.xyz")
    assert [str(image.symbols) for image in images] == ["OH2", "CH3", "OH2", "CH4", "OH2"]
    assert images[2].info["label_failure"] == "implausible-structure"
    assert images[2].calc is None
    assert images[0].get_potential_energy() == images[4].get_potential_energy()
    assert images[1].info["charge"] == 1


def test_a_site_gives_the_same_labels(alflow, structures, tmp_path):
    alflow("label", structures, "-o", tmp_path / "here.xyz", "--engine", "gfn2-xtb")
    code, _, err = alflow(
        "label", structures, "-o", tmp_path / "there.xyz", "--engine", "gfn2-xtb",
        "--site", "local", "--site-option", "kind=threads",
    )  # fmt: skip
    assert code == 0, err
    for here, there in zip(labelled(tmp_path / "here.xyz"), labelled(tmp_path / "there.xyz"), strict=True):
        assert (here.calc is None) == (there.calc is None)
        if here.calc is not None:
            assert np.array_equal(here.get_forces(), there.get_forces())


def test_a_setting_of_the_engine_changes_the_label(alflow, structures, tmp_path):
    energies = []
    for temperature in (300, 5000):
        alflow("label", structures, "-o", tmp_path / "out.xyz", "--engine", "gfn2-xtb",
               "--set", f"electronic_temperature_k={temperature}")  # fmt: skip
        energies.append(labelled(tmp_path / "out.xyz")[1].get_potential_energy())
    assert energies[0] != energies[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "gaussian"], ["--engine", "dftb3", "'gaussian'"]),
        (["--set", "colour=red"], ["colour", "unknown"]),
        (["--set", "colour"], ["key=value"]),
    ],
)
def test_bad_input_is_a_sentence(alflow, structures, tmp_path, arguments, words):
    code, _, err = alflow("label", structures, "-o", tmp_path / "out.xyz", *arguments)
    assert code == 2
    for word in words:
        assert word in err


def test_a_periodic_or_missing_file_is_refused(alflow, tmp_path):
    code, _, err = alflow("label", tmp_path / "no.xyz", "-o", tmp_path / "out.xyz")
    assert code == 2
    assert "no.xyz" in err
    cell = molecule("H2O")
    cell.set_cell([5, 5, 5])
    cell.pbc = True
    ase.io.write(tmp_path / "cell.xyz", cell)
    code, _, err = alflow("label", tmp_path / "cell.xyz", "-o", tmp_path / "out.xyz")
    assert code == 2
    assert "periodic" in err
