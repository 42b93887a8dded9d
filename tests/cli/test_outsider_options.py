"""One name for one thing in every command, and the names that it had before."""

import ase.io
import pytest
import typer
from ase import Atoms

from alflow.cli import app
from alflow.structures import alkane

COMMANDS = {
    ("run",): ["c.toml"],
    ("reproduce",): ["fig3"],
    ("bench", "label"): [],
    ("site", "check"): ["local"],
    ("label",): ["in.xyz", "--output", "out.xyz"],
    ("report",): ["run"],
    ("evaluate",): ["a.pt", "a.xyz"],
}


def parsed(path, *words):
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command, command.make_context(path[-1], [*COMMANDS[path], *map(str, words)]).params


def options_of(path):
    return {
        name
        for option in parsed(path)[0].params
        if not option.hidden
        for name in (*option.opts, *option.secondary_opts)
    }


def test_outsider_a_thing_has_the_same_name_in_every_command():
    for path in (("run",), ("reproduce",), ("bench", "label"), ("site", "check"), ("label",)):
        assert {"--site-option", "-O"} <= options_of(path)
    for path in (("run",), ("reproduce",), ("bench", "label"), ("site", "check")):
        assert {"--run-dir", "-d"} <= options_of(path)
        assert "-o" not in options_of(path)
    assert "--runs" not in options_of(("reproduce",))
    for path in (("bench", "label"), ("site", "check")):
        assert "--json" in options_of(path)
    for path in (("bench", "label"), ("evaluate",)):
        assert "--figure" in options_of(path)
    for path in (("label",), ("report",)):
        assert "--output" in options_of(path)


@pytest.mark.parametrize("path", [("run",), ("reproduce",), ("bench", "label"), ("site", "check")])
def test_outsider_old_names_of_options_still_work(path):
    _, now = parsed(path, "-O", "workers=2", "--site-option", "kind=threads")
    _, before = parsed(path, "-o", "workers=2", "-o", "kind=threads")
    assert now["options"] == before["old_options"] == ["workers=2", "kind=threads"]


def test_outsider_old_and_new_names_mean_the_same(alflow, tiny_file):
    for words in (("-o", "wrokers=2"), ("-O", "wrokers=2"), ("--site-option", "wrokers=2")):
        for command in (("run", tiny_file, "--dry-run"), ("bench", "label"), ("site", "check", "local"),
                        ("reproduce", "fig3")):  # fmt: skip
            code, _, err = alflow(*command, *words)
            assert code == 2
            assert "did you mean 'workers'" in err
    code, _, err = alflow("run", tiny_file, "-o", "workers=2", "-O", "workers=3")
    assert code == 2
    assert "'workers' is given twice" in err


def test_outsider_the_folder_of_figures_has_its_old_name_too(alflow, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("--runs", "--run-dir", "-d"):
        code, _, err = alflow("reproduce", "fig3", "--quick", "-O", "kind=threads", name, "file")
        assert code == 2
        assert "file/results/fig3.png" in err


def test_outsider_options_of_no_site_are_refused(alflow, tmp_path):
    (tmp_path / "atom.xyz").write_text("1\n\nH 0 0 0\n")
    words = ("label", tmp_path / "atom.xyz", "-o", tmp_path / "out.xyz", "--engine", "sleep", "-O", "workers=0")
    code, out, err = alflow(*words)
    assert code == 2, out
    assert "Name one with --site" in err
    assert not (tmp_path / "out.xyz").exists()


def test_outsider_a_dry_run_says_what_is_doubtful_of_the_molecule(alflow, tiny_file, tmp_path):
    frames = alkane(2)
    ase.io.write(tmp_path / "radical.xyz", Atoms(frames.numbers[:-1], frames.positions[0, :-1]))
    text = tiny_file.read_text().replace("carbons = [2]", f"structure = '{tmp_path / 'radical.xyz'}'")
    (tmp_path / "radical.toml").write_text(text)
    code, out, err = alflow("run", tmp_path / "radical.toml", "--dry-run", "-O", "kind=threads")
    assert code == 0, err
    assert "An odd number of electrons" in " ".join((out + err).split())
