"""Every command that writes, every place that it may be told to write to: a whole file, or one sentence and code 2."""

import json
import shutil
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from places import BAD, GOOD, bad_place, good_place

from alflow.bench.measure import Interval, account
from alflow.bench.report import BenchCase, BenchReport, BenchRow
from alflow.ledger import LedgerReader
from alflow.ledger.export import export_labels

FORMS = {"extxyz": "out.xyz", "ase-db": "out.db", "torchani-h5": "out.h5", "npz": "out.npz"}


@pytest.fixture(scope="session")
def run_of(finished):
    """Give the run directory, its last ensemble, and its labels in a file."""
    folder = finished[0]
    run = folder / "runs" / "tiny"
    return SimpleNamespace(path=run, model=run / "iteration-001" / "ensemble.pt", campaign=folder / "tiny.toml")


@pytest.fixture(scope="session")
def exported(run_of, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.xyz"
    with LedgerReader.open(run_of.path / "ledger.sqlite") as ledger:
        export_labels(ledger, path)
    return path


@pytest.fixture
def labels(exported, tmp_path):
    return shutil.copy(exported, tmp_path / "labels.xyz")


@pytest.fixture
def measured(monkeypatch):
    """Let benchmarks and checks of sites find what they find at once; the cost of the real ones is others' to test."""
    counted = account([Interval("a", 0.0, 1.0, 1)], 1, 0.0, 1.0)
    row = BenchRow(BenchCase(), counted, 0, 1.0, None)
    report = BenchReport("local", {}, "sleep", 1, 0.1, 0.2, 0.01, 100.0, (row,))
    done = []
    monkeypatch.setattr("alflow.bench.label.bench_label", lambda *_, **__: done.append("bench") or report)
    return done


def checked(site, options, folder, labels, **_):
    from alflow.sitecheck.check import SiteCheck

    return SiteCheck("local", {}, {}, "sleep", 0.0, 0.0, {}, (), ())


def is_html(path):
    assert path.read_text().rstrip().endswith("</html>")


def is_png(path):
    assert path.read_bytes()[:4] == b"\x89PNG"


def is_json(path):
    json.loads(path.read_text())


def is_export(form):
    def check(path):
        if form == "extxyz":
            assert len(ase.io.read(path, ":", format="extxyz")) > 40
        elif form == "ase-db":
            assert len(ase.io.read(path, ":", format="db")) > 40
        elif form == "npz":
            assert np.load(path)["energies_0"].size > 40
        else:
            assert path.read_bytes()[1:4] == b"HDF"

    return check


OVER = "--overwrite"
COMMANDS = {
    "report": ("page.html", lambda run, labels, path: ("report", run.path, "--output", path, OVER), is_html),
    "evaluate": (
        "a.png",
        lambda run, labels, path: ("evaluate", run.model, labels, "--figure", path, "--overwrite"),
        is_png,
    ),
    "bench json": ("b.json", lambda run, labels, path: (*BENCH, "--json", path, "--figure", "here.png"), is_json),
    "bench figure": ("b.png", lambda run, labels, path: (*BENCH, "--figure", path, "--json", "here.json"), is_png),
    "site check": (
        "c.json",
        lambda run, labels, path: ("site", "check", "local", "--json", path, "--overwrite"),
        is_json,
    ),
    **{
        f"export {form}": (
            name,
            lambda run, labels, path, form=form: ("ledger", "export", run.path, path, "--format", form, "--overwrite"),
            is_export(form),
        )
        for form, name in FORMS.items()
    },
}
BENCH = ("bench", "label", "--overwrite", "--engine", "sleep", "-O", "kind=threads")


@pytest.fixture
def given(alflow, run_of, labels, measured, monkeypatch, tmp_path):
    """Return a function that runs a command with a target."""
    monkeypatch.setattr("alflow.sitecheck.check.check_site", checked)
    monkeypatch.setattr("alflow.report.report.SECTIONS", ())  # drawing them takes long, and is tested elsewhere
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(command, path):
        return alflow(*COMMANDS[command][1](run_of, labels, path))

    return run


def is_one_sentence(code, err):
    assert code == 2, err
    assert err.startswith("alflow: "), err
    assert err.count("\n") == 1, err
    assert err.rstrip().endswith("."), err


def parts_left(folder):
    return [path for path in folder.rglob("*") if ".part" in path.name or path.name.endswith(("-journal", ".lock"))]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", COMMANDS)
def test_outsider_a_target_that_cannot_be_written_is_one_sentence(given, disks, tmp_path, command, kind, measured):
    name = COMMANDS[command][0]
    path = bad_place(kind, tmp_path / "place", disks, name) if (tmp_path / "place").mkdir() is None else None
    before = path.stat().st_ino if kind == "a full device" else None
    code, out, err = given(command, path)
    is_one_sentence(code, err)
    assert "must be written somewhere" in err
    assert ("E MAE eV" in out) == (command == "evaluate")  # what was computed is told all the same
    if not kind.startswith(("a full device", "a pipe")):
        assert measured == []  # before it costs anything
    assert [part for folder in (tmp_path, *disks.values()) for part in parts_left(folder)] == []
    if before is not None:
        assert path.stat().st_ino == before
    if kind == "a folder of that name":
        assert [item.name for item in path.iterdir()] == ["inside"]


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("command", COMMANDS)
def test_outsider_a_target_of_any_name_is_written_whole(given, tmp_path, command, kind):
    name, _, is_whole = COMMANDS[command]
    (tmp_path / "place").mkdir()
    path = good_place(kind, tmp_path / "place", name)
    link = path.is_symlink()
    code, out, err = given(command, path)
    assert code == 0, err
    is_whole(path)
    assert path.is_symlink() == link
    assert parts_left(tmp_path) == []
    assert "\x1b" not in out
    if kind == "markup":
        assert str(path) in out


@pytest.mark.parametrize("command", COMMANDS)
def test_outsider_a_file_that_is_named_and_there_is_not_written_over_unasked(
    alflow, given, run_of, labels, tmp_path, command, measured
):
    path = tmp_path / COMMANDS[command][0]
    path.write_text("mine")
    words = COMMANDS[command][1](run_of, labels, path)
    code, _, err = alflow(*(word for word in words if word != OVER))
    is_one_sentence(code, err)
    assert f"{path} exists" in err
    assert path.read_text() == "mine"
    assert measured == []
    assert given(command, path)[0] == 0
    COMMANDS[command][2](path)
