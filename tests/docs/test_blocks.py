"""Every code block of the documentation is run: commands and Python in a folder of short campaigns, TOML as settings.

A block that cannot be run says why, in a comment on the line above it: ``<!-- not run: the reason -->``.
"""

from __future__ import annotations

import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import commandline
import pytest
import yaml
from docpages import ROOT, Block, blocks, pages

from alflow.config.load import load_campaign, to_toml
from alflow.execution.sites import find_site, parse_option_pairs
from alflow.execution.sites.files import entry_point
from alflow.execution.sites.options import read_options

BLOCKS = [block for page in pages() for block in blocks(page)]
RUN = [block for block in BLOCKS if block.excuse is None]
ONLY_PARSED = ("bench label", "params install", "reproduce", "site check")
"""These take minutes, a cluster or the network; each has tests of its own."""
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def of(*languages: str) -> pytest.MarkDecorator:
    """Parametrise over the blocks of some languages."""
    found = [block for block in RUN if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=[block.place for block in found])


def test_every_block_names_its_language():
    known = {"bash", "python", "sh", "text", "toml", "yaml"}
    assert {block.place: block.language for block in BLOCKS if block.language not in known} == {}
    assert {"python", "sh", "toml"} <= {block.language for block in RUN}


def test_what_is_not_run_says_why():
    excuses = {block.place: block.excuse for block in BLOCKS if block.excuse is not None}
    assert {place: why for place, why in excuses.items() if len(why.split()) < 5} == {}
    marks = sum(page.read_text().count("\n<!-- not run") for page in pages())
    assert marks == len(excuses), "each comment 'not run' has a reason and stands on the line above a block"


@of("sh")
def test_commands_of_the_documentation_do_what_they_say(desk, block):
    commands = block.commands()
    assert commands
    for program, *words in commands:
        assert program in PROGRAMS, f"{block.place}: no test knows how to run {program!r}"
        PROGRAMS[program](desk, words)


def run_alflow(desk: Any, words: list[str]) -> None:
    """Run a command of alflow; a campaign on another machine is only planned."""
    line = " ".join(words)
    commandline.parse(f"alflow {line}")
    if line.startswith(ONLY_PARSED):
        return
    if words[0] != "run" or "--dry-run" in words:
        assert desk.alflow(*words)
        return
    site = words[words.index("--site") + 1] if "--site" in words else "local"
    if site == "globus":  # its SDK wants a login
        options = parse_option_pairs(value for word, value in itertools.pairwise(words) if word == "-O")
        assert read_options(entry_point(find_site(site)), options, find_site(site))
    elif site == "local":
        assert "The campaign ended: all" in desk.alflow(*words, *(("-O", "kind=threads") if "-O" not in words else ()))
    else:
        assert "Nothing was submitted." in desk.alflow(*words, "--dry-run")


def run_make(_desk: Any, words: list[str]) -> None:
    """See that the target exists, and what make would run."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def run_pip(_desk: Any, words: list[str]) -> None:
    """See that the files and the extras that are to be installed exist."""
    assert words[0] == "install"
    extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
    known = SETTINGS["project"]["optional-dependencies"]
    assert {extra for found in extras for extra in found.split(",")} <= known.keys()
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).exists()


def run_python(_desk: Any, words: list[str]) -> None:
    """See that the script exists and knows the options."""
    script, *options = words
    done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [option for option in options if option.startswith("--") and option not in done.stdout] == []


PROGRAMS: dict[str, Callable[[Any, list[str]], None]] = {
    "alflow": run_alflow,
    "make": run_make,
    "pip": run_pip,
    "python": run_python,
}


@of("bash")
def test_scripts_are_sound_and_so_are_their_commands(desk, block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    commands = [words[words.index("alflow") + 1 :] for words in block.commands() if "alflow" in words]
    assert commands
    for words in commands:
        run_alflow(desk, words)


@of("python")
def test_python_of_the_documentation_runs(desk, block):
    assert desk.python(block.text, block.place)


@of("toml")
def test_settings_of_the_documentation_make_a_campaign(desk, block):
    path = desk.folder / "block.toml"
    path.write_text('name = "block"\n' + block.text)
    given, resolved = tomllib.loads(path.read_text()), tomllib.loads(to_toml(load_campaign(path)))
    for table, values in given.items():
        assert table in resolved
        assert not isinstance(values, dict) or values.keys() <= resolved[table].keys()
    assert "Nothing was submitted." in desk.alflow("run", str(path), "--dry-run")


@of("yaml")
def test_endpoint_configuration_is_what_globus_compute_takes(block):
    engines = pytest.importorskip("globus_compute_endpoint.engines")
    from parsl import launchers, providers
    from parsl.executors import HighThroughputExecutor

    engine = yaml.safe_load(block.text)["engine"]
    provider = engine.pop("provider")
    launcher = provider.pop("launcher")
    known = parameters(getattr(engines, engine.pop("type"))) | parameters(HighThroughputExecutor)
    assert engine.keys() - known == set()
    assert provider.keys() - {"type"} <= parameters(getattr(providers, provider["type"]))
    assert launcher.keys() - {"type"} <= parameters(getattr(launchers, launcher["type"]))


def parameters(kind: type) -> set[str]:
    """Return the names of the arguments that a class takes."""
    return set(inspect.signature(kind).parameters)


def test_a_wrong_block_would_be_noticed(desk):
    wrong = Block("here", "sh", "alflow run configs/quickstart.toml --sites local\n", None)
    with pytest.raises(Exception, match="No such option"):
        run_alflow(desk, wrong.commands()[0][1:])
    with pytest.raises(AssertionError, match="quickstarter"):
        run_alflow(desk, ["run", "configs/quickstarter.toml"])
    with pytest.raises(AssertionError, match="No rule to make target"):
        run_make(desk, ["no-such-target"])
    with pytest.raises(AssertionError):
        run_pip(desk, ["install", ".[no_such_extra]"])
