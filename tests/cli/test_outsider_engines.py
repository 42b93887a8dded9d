"""`alflow label` with other people's programs and broken parameters: the right label or one failed frame."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from alflow.labeling.engines.sleep import pair_model
from alflow.structures import alkane

CALCULATORS = Path(__file__).parent.parent / "support"
ETHANE = alkane(2)
PCL3 = np.array([[0.0, 0, 0], [1.20503097, 1.20503097, -1.08452788], [-1.20503097, 1.20503097, -1.08452788],
                 [0.0, -1.69918052, -1.09233033]])  # fmt: skip
"""Bonds of 2.02 Å."""


@pytest.fixture
def calculators(tmp_path, monkeypatch) -> Path:
    """Make the calculators importable in workers, and return the temporary folder that they have."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PYTHONPATH", f"{CALCULATORS}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(CALCULATORS)
    return tmp_path / "tmp"


def write_ethanes(path: Path, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    structures = [ETHANE.positions[0] + rng.uniform(-0.05, 0.05, ETHANE.positions[0].shape) for _ in range(count)]
    ase.io.write(path, [Atoms(ETHANE.numbers, positions) for positions in structures], format="extxyz")
    return [image.positions for image in ase.io.read(path, ":")]


@pytest.mark.parametrize(("kind", "workers"), [("threads", 8), ("processes", 2), ("processes", 8)])
def test_outsider_program_that_writes_files_is_farmed_over_workers(
    alflow, calculators, tmp_path, kind, workers
) -> None:
    structures = write_ethanes(tmp_path / "in.xyz", 16)
    site = ("--site", "local", "--site-option", f"kind={kind}", "--site-option", f"workers={workers}")
    engine = ("--engine", "ase", "--set", "calculator=misbehaving.WritesFiles")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", *engine, *site)
    assert code == 0, err
    assert "16 labels, 0 failures" in out
    found = [image.get_potential_energy() for image in ase.io.read(tmp_path / "out.xyz", ":")]
    assert found == pytest.approx([pair_model(ETHANE.numbers, positions)[0] for positions in structures], abs=1e-6)
    assert not list(tmp_path.rglob("in.npy"))


@pytest.mark.parametrize("way", ["forces of one atom less", "energy None", "raises with several lines", "os._exit"])
def test_outsider_one_bad_answer_is_one_failed_frame(alflow, calculators, tmp_path, way) -> None:
    from misbehaving import STEP_ANGSTROM, WAYS

    images = []
    for index in (-1, list(WAYS).index(way), -1):
        positions = ETHANE.positions[0] - ETHANE.positions[0, 0]
        positions[0, 0] = (index + 1) * STEP_ANGSTROM
        images.append(Atoms(ETHANE.numbers, positions))
    ase.io.write(tmp_path / "in.xyz", images, format="extxyz")
    engine = ("--engine", "ase", "--set", "calculator=misbehaving.Misbehaving")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", *engine)
    assert code == 0, err
    assert "2 labels, 1 failures" in out
    assert f"1 {WAYS[way][0]}" in out
    assert "Traceback" not in out + err


def test_outsider_pcl3_is_labelled_where_its_parameters_join(alflow, tmp_path) -> None:
    structures = [PCL3 * factor for factor in (1.0, 2.04 / 2.02, 2.08 / 2.02)]
    ase.io.write(tmp_path / "in.xyz", [Atoms([15, 17, 17, 17], x) for x in structures], format="extxyz")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz")
    assert code == 0, err
    assert "2 labels, 1 failures" in out
    assert "1 bad-parameters" in out
    images = ase.io.read(tmp_path / "out.xyz", ":")
    assert [image.get_potential_energy() for image in images[1:]] == pytest.approx([-308.0190, -308.2092], abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["calculator=misbehaving.NoSuch"], "cannot be imported"),
        (["calculator=misbehaving.leave_a_child"], "follows ASE's interface"),
        (["calculator=misbehaving.WritesFiles", "scratch_dir=here"], "scratch_dir"),
        (["calculator=misbehaving.WritesFiles", "scratch_dir=/proc/nowhere"], "needs a folder to work in"),
        (["calculator=misbehaving.WritesFiles", "kept_failures=-1"], "kept_failures"),
        (["calculator=misbehaving.WritesFiles", 'arguments={directory="/tmp/x"}'], "a folder inside it"),
        (["calculator=ase.calculators.tip3p.TIP3P", "arguments={nonsense=1}"], "refused"),
    ],
)
def test_outsider_settings_of_a_program_that_cannot_be_are_a_sentence(
    alflow, calculators, tmp_path, monkeypatch, settings, words
) -> None:
    monkeypatch.setenv("CHILDREN", str(tmp_path / "children"))
    write_ethanes(tmp_path / "in.xyz", 1)
    pairs = [word for setting in settings for word in ("--set", setting)]
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--engine", "ase", *pairs)
    said = " ".join((out + err).split())
    assert code == 2, said
    assert words in said
    assert "Traceback" not in said


def test_outsider_ions_and_radicals_of_one_file_are_labelled_by_one_calculator(alflow, calculators, tmp_path) -> None:
    images = [Atoms(ETHANE.numbers, ETHANE.positions[0]) for _ in range(4)]
    states = [(0, 1), (1, 2), (0, 3), (-2, 1)]
    for image, (charge, multiplicity) in zip(images, states, strict=True):
        image.info |= {"charge": charge, "multiplicity": multiplicity}
    ase.io.write(tmp_path / "in.xyz", images, format="extxyz")
    engine = ("--engine", "ase", "--set", "calculator=ions.Ion")
    names = ("--set", "charge_argument=charge", "--set", "multiplicity_argument=mult")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", *engine, *names)
    assert code == 0, err
    assert "4 labels, 0 failures" in out
    labelled = ase.io.read(tmp_path / "out.xyz", ":")
    plain = pair_model(ETHANE.numbers, labelled[0].positions)[0]
    expected = [plain + charge + 0.1 * (multiplicity - 1) for charge, multiplicity in states]
    assert [image.get_potential_energy() for image in labelled] == pytest.approx(expected, abs=1e-6)
    assert [image.info["charge"] for image in labelled] == [charge for charge, _ in states]
    assert labelled[2].info["multiplicity"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["charge_argument=charge", "arguments={charge=1}"], "cannot have one: it has the value 1 already"),
        (["multiplicity_argument=dft.mult", "arguments={dft='b3lyp'}"], "and no table"),
        (["version_command=['no-such-program']"], "no-such-program cannot be started"),
        (["version_command=['false']"], "exit code 1"),
        (["magmoms={Xx=1}"], "'Xx' is none"),
        (["box_periodic=true"], "box_periodic needs box_angstrom"),
    ],
)
def test_outsider_settings_that_cannot_be_end_with_a_sentence(alflow, calculators, tmp_path, words, message) -> None:
    write_ethanes(tmp_path / "in.xyz", 1)
    given = [word for setting in ["calculator=ions.Ion", *words] for word in ("--set", setting)]
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--engine", "ase", *given)
    assert code == 2, out + err
    assert message in " ".join((out + err).split())
    assert "Traceback" not in out + err
    assert not (tmp_path / "out.xyz").exists()
