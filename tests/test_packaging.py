"""What is built and installed, and the files that a forge, a citation manager or a new developer reads."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shortcampaigns import SHORT

import alflow
from alflow.report.citations import METHOD

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}


def needed(requirements, seen):
    """Give the names of all packages that requirements bring, alflow's own extras included."""
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        for extra in requirement.extras or {""}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name == "alflow":
                yield from needed(PROJECT["optional-dependencies"][extra], seen)
                continue
            yield name
            yield from needed(wanted(name, extra), seen)


def wanted(name, extra):
    """Give what an installed package needs, with one of its extras."""
    for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
        marker, requirement.marker = requirement.marker, None
        if marker is None or any(marker.evaluate({"extra": chosen}) for chosen in ("", extra)):
            yield str(requirement)


def test_every_package_that_developers_get_is_pinned():
    everything = set(needed([*PROJECT["dependencies"], "alflow[dev]"], set()))
    assert {"numpy", "mkdocs-material", "griffelib", "watchdog", "pika"} <= everything
    assert everything - pinned() == {"setuptools"}  # it comes with the environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel from a copy without what the repository ignores."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_the_sites_and_the_campaigns(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "alflow = alflow.cli:main" in archive.read(entry_points).decode()
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "alflow").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    data = {
        f"alflow/data/{path.relative_to(ROOT).as_posix()}"
        for pattern in ("executors/*.py", "configs/**/*.toml")
        for path in ROOT.glob(pattern)
    }
    assert len(data) > 15
    assert names - package - data == {name for name in names if ".dist-info/" in name}
    assert package | data <= names
    assert {"alflow/py.typed", "alflow/paper/data/pull.csv"} <= names


@pytest.mark.wheel
@pytest.mark.timeout(1800)
def test_the_wheel_in_an_empty_environment_runs_the_quickstart(wheel, tmp_path):
    python, alflow_program = (tmp_path / "env" / "bin" / name for name in ("python", "alflow"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"ALFLOW_DATA": str(tmp_path / "data"), "TORCHANI_NO_WARN_EXTENSIONS": "1"}

    def run(*command):
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path / "env")
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    run(python, "-m", "pip", "check")
    overrides = [word for setting in SHORT for word in ("--set", setting)]
    said = run(alflow_program, "run", "quickstart", "--site", "local", *overrides)
    assert "The campaign ended: all 4 iterations are done." in said
    assert "The ledger is sound." in run(alflow_program, "ledger", "check", "runs/quickstart")
    sites = run(alflow_program, "site", "show", "frontier")
    assert str(tmp_path / "env") in "".join(sites.split())
    code = "import alflow; print(alflow.load_ensemble('runs/quickstart').members)"
    assert run(python, "-c", code).split() == ["3"]


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == alflow.__version__
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    where = f"{paper['journal']} {paper['year']}, {paper['volume']}, {paper['start']}-{paper['end']}"
    assert where in METHOD
    names = [
        "".join(f"{part[0]}. " for part in one["given-names"].split()) + one["family-names"] for one in paper["authors"]
    ]
    assert ", ".join(names) in METHOD


def targets():
    text = (ROOT / "Makefile").read_text()
    return set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split())


def test_make_help_says_what_each_target_does():
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines.keys() == targets()


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_a_workflow_runs_what_there_is(path):
    (job,) = yaml.safe_load(path.read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands
    chosen = job.get("strategy", {}).get("matrix", {}).get("target", [])
    assert set(chosen) <= targets()
    for command in commands:
        assert command == "make ${{ matrix.target }}" or command.split()[-1] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_hooks_before_a_commit_are_commands_that_developers_have():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    commands = [hook["entry"].split()[0] for hook in local["hooks"]]
    assert all(command.startswith(".venv/bin/") for command in commands)
    here = [Path(sys.executable).with_name(Path(command).name) for command in commands]
    assert [str(command) for command in here if not command.exists()] == []


def test_classifiers_are_those_that_exist():
    known = pytest.importorskip("trove_classifiers").classifiers
    assert set(PROJECT["classifiers"]) <= known
    assert any(line.endswith(f":: 3.{sys.version_info.minor}") for line in PROJECT["classifiers"])
