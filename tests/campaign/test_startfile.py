"""A project that is moved, copied, renamed or loses its structure file goes on; one whose molecule changed does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from tinycampaign import TINY

from alflow.campaign.plan import make_plan
from alflow.campaign.startfile import started_from
from alflow.config.load import load_campaign, validate_campaign
from alflow.errors import ConfigError, RunError
from alflow.ledger import LedgerReader
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events
from alflow.structures import alkane

CAMPAIGN = TINY.replace("carbons = [2]", 'structure = "ethane.xyz"').replace("iterations = 2", "iterations = 1")


def run(folder, *arguments):
    command = [sys.executable, "-c", "from alflow.cli import main; main()", "run", "tiny.toml", "-o", "kind=threads"]
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, env=os.environ, check=False
    )


def write_structure(path, shift=0.0):
    frames = alkane(2)
    positions = frames.positions[0].copy()
    positions[0, 0] += shift
    ase.io.write(path, Atoms(frames.numbers, positions), format="xyz")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project folder whose campaign did its first iteration."""
    folder = tmp_path_factory.mktemp("first") / "project"
    folder.mkdir()
    (folder / "tiny.toml").write_text(CAMPAIGN)
    write_structure(folder / "ethane.xyz")
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def undisturbed(project, tmp_path_factory):
    """Return what two iterations give where nothing was moved."""
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(project, folder)
    assert run(folder, "--set", "iterations=2").returncode == 0
    return outcome(folder)


def outcome(folder):
    found = RunDirectory(folder / "runs" / "tiny")
    with LedgerReader.open(found.ledger) as ledger:
        return [record.barrier_ev.values for record in found.records()], ledger.digest()


def moved(project, tmp_path):
    folder = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(project, folder)
    return folder


def rename(folder):
    (folder / "ethane.xyz").rename(folder / "start.xyz")
    text = (folder / "tiny.toml").read_text()
    (folder / "tiny.toml").write_text(text.replace("ethane.xyz", "start.xyz"))


def lose(folder):
    (folder / "ethane.xyz").unlink()


def forget_copy_and_rename(folder):
    """Make a run directory as it was before runs kept a copy, and give the file another name."""
    shutil.rmtree(folder / "runs" / "tiny" / "structure")
    rename(folder)


def garble_copy(folder):
    (folder / "runs" / "tiny" / "structure" / "ethane.xyz").write_text("")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("change", [lambda _: None, rename, lose, forget_copy_and_rename, garble_copy])
def test_outsider_a_moved_project_goes_on_to_the_same_bits(project, undisturbed, tmp_path, change):
    folder = moved(project, tmp_path)
    change(folder)
    before = len([1 for event in read_events(folder / "runs/tiny/events.jsonl") if event["what"] == "md-segment"])
    done = run(folder, "--set", "iterations=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome(folder) == undisturbed
    events = list(read_events(folder / "runs" / "tiny" / "events.jsonl"))
    assert len([1 for event in events if event["what"] == "md-segment"]) == before > 0
    kept = list((folder / "runs" / "tiny" / "structure").iterdir())
    assert [path.name for path in kept] == ["ethane.xyz"]
    assert len(ase.io.read(kept[0])) == 8
    if change is lose:
        assert "the run goes on from its own copy" in done.stdout


def test_outsider_a_structure_that_was_edited_is_refused(project, tmp_path):
    folder = moved(project, tmp_path)
    write_structure(folder / "ethane.xyz", shift=0.01)
    done = run(folder, "--set", "iterations=2")
    assert done.returncode == 2
    assert "made with another molecule" in done.stderr
    assert "Traceback" not in done.stderr


def test_outsider_a_structure_lost_with_its_copy_is_a_sentence(project, tmp_path):
    folder = moved(project, tmp_path)
    lose(folder)
    garble_copy(folder)
    done = run(folder, "--set", "iterations=2")
    assert done.returncode == 2
    assert "keeps a copy of the structure file" in done.stderr
    assert "damaged" in done.stderr
    write_structure(folder / "runs" / "tiny" / "structure" / "ethane.xyz", shift=0.5)
    assert "is damaged" in run(folder, "--set", "iterations=2").stderr


def test_outsider_what_looks_at_a_moved_run_needs_no_structure_file(project, tmp_path, alflow, monkeypatch):
    folder = moved(project, tmp_path)
    lose(folder)
    monkeypatch.chdir(folder)
    for words in (("report", "runs/tiny"), ("ledger", "check", "runs/tiny"), ("status", "runs/tiny")):
        code, out, err = alflow(*words)
        assert code == 0, err
        assert "could not be made" not in out
    assert "This section could not be made" not in (folder / "runs" / "tiny" / "report.html").read_text()
    code, out, _ = alflow("run", "tiny.toml", "--dry-run", "-o", "kind=threads", "--set", "iterations=2")
    assert code == 0
    assert "goes on from its own copy" in " ".join(out.split())


def test_the_copy_names_the_molecule(project):
    settings = RunDirectory(project / "runs" / "tiny").settings()
    assert settings.system.structure == str(project / "runs" / "tiny" / "structure" / "ethane.xyz")
    assert [molecule.name for molecule in make_plan(settings).molecules] == ["ethane"]
    assert (
        make_plan(settings).fingerprint
        == make_plan(load_campaign(project / "tiny.toml", [f'system.structure="{project / "ethane.xyz"}"'])).fingerprint
    )


def test_a_new_run_starts_from_what_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_structure(tmp_path / "ethane.xyz")
    settings = validate_campaign({"name": "x", "system": {"structure": "ethane.xyz"}}, "x")
    new = RunDirectory(tmp_path / "runs")
    assert started_from(new, settings) == settings
    new.path.mkdir()
    new.open(settings, {"molecule": make_plan(settings).fingerprint})
    assert started_from(new, settings).system.structure == str(tmp_path / "runs" / "structure" / "ethane.xyz")
    with pytest.raises(RunError, match=r"system\.carbons"):
        new.open(validate_campaign({"name": "x", "system": {"carbons": [2]}}, "x"))


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("dftb+", "dftb+"),
        ("dftb+ --fast x", "dftb+ --fast x"),
        ("./bin/dftb+", "{here}/bin/dftb+"),
        ("bin/dftb+ -x script.py none.py", "{here}/bin/dftb+ -x script.py none.py"),
        ("python ./script.py", "python {here}/script.py"),
        ("/opt/dftb+ 'a b'", "/opt/dftb+ 'a b'"),
        ("~/bin/dftb+", "{home}/bin/dftb+"),
    ],
)
def test_outsider_a_relative_command_is_found_from_anywhere(given, absolute, tmp_path, monkeypatch):
    from alflow.labeling.kinds.dftb import DFTBPlusSettings

    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").touch()
    expected = absolute.format(here=tmp_path, home=Path.home())
    settings = DFTBPlusSettings(command=given)
    assert settings.command == expected
    assert DFTBPlusSettings.model_validate(settings.model_dump()) == settings


def test_outsider_a_relative_folder_of_parameters_is_found_from_anywhere(tmp_path, monkeypatch):
    from alflow.dftb.parameters import locate
    from alflow.labeling.engines.dftb3 import DFTB3Engine
    from alflow.labeling.kinds.dftb import DFTB3Settings

    shutil.copytree(locate("3ob-3-1"), tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    settings = DFTB3Settings(parameters_dir="own")
    theory = DFTB3Engine(settings).theory
    monkeypatch.chdir("/")
    again = DFTB3Engine(DFTB3Settings.model_validate(settings.model_dump(mode="json")))
    assert again.theory == theory == DFTB3Engine(DFTB3Settings()).theory
    assert settings.parameters_dir == str(tmp_path / "own")


@pytest.mark.parametrize(
    ("engine", "name", "value", "words"),
    [
        ("dftbplus", "command", "'open", "a command is written as in a shell"),
        ("dftbplus", "command", "", "a command names a program"),
        ("dftbplus", "command", "~nobody-of-this-name/dftb+", "names a home that there is"),
        ("dftb3", "parameters_dir", "~nobody-of-this-name/own", "names a home that there is"),
    ],
)
def test_outsider_paths_that_lead_nowhere_are_a_sentence(engine, name, value, words):
    with pytest.raises(ConfigError, match=words):
        validate_campaign({"name": "x", "labels": {"engine": engine, "settings": {name: value}}}, "x")
