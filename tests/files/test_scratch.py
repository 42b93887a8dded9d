"""Temporary folders of long and odd names, as batch systems and people set them."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from alflow.files.scratch import PLACES, is_plain, plain_scratch
from alflow.sampling.lammps import Simulation
from alflow.types import Composition

ODD = ["a b", 'quo"ted', "$x", "%", "star*", "#", "'", "ü", "l" * 150]


@pytest.fixture(params=ODD)
def odd_folder(request, tmp_path, monkeypatch):
    folder = tmp_path / request.param
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(folder)
    return folder


def test_a_plain_folder_is_used_as_it_is(monkeypatch, tmp_path_factory):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert plain_scratch() == folder


def test_outsider_another_place_is_taken_for_an_odd_one(odd_folder):
    assert plain_scratch() in PLACES
    assert is_plain(plain_scratch())


def test_outsider_lammps_goes_on_from_its_record_with_any_temporary_folder(odd_folder):
    numbers = np.array([6, 6])
    with Simulation(numbers, 0.5) as simulation:
        record = simulation.restart_record()
    with Simulation(numbers, 0.5, restart=record) as simulation:
        assert simulation.arrays()[0].shape == (2, 3)
    assert list(odd_folder.iterdir()) == []


def test_without_any_place_it_is_a_sentence(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OSError, match="name another by TMPDIR"):
        plain_scratch()


def test_outsider_dftbplus_takes_parameters_from_a_folder_of_any_name(tmp_path):
    from alflow.dftb.parameter_sets import THREE_OB
    from alflow.labeling.engines import dftbplus
    from alflow.labeling.kinds.dftb import DFTBPlusSettings

    folder = tmp_path / ('it\'s "mine" ' + "l" * 200)
    folder.mkdir()
    (folder / "C-C.skf").write_text("")
    engine = dftbplus.DFTBPlusEngine(DFTBPlusSettings(command="true", parameters_dir=str(folder)))
    from ase import Atoms

    server = engine._launch(Atoms("CC", [[0, 0, 0], [0, 0, 1.5]]), Composition(np.array([6, 6])))
    try:
        text = (Path(server.folder) / "dftb_in.hsd").read_text()
        assert 'Prefix = "parameters/"' in text
        assert (Path(server.folder) / "parameters" / "C-C.skf").exists()
        assert THREE_OB.symbols[6] in text
    finally:
        server.close()
    assert (folder / "C-C.skf").exists()
