"""Every command that works in a folder, in every folder that it cannot work in: one sentence and code 2."""

import contextlib
import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest
from places import BAD, bad_place, fill, mounted, read_only

from alflow.dftb import parameters
from alflow.dftb.parameters import Record
from alflow.ledger import LedgerReader

NO_FOLDERS = [kind for kind in BAD if kind != "a folder of that name"]
SLEEP = ("--engine", "sleep", "-O", "kind=threads")
COMMANDS = {
    "run": lambda campaign, folder: ("run", campaign, "--run-dir", folder, "-O", "kind=threads"),
    "reproduce": lambda campaign, folder: ("reproduce", "fig3", "--quick", "--run-dir", folder, "-O", "kind=threads"),
    "bench": lambda campaign, folder: ("bench", "label", "--run-dir", folder, "--count", "2", *SLEEP),
    "site check": lambda campaign, folder: ("site", "check", "local", "--run-dir", folder, *SLEEP),
    "params install": lambda campaign, folder: ("params", "install", "3ob-3-1", "--from", "source"),
}


@pytest.fixture
def mini_set(monkeypatch, tmp_path):
    """Let the set of parameters be one small file."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "H-H.skf").write_text("1 2 3")
    record = Record("none==0", "", "", {"H-H.skf": hashlib.sha256(b"1 2 3").hexdigest()})
    monkeypatch.setattr(parameters, "recorded", lambda _: record)
    monkeypatch.setattr(parameters, "told_flaws", lambda *_: [])  # it is no set that could have any


@pytest.mark.parametrize("kind", NO_FOLDERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_outsider_a_folder_that_cannot_be_worked_in_is_one_sentence(
    alflow, tiny_file, disks, mini_set, monkeypatch, tmp_path, command, kind
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "place").mkdir()
    folder = bad_place(kind, tmp_path / "place", disks, f"of-{command.split()[0]}")
    monkeypatch.setenv("ALFLOW_DATA", str(folder))
    code, out, err = alflow(*COMMANDS[command](tiny_file, folder))
    assert code == 2, (out, err)
    assert err.startswith("alflow: "), err
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err


def test_outsider_parameters_are_installed_where_the_folder_can_be_made(alflow, mini_set, monkeypatch, tmp_path):
    monkeypatch.setenv("ALFLOW_DATA", str(tmp_path / "not" / "there"))
    code, out, err = alflow("params", "install", "3ob-3-1", "--from", "source")
    assert code == 0, err
    folder = tmp_path / "not" / "there" / "parameters" / "3ob-3-1"
    assert str(folder) in out
    assert [item.name for item in folder.iterdir()] == ["H-H.skf"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("place", ["read-only", "full"])
@pytest.mark.parametrize("command", ["bench", "site check"])
def test_outsider_a_working_directory_that_cannot_be_written_is_one_sentence(
    alflow, disks, monkeypatch, tmp_path, command, place
):
    monkeypatch.chdir(disks[place])
    before = sorted(disks[place].iterdir())
    words = COMMANDS[command](None, "")
    at = words.index("--run-dir")
    outputs = ("--json", tmp_path / "a.json", *(("--figure", tmp_path / "a.png") if command == "bench" else ()))
    code, out, err = alflow(*words[:at], *words[at + 2 :], *outputs)
    assert code == 2, (out, err)
    assert err.count("\n") == 1, err
    assert "Logs must be written somewhere" in err
    assert sorted(disks[place].iterdir()) == before


@pytest.fixture
def struck(finished, tmp_path):
    """Give a function that puts the finished run on a disk, lets no more be written to it, and gives it to a block."""
    run = finished[0] / "runs" / "tiny"

    @contextlib.contextmanager
    def place(kind):
        with mounted(tmp_path / "disk", "size=16m") as disk:
            shutil.copytree(run, disk / "run")
            if kind == "full":
                fill(disk)
            else:
                read_only(disk)
            yield SimpleNamespace(path=disk / "run", before=run)

    return place


@pytest.mark.usefixtures("disks")
@pytest.mark.parametrize("kind", ["read-only", "full"])
@pytest.mark.parametrize("command", ["report", "ledger import", "run"])
def test_outsider_a_run_that_cannot_be_written_is_one_sentence_and_stays_whole(
    alflow, finished, struck, kind, command, tmp_path
):
    assert alflow("ledger", "export", finished[0] / "runs" / "tiny", tmp_path / "mine.xyz")[0] == 0
    more = (tmp_path / "mine.xyz").read_text().replace("-0.", "-1.")
    (tmp_path / "mine.xyz").write_text(more)
    with struck(kind) as run:
        words = {
            "report": ("report", run.path),
            "ledger import": ("ledger", "import", run.path, tmp_path / "mine.xyz"),
            "run": (
                "run",
                finished[0] / "tiny.toml",
                "--run-dir",
                run.path,
                "-O",
                "kind=threads",
                "--set",
                "iterations=3",
            ),
        }[command]
        code, out, err = alflow(*words)
        assert code == 2, (out, err)
        assert err.startswith("alflow: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in out + err
        with (
            LedgerReader.open(run.path / "ledger.sqlite") as after,
            LedgerReader.open(run.before / "ledger.sqlite") as before,
        ):
            assert after.digest() == before.digest()
        assert json.loads((run.path / "status.json").read_text())["state"] == "finished"


@pytest.mark.usefixtures("disks")
@pytest.mark.parametrize("kind", ["read-only", "full"])
def test_outsider_a_run_that_cannot_be_written_can_be_read(alflow, struck, kind, tmp_path):
    with struck(kind) as run:
        for words in (
            ("status", run.path),
            ("ledger", "check", run.path),
            ("ledger", "export", run.path, tmp_path / "a.xyz"),
            ("report", run.path, "--output", tmp_path / "page.html"),
            ("config", "show", run.path / "campaign.toml"),
            ("evaluate", run.path / "iteration-001" / "ensemble.pt", tmp_path / "a.xyz"),
        ):
            code, _, err = alflow(*words)
            assert code == 0, err
