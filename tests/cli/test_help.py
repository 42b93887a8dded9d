"""The help of the command line."""

import typer

from alflow.cli import app


def leaves(command, path):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, command


def test_every_command_has_help_with_an_example():
    found = list(leaves(typer.main.get_command(app), ("alflow",)))
    assert len(found) > 10
    for path, command in found:
        assert command.help, path
        assert "Example: " + " ".join(path) in (command.epilog or ""), path
