"""What a terminal shows, be it narrow, and what a pipe gets: the same digits and headings."""

import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import termios

import pytest

MAIN = [sys.executable, "-c", "from alflow.cli import main; main()"]
NUMBER = re.compile(r"(?<![\w./-])[+-]?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w/.])")
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(words, width, folder):
    """Run a command in a terminal of so many columns, and return what it showed."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = subprocess.Popen(
        [*MAIN, *map(str, words)], stdin=its, stdout=its, stderr=its, cwd=folder, env={**environment, "TERM": "xterm"}
    )
    os.close(its)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # it was closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait(60) == 0, shown.decode()
    return COLOURS.sub("", shown.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("command", "width"), [("status", 40), ("evaluate", 40), ("site list", 80), ("site show", 40), ("run", 40)]
)
def test_outsider_a_narrow_terminal_shows_every_digit_that_a_pipe_gets(alflow, finished, tmp_path, command, width):
    run = tmp_path / "tiny"
    shutil.copytree(finished[0] / "runs" / "tiny", run)
    words = {
        "status": ("status", run),
        "evaluate": ("evaluate", run / "iteration-001" / "ensemble.pt", "labels.xyz"),
        "site list": ("site", "list"),
        "site show": ("site", "show", "slurm"),
        "run": ("run", finished[0] / "tiny.toml", "--run-dir", run, "-O", "kind=threads"),
    }[command]
    assert alflow("ledger", "export", run, "labels.xyz")[0] == 0
    (_, piped, _), shown = alflow(*words), in_terminal(words, width, tmp_path)
    assert "…" not in piped + shown
    numbers = re.compile(r"\[ *\d+\.\d s\]").sub("", piped)
    assert set(NUMBER.findall(numbers)) <= set(NUMBER.findall(shown))
    for line in shown.splitlines():
        assert len(line) <= width or "/" in line or line.strip().count(" ") == 0
    if command == "run":  # paths are whole, and can be copied, from either
        for path in ("report.html", "ledger.sqlite", "figures/work.png", "iteration-001/ensemble.pt"):
            assert f"{run}/{path}" in piped
            assert f"{run}/{path}" in shown
