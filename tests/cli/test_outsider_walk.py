"""A walk through every command where nothing can be written, and where there is no home, no name and no network."""

import os
import shutil
import subprocess
import sys

import pytest
import typer

from alflow.cli import app

MAIN = "from alflow.cli import main; main()"
LIMIT_S = 120


def leaves(command=None, path=()):
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        return [path]
    return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*path, name))]


def walk(run, campaign, labels):
    """Return each command with its words, and whether it works where nothing can be written."""
    model = run / "iteration-001" / "ensemble.pt"
    threads, sleep = ("-O", "kind=threads"), ("--engine", "sleep")
    return {
        ("config", "show"): ((campaign,), True),
        ("config", "schema"): ((), True),
        ("run",): ((campaign, *threads), False),
        ("status",): ((run,), True),
        ("label",): ((labels, "-o", "out.xyz", "--engine", "gfn2-xtb", "--timeout", "0"), False),
        ("plugins",): ((), True),
        ("params", "install"): (("3ob-3-1",), False),
        ("evaluate",): ((model, labels, "--figure", "a.png"), False),
        ("ledger", "check"): ((run,), True),
        ("ledger", "export"): ((run, "out.xyz"), False),
        ("ledger", "remove"): ((run, "--origin", "jitter", "--yes"), True),
        ("ledger", "import"): ((run, "mine.xyz"), False),
        ("site", "list"): ((), True),
        ("site", "show"): (("slurm",), True),
        ("site", "check"): (("local", *sleep, *threads), False),
        ("bench", "label"): (("--count", "2", "--label-seconds", "0.01", *sleep, "-O", "workers=1"), False),
        ("add",): ((campaign,), False),
        ("withdraw",): (("tiny",), False),
        ("report",): ((run,), True),
        ("reproduce",): (("fig3", "--quick", *threads), False),
    }


@pytest.fixture(scope="session")
def given(finished, tmp_path_factory):
    """Give a copy of the finished run, its campaign file, and three of its labels."""
    folder = tmp_path_factory.mktemp("walk")
    shutil.copytree(finished[0] / "runs" / "tiny", folder / "run")
    shutil.copy(finished[0] / "tiny.toml", folder / "tiny.toml")
    command = [sys.executable, "-c", MAIN, "ledger", "export", "run", "all.xyz"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    lines = (folder / "all.xyz").read_text().splitlines(keepends=True)
    (folder / "labels.xyz").write_text("".join(lines[: 3 * (int(lines[0]) + 2)]))
    return folder


@pytest.fixture
def commands(given):
    return walk(given / "run", given / "tiny.toml", given / "labels.xyz")


def is_told(code, out, err):
    """Check that a command ended well, or in sentences."""
    assert "Traceback" not in out + err
    assert code in (0, 2), err
    if code:
        assert err.splitlines()[-1].startswith("alflow: "), err
        assert sum(line.startswith("alflow: ") for line in err.splitlines()) == 1, err


def test_the_walk_passes_by_every_command(commands):
    assert set(commands) == set(leaves())


@pytest.mark.parametrize("place", ["read-only", "full"])
@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_outsider_a_working_directory_that_takes_nothing(alflow, commands, disks, monkeypatch, tmp_path, place, path):
    monkeypatch.chdir(disks[place])
    monkeypatch.setenv("ALFLOW_DATA", str(disks[place] / "data"))
    words, works = commands[path]
    code, out, err = alflow(*path, *words)
    is_told(code, out, err)
    assert (code == 0) == works, err
    assert [item.name for item in disks[place].iterdir() if item.name.startswith((".alflow", "out", "a."))] == []


POOR = """
ip link set lo up && mount --bind passwd /etc/passwd && mount --bind nsswitch /etc/nsswitch.conf
exec setpriv --bounding-set -all --inh-caps -all env -u HOME -u USER -u LOGNAME -u XDG_CACHE_HOME -u XDG_DATA_HOME \
    -u ALFLOW_DATA "$@"
"""
"""A machine without a network and a user without a home and a name; root's rights to write everywhere are given up."""


@pytest.fixture(scope="session")
def poor(tmp_path_factory):
    """Return what runs a command so."""
    folder = tmp_path_factory.mktemp("poor")
    (folder / "passwd").write_text("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
    (folder / "nsswitch").write_text("passwd: files\n")
    script = POOR.replace("passwd /", f"{folder}/passwd /").replace("nsswitch /", f"{folder}/nsswitch /")
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh"]
    probe = [*command, sys.executable, "-c", "import pathlib; pathlib.Path.home()"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if "Could not determine home" not in done.stderr:
        pytest.skip("a user without a home is made by root, with unshare, setpriv and ip")
    return command


@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_outsider_no_home_no_name_no_network(commands, poor, tmp_path, given, path):
    words, _ = commands[path]
    command = [*poor, sys.executable, "-c", MAIN, *path, *words]
    fonts = (
        {} if path == ("evaluate",) else {"MPLCONFIGDIR": str(given / "fonts")}
    )  # once without is enough: it is slow
    environment = {**os.environ, **fonts}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=False
    )
    is_told(done.returncode, done.stdout, done.stderr)
    needs = {("params", "install"), ("reproduce",), ("ledger", "import")}  # parameters, or a file that is not there
    needs |= {("add",), ("withdraw",)}  # a driver that runs
    assert (done.returncode == 2) == (path in needs), done.stderr
