"""How commands end: a full or closed output, Ctrl-C, an encoding that lacks signs, a mistake of alflow's."""

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from alflow.cli import app
from alflow.cli.ending import ending_of
from alflow.errors import CampaignError, InputError

MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from alflow.cli import main; main()"
COMMAND = [sys.executable, "-c", MAIN]


def leaves(command=None, path=()):
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        return [path]
    return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*path, name))]


def ended(words, stdout=subprocess.PIPE, **environment):
    """Run a command to its end."""
    given = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *words], stdout=stdout, stderr=subprocess.PIPE, env=given, timeout=60, check=False)


def test_outsider_what_the_system_refuses_is_a_sentence_and_a_mistake_is_not():
    assert ending_of(KeyboardInterrupt()).code == 130
    assert ending_of(CampaignError("over")).code == 1
    assert ending_of(InputError("wrong")).code == 2
    assert ending_of(BrokenPipeError()).code == 0
    full = ending_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b"))
    assert full.code == 2
    assert str(full).startswith("The system refuses what this command needs: No space left on device (/a/b)")
    for mistake in (
        TypeError(),
        ValueError(),
        KeyError(),
        AssertionError(),
        RuntimeError(),
        sqlite3.OperationalError(),
    ):
        assert ending_of(mistake) is None


def test_outsider_errors_of_a_database_are_told_from_mistakes_in_its_use(tmp_path):
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    caught = []
    for name, sql in (("noise", "SELECT * FROM sqlite_schema"), ("new", "SELECT * FROM nowhere"), ("no/folder", "")):
        try:
            with sqlite3.connect(tmp_path / name) as connection:
                connection.execute(sql)
        except sqlite3.Error as error:
            caught.append(ending_of(error) is not None)
    assert caught == [True, False, True]


@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_outsider_help_of_every_command_can_be_read_in_any_encoding(path):
    done = ended((*path, "--help"), PYTHONIOENCODING="ascii", COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Example: alflow " + " ".join(path) in " ".join(done.stdout.decode().split())


@pytest.mark.parametrize("words", [("config", "schema"), ("site", "list"), ("site", "show", "local"), ("--help",)])
@pytest.mark.parametrize("output", ["full", "closed"])
def test_outsider_an_output_that_takes_nothing_ends_in_a_sentence_or_in_silence(words, output):
    if output == "full":
        with Path("/dev/full").open("w") as full:
            done = ended(words, stdout=full)
        assert done.returncode == 2
        assert done.stderr.startswith(b"alflow: The system refuses what this command needs: No space left on device")
        assert done.stderr.count(b"\n") == 1
        return
    reader, writer = os.pipe()
    os.close(reader)
    done = ended(words, stdout=writer)
    os.close(writer)
    assert done.returncode in (0, 1)  # Rich says 1
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_outsider_names_that_an_encoding_lacks_are_written_as_codes(tmp_path, encoding):
    name = os.fsdecode("Å±".encode() + b"\xff")
    done = ended(("status", tmp_path / name), PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stderr.startswith(b"alflow: A run directory holds status.json")
    assert done.stderr.isascii() <= (encoding == "ascii")


def interrupted(words, folder, seen, environment=None):
    """Start a command, wait until it says something, press Ctrl-C, and return its exit code and output."""
    child = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    os.set_blocking(child.stdout.fileno(), False)
    until, said = time.monotonic() + 60, b""
    while seen.encode() not in said and time.monotonic() < until and child.poll() is None:
        said += child.stdout.read() or b""
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    code = child.wait(60)
    os.set_blocking(child.stdout.fileno(), True)
    return code, (said + child.stdout.read()).decode()


SLOW = ("--engine", "sleep", "--label-seconds", "30", "--count", "4")
CASES = {
    "bench": (("bench", "label", *SLOW, "-O", "workers=1"), "Starting workers"),
    "site check": (("site", "check", "local", "--engine", "sleep", "-O", "workers=1"), "Waiting for workers"),
    "reproduce": (("reproduce", "fig3", "--quick", "-O", "workers=1"), "Starting workers"),
    "dry run": (("run", "quickstart", "--dry-run"), "Probing"),
    "status": (("status", "alive", "--watch"), "first data"),
    "params": (("params", "install", "3ob-3-1"), "Installing"),
}


@pytest.mark.parametrize("case", CASES)
def test_outsider_ctrl_c_ends_every_command_with_one_line(tmp_path, case):
    words, seen = CASES[case]
    environment = {}
    if case == "status":
        (tmp_path / "alive").mkdir()
        now = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time(), "time": time.time() + 5}
        state = {"state": "running", "iteration": 0, "iterations": 3, "stage": "first data"}
        (tmp_path / "alive" / "status.json").write_text(json.dumps({**now, **state}))
    if case == "params":
        environment = {
            "ALFLOW_DATA": str(tmp_path / "data"),
            "PIP_INDEX_URL": "http://10.255.255.1",
            "PIP_TIMEOUT": "30",
        }
    code, said = interrupted(words, tmp_path, seen, environment)
    assert code == 130, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("interrupted")
    assert said.count("nterrupted") == 1
