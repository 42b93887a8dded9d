"""The README says nothing that does not work: its commands parse, its files exist, its Python imports."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from alflow.cli import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(alflow [^`]+)`", TEXT)
    return sorted({line for line in [*lines, *inline] if line.startswith("alflow ")})


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_readme_parses(line):
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]!r} in {line!r}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(line, words)


def test_a_wrong_option_would_be_noticed():
    command = typer.main.get_command(app).commands["run"]
    with pytest.raises(Exception, match="No such option"):
        command.make_context("run", ["campaign.toml", "--sites", "local"])


def test_there_are_commands_in_the_readme():
    assert len(commands()) > 10


def test_every_file_that_the_readme_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_has_help_with_an_example():
    def leaves(command, path):
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from leaves(inner, (*path, name))
        else:
            yield path, command

    found = list(leaves(typer.main.get_command(app), ("alflow",)))
    assert len(found) > 10
    for path, command in found:
        assert command.help, path
        assert "Example: " + " ".join(path) in (command.epilog or ""), path


def test_the_python_of_the_readme_imports():
    from alflow.ase import DFTB3, Ensemble

    assert DFTB3.implemented_properties
    assert "energy" in Ensemble.implemented_properties
