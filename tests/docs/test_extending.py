"""The distributions on the pages of docs/extending are installed as they stand there, and do what the pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import ase.io
import numpy as np
import pytest
from docpages import ROOT, blocks

from alflow.config import plugins
from alflow.errors import AlflowError
from alflow.farm.queue import require_theory
from alflow.types import LabelBatch, Labels
from alflow.workers.reply import LabelReply
from alflow.workers.result import Report

PAGES = {
    "engine": "lennard-jones",
    "potential": "gaussians",
    "coordinate": "centres",
    "format": "n2p2",
}
"""Each page, and the name that its distribution offers."""
FOLDER = ROOT / "docs" / "extending"


def project(page):
    """Return the pyproject.toml of a page, and the text of its one module."""
    found = blocks(FOLDER / f"{page}.md")
    (toml,) = [block.text for block in found if block.language == "toml"]
    (module,) = [block.text for block in found if block.language == "python"]
    return toml, module


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """Install the four distributions into a folder."""
    sources, target = [], tmp_path_factory.mktemp("site-packages")
    for page in PAGES:
        toml, module = project(page)
        settings = tomllib.loads(toml)
        folder = tmp_path_factory.mktemp("sources") / settings["project"]["name"]
        folder.mkdir()
        (folder / "pyproject.toml").write_text(toml)
        (name,) = settings["tool"]["setuptools"]["py-modules"]
        (folder / f"{name}.py").write_text(module)
        sources.append(str(folder))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), *sources], check=True, capture_output=True)
    return target


def run(site_packages, folder, *words):
    """Run Python with the distributions on its path; return what it printed."""
    paths = [str(site_packages), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alflow(site_packages, folder, *words):
    """Run a command of alflow with the distributions installed."""
    return run(site_packages, folder, "-c", "from alflow.cli import main; main()", *words)


def commands(page):
    """Yield the words of the commands of a page that need its distribution."""
    for block in blocks(FOLDER / f"{page}.md"):
        if block.language == "sh" and block.excuse is not None:
            yield from (words[1:] for words in block.commands())


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_each_page_holds_the_contract_of_its_kind(site_packages):
    chosen = " or ".join(PAGES.values())
    out = run(site_packages, ROOT, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contracts", "-k", chosen)
    passed = int(out.split(" passed")[0].split()[-1])
    assert passed >= 25, out
    assert "skipped" not in out


def test_plugins_are_listed_as_the_pages_say(site_packages, tmp_path):
    listed = squeezed(alflow(site_packages, tmp_path, "plugins"))
    for page in ("index", *PAGES):
        (shown,) = [
            block.text for block in blocks(FOLDER / f"{page}.md") if block.language == "text" and " yes" in block.text
        ]
        assert [line for line in squeezed(shown) if line not in listed] == [], page


def test_a_campaign_with_all_four_runs(site_packages, tmp_path):
    (campaign,) = [
        block.text for block in blocks(FOLDER / "index.md") if block.language == "toml" and "iterations" in block.text
    ]
    (tmp_path / "centres.toml").write_text(campaign)
    outs = [alflow(site_packages, tmp_path, *words) for words in commands("index")]
    assert "The campaign ended: all 2 iterations are done" in outs[0]
    assert "member 1" in outs[-1]
    resolved = tomllib.loads((tmp_path / "runs" / "centres" / "campaign.toml").read_text())
    assert resolved["potential"]["gaussians"] == {"count": 16, "ridge": 1e-6}
    assert resolved["sampling"]["coordinate_settings"]["second"] == [1]
    assert "J. E. Jones" in (tmp_path / "runs" / "centres" / "report.html").read_text()
    assert '"alflow-lj": "1.0"' in (tmp_path / "runs" / "centres" / "environment.json").read_text()


def test_the_engine_labels(site_packages, desk, tmp_path):
    (tmp_path / "frames.xyz").write_bytes((desk.folder / "frames.xyz").read_bytes())
    for words in commands("engine"):
        alflow(site_packages, tmp_path, *words)
    assert ase.io.read(tmp_path / "labelled.xyz").get_potential_energy() != 0.0


def test_the_format_goes_out_and_comes_back(site_packages, desk, tmp_path):
    Path(tmp_path / "runs").symlink_to(desk.folder / "runs")
    outs = [alflow(site_packages, tmp_path, *words) for words in commands("format")]
    assert "labels written" in outs[0]
    assert "0 new" in outs[1] or "known" in outs[1], outs[1]


@pytest.fixture(scope="module")
def sentences():
    """Return the sentences of the table "What goes wrong"; three points stand for what is left out."""
    rows = (FOLDER / "index.md").read_text().split("## What goes wrong")[1].split("\n## ")[0].splitlines()
    cells = [row.split("|")[2].strip() for row in rows if row.startswith("| ")]
    return [cell.split("`")[1] for cell in cells if cell.startswith("`")]


def test_what_goes_wrong_is_said_as_the_page_says(sentences, monkeypatch):
    offered = [
        plugins.Plugin(plugins.ENGINES, "lennard-jones", "alflow_lj:KIND", "alflow-lj 1.0"),
        plugins.Plugin(plugins.ENGINES, "lennard-jones", "other:KIND", "other 2.0"),
    ]
    kind = plugins.find(plugins.POTENTIALS, "schnet")
    monkeypatch.setattr(type(kind), "missing", lambda _: ("torch_geometric",))
    own = plugins.plugins
    reply = LabelReply(LabelBatch(np.empty(0), Labels(np.empty(0), np.empty(0)), (), np.empty(0), np.empty(0)), "a")

    def two_of_one_name():
        monkeypatch.setattr(plugins, "plugins", lambda _: tuple(offered))
        try:
            plugins.find.__wrapped__(plugins.ENGINES, "lennard-jones")
        finally:
            monkeypatch.setattr(plugins, "plugins", own)

    causes = [
        lambda: plugins.find(plugins.ENGINES, "dftb"),
        offered[0].load,
        two_of_one_name,
        lambda: plugins.find_installed(plugins.POTENTIALS, "schnet"),
        lambda: require_theory(reply, "b", Report("host", 1, 0.0, 0.0)),
    ]
    assert len(sentences) == len(causes)
    for sentence, cause in zip(sentences, causes, strict=True):
        with pytest.raises(AlflowError) as caught:
            cause()
        pattern = re.escape(sentence).replace(r"\.\.\.", ".*")
        assert re.fullmatch(pattern, str(caught.value)), f"{sentence}\n{caught.value}"
