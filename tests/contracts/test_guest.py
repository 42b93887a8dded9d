"""A distribution of its own brings an engine, a potential, a coordinate and a format, and runs a campaign with them."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from guests import GUEST, installed

from alflow.config import plugins
from alflow.config.load import validate_campaign
from alflow.errors import ConfigError, PluginError

CAMPAIGN = """
name = "guest"
iterations = 2
system.carbons = [2]
labels.engine = "morse"
labels.settings.depth_ev = 0.8
first_data.segment_steps = 20
first_data.md = {temperature_k = 300.0, steps = 40}
split.members = 2
potential.kind = "pairs"
potential.pairs.gaussians = 8
selection = {first_steps = 20, cap = 4, windows = 3, similarity_energy_ev = 0.0}

[sampling]
coordinate = "radius"
coordinate_settings.rate_angstrom_per_ps = 10.0
relax = {langevin_steps = 20, berendsen_steps = 20}
pull = {steps = 60, segment_steps = 20}
"""


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """Install the guest into a folder."""
    source, target = tmp_path_factory.mktemp("guest") / "source", tmp_path_factory.mktemp("site-packages")
    shutil.copytree(GUEST, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


def run(folder, path, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", "from alflow.cli import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_guest_s_campaign_runs(site_packages, tmp_path):
    (tmp_path / "guest.toml").write_text(CAMPAIGN)
    done = run(tmp_path, site_packages, "run", "guest.toml", "--site", "local", "-O", "workers=2", "-d", "run")
    assert done.returncode == 0, done.stderr
    resolved = tomllib.loads((tmp_path / "run" / "campaign.toml").read_text())
    assert resolved["potential"]["pairs"] == {"gaussians": 8, "regularisation": 1e-6}
    assert resolved["labels"]["settings"]["depth_ev"] == 0.8
    assert "P. M. Morse" in (tmp_path / "run" / "report.html").read_text()
    packages = (tmp_path / "run" / "environment.json").read_text()
    assert '"alflow-guest": "1.0"' in packages
    again = run(tmp_path, site_packages, "run", "guest.toml", "--site", "local", "-d", "run")
    assert again.returncode == 0
    out = run(tmp_path, site_packages, "ledger", "export", "run", "labels.table")
    assert "labels written" in out.stdout, out.stderr
    ensemble = tmp_path / "run" / "iteration-001" / "ensemble.pt"
    assert "member 1" in run(tmp_path, site_packages, "evaluate", ensemble, "labels.table").stdout


def test_guests_are_listed_with_where_they_come_from(site_packages, tmp_path):
    listed = run(tmp_path, site_packages, "plugins").stdout
    lines = [" ".join(line.split()) for line in listed.splitlines()]
    assert any("label engine morse alflow-guest 1.0 yes" in line for line in lines)
    assert any("absent alflow-guest 1.0 no: " in line and "a_library_that_nobody_has" in line for line in lines)
    assert any("potential ani alflow" in line and line.endswith("yes") for line in lines)
    schema = run(tmp_path, site_packages, "config", "schema").stdout
    assert "MorseSettings" in schema or "Depth of a bond" in schema


@pytest.fixture
def two_of_one_name(tmp_path, monkeypatch):
    """Install a second distribution that offers a name of alflow's own."""
    other = installed(tmp_path / "a")
    metadata = tmp_path / "b" / "other-2.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (metadata / "entry_points.txt").write_text("[alflow.engines]\nmorse = alflow_guest.engine:KIND\n")
    for path in (GUEST, other, tmp_path / "b"):
        monkeypatch.syspath_prepend(str(path))
    caches = (plugins.plugins, plugins.find)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_two_of_one_name_are_refused_and_both_named(two_of_one_name):
    with pytest.raises(PluginError, match=r"'morse' is offered by alflow-guest 1\.0 .* and other 2\.0"):
        plugins.find(plugins.ENGINES, "morse")
    assert plugins.find(plugins.ENGINES, "sleep")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"engine": "dftb"}}, ["labels.engine", "Did you mean dftb3"]),
        ({"potential": {"kind": "anni"}}, ["potential", "one of ani", "Did you mean ani"]),
        ({"potential": {"schnet": {"epoch": 1}}}, ["potential.schnet.epoch", "did you mean epochs"]),
        ({"sampling": {"coordinate": "distanse"}}, ["sampling.coordinate", "Did you mean distance"]),
        ({"labels": {"engine": "sleep", "settings": {"sed": 1}}}, ["labels.settings.sed", "did you mean seed"]),
    ],
)
def test_names_and_keys_that_are_none_are_told_with_what_is_close(changes, words):
    with pytest.raises(ConfigError) as caught:
        validate_campaign({"name": "x", **changes}, "here")
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_kind_that_is_broken_spoils_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "broken-1.0.dist-info"
    path.mkdir()
    (path / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (path / "entry_points.txt").write_text("[alflow.potentials]\nbroken = nowhere.at.all:KIND\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.plugins.cache_clear()
    plugins.find.cache_clear()
    try:
        assert validate_campaign({"name": "x"}, "here").potential.kind == "ani"
        with pytest.raises(ConfigError, match=r"'broken' of broken 1\.0 .* cannot be imported: ModuleNotFoundError"):
            validate_campaign({"name": "x", "potential": {"kind": "broken"}}, "here")
    finally:
        plugins.plugins.cache_clear()
        plugins.find.cache_clear()


def test_the_guest_s_files_are_all_that_a_guest_needs():
    assert {path.name for path in Path(GUEST, "alflow_guest").glob("*.py")} == {
        "__init__.py",
        "absent.py",
        "coordinate.py",
        "engine.py",
        "potential.py",
        "table.py",
    }
