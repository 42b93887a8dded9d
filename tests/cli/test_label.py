"""`alflow label`: order kept, charges read, failures marked, here and over a site alike."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from alflow.labeling.engines.sleep import fate_of
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.structures import alkane


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
    images[2].positions = molecule("H2O").positions
    ase.io.write(tmp_path / "mended.xyz", images)
    code, _, err = alflow("label", tmp_path / "mended.xyz", "-o", tmp_path / "again.xyz", "--engine", "gfn2-xtb")
    assert code == 0, err
    assert not any(key.startswith("label_failure") for image in labelled(tmp_path / "again.xyz") for key in image.info)


def test_a_site_takes_many_structures_that_the_engine_is_not_asked_for(alflow, tmp_path):
    water = molecule("H2O")
    water.positions[1] = water.positions[0]
    ase.io.write(tmp_path / "in.xyz", [water] * 7)
    site = ("--engine", "gfn2-xtb", "--site", "local", "--site-option", "kind=threads")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", *site)
    assert code == 1, err
    assert "0 labels, 7 failures" in out
    assert all(image.info["label_failure"] == "implausible-structure" for image in labelled(tmp_path / "out.xyz"))


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
        alflow("label", structures, "-o", tmp_path / "out.xyz", "--engine", "gfn2-xtb", "--overwrite",
               "--set", f"electronic_temperature_k={temperature}")  # fmt: skip
        energies.append(labelled(tmp_path / "out.xyz")[1].get_potential_energy())
    assert energies[0] != energies[1]


@pytest.mark.parametrize(
    "site",
    [(), pytest.param(("--site", "local", "--site-option", "workers=2"), marks=pytest.mark.slow)],
    ids=["here", "over a site"],
)
def test_labels_that_hang_or_crash_are_failed_frames(alflow, tmp_path, site):
    ethane = alkane(2)
    shifts = np.random.default_rng(5).uniform(-0.05, 0.05, (24, *ethane.positions[0].shape))
    images = [Atoms(ethane.numbers, ethane.positions[0] + shift) for shift in shifts]
    ase.io.write(tmp_path / "in.xyz", images, format="extxyz")
    read = [image.positions for image in ase.io.read(tmp_path / "in.xyz", ":")]
    settings = SleepSettings(seconds_per_label=0.001, hang_share=0.1, crash_share=0.2)
    due = [{"hang": "timeout", "crash": "engine-crash", "": None}[fate_of(settings, positions)] for positions in read]
    assert {"timeout", "engine-crash", None} == set(due)
    given = [word for name in ("seconds_per_label", "hang_share", "crash_share")
             for word in ("--set", f"{name}={getattr(settings, name)}")]  # fmt: skip
    code, _, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--engine", "sleep",
                          "--timeout", "1.0", *given, *site)  # fmt: skip
    assert code == 0, err
    assert [image.info.get("label_failure") for image in labelled(tmp_path / "out.xyz")] == due


@pytest.mark.slow
def test_workers_that_labels_kill_cost_those_frames_alone(alflow, tmp_path):
    ethane = alkane(2)
    shifts = np.random.default_rng(5).uniform(-0.05, 0.05, (12, *ethane.positions[0].shape))
    ase.io.write(tmp_path / "in.xyz", [Atoms(ethane.numbers, ethane.positions[0] + shift) for shift in shifts])
    read = [image.positions for image in ase.io.read(tmp_path / "in.xyz", ":")]
    settings = SleepSettings(crash_share=0.15)
    due = ["engine-crash" if fate_of(settings, positions) else None for positions in read]
    assert 1 <= due.count("engine-crash") <= 4
    options = ("workers=2", "heartbeat_seconds=1", "heartbeat_limit_seconds=5")
    site = ["--site", "local", *(word for option in options for word in ("--site-option", option))]
    code, _, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--engine", "sleep",
                          "--timeout", "0", "--set", "crash_share=0.15", *site)  # fmt: skip
    assert code == 0, err
    assert [image.info.get("label_failure") for image in labelled(tmp_path / "out.xyz")] == due


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "gaussian"], ["A label engine is one of", "dftb3", "'gaussian'"]),
        (["--set", "colour=red"], ["colour", "unknown"]),
        (["--set", "colour"], ["key=value"]),
        (["-o", "."], ["must be written somewhere", "is a folder"]),
        (["-o", "/proc/out.xyz"], ["must be written somewhere", "/proc/out.xyz"]),
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
