"""The command line in this process, and whether a command would parse."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from pathlib import Path
from unittest import mock

import typer

from alflow import cli


def alflow(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run a command of alflow in a folder; return exit code, stdout, stderr."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["alflow", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def parse(line: str) -> None:
    """Raise what the command line would raise for a command that is written wrongly; a command's mere name is right."""
    command, words = typer.main.get_command(cli.app), shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            raise ValueError(f"there is no command {words[0]!r} in {line!r}")
        command, words = command.commands[words[0]], words[1:]
    if words:
        command.make_context(line, words)
