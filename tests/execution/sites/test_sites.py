"""Finding site files, reading their options, and what is refused before anything is submitted."""

from pathlib import Path

import pytest

from alflow.errors import SiteError
from alflow.execution.sites import describe_site, find_site, list_sites, load_site, parse_option_pairs, read_value

SITE = '''"""A site of the tests."""
from __future__ import annotations
import pathlib
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

def make_config(
    run_dir: pathlib.Path, *, account: str, workers: int = 2, names: list[str] | None = None, fast: bool = False
) -> Config:
    """Describe nothing.

    Args:
        run_dir: where.
        account: who pays,
            in words of two lines.
        workers: how many.
        names: of what.
        fast: or slow.
    """
    if workers > 8:
        raise ValueError(f"at most 8 workers; got {workers}")
    executors = [ThreadPoolExecutor(label, max_threads=workers) for label in ("cpu", "gpu")]
    config = Config(executors=executors, run_dir=str(run_dir))
    config.seen = (account, workers, names, fast)
    return config
'''


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "here.py"
    path.write_text(SITE)
    return path


def test_a_name_is_found_in_the_working_directory_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    installed = find_site("local")
    folder = tmp_path / "executors"
    folder.mkdir()
    (folder / "local.py").write_text(SITE)
    assert find_site("local") == folder / "local.py"
    assert find_site(installed) == installed != folder / "local.py"
    assert list_sites()["local"] == (folder / "local.py", "A site of the tests.")
    assert {"frontier", "slurm", "globus"} <= set(list_sites())


def test_an_unknown_site_is_answered_with_the_close_ones():
    with pytest.raises(SiteError, match="did you mean 'perlmutter'"):
        find_site("perlmuter")
    with pytest.raises(SiteError, match=r"known: .*frontier"):
        find_site("zzz")
    with pytest.raises(SiteError, match="no/such"):
        find_site("no/such.py")


def test_options_are_described(site):
    described = describe_site(site)
    assert described.text == "Describe nothing."
    by_name = {option.name: option for option in described.options}
    assert by_name["account"].required
    assert by_name["account"].help == "who pays, in words of two lines."
    assert (by_name["workers"].kind, by_name["workers"].default, by_name["workers"].required) == ("int", 2, False)


def test_options_are_read_by_their_types(site, tmp_path):
    options = {"account": "abc", "workers": "3", "names": "a, b", "fast": "yes"}
    assert load_site(site, tmp_path, options).seen == ("abc", 3, ["a", "b"], True)
    assert load_site(site, tmp_path, {"account": "12", "names": "none"}).seen == ("12", 2, None, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs account; give -O account=..."),
        ({"account": "a", "worker": "2"}, "did you mean 'workers'"),
        ({"account": "a", "workers": "two"}, "'workers' .* a whole number; got 'two'"),
        ({"account": "a", "fast": "maybe"}, "true or false; got 'maybe'"),
        ({"account": "a", "workers": "9"}, "at most 8 workers; got 9"),
    ],
)
def test_bad_options_are_refused(site, tmp_path, options, words):
    with pytest.raises(SiteError, match=words):
        load_site(site, tmp_path, options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "cannot be run: SyntaxError"),
        ("import parsl\n", r"defines make_config\(run_dir"),
        ("def make_config(run_dir): return 1 / 0", "ZeroDivisionError"),
        (SITE.replace('("cpu", "gpu")', '("cpu", "cuda")'), "two executors labelled 'cpu' and 'gpu'.*makes cpu, cuda"),
    ],
)
def test_a_broken_site_file_is_refused(tmp_path, text, words):
    path = tmp_path / "broken.py"
    path.write_text(text)
    options = {"account": "a"} if "account" in text else {}
    with pytest.raises(SiteError, match=words):
        load_site(path, tmp_path, options)


@pytest.mark.parametrize(("name", "command"), [("perlmutter", "sbatch"), ("polaris", "qsub")])
def test_an_absent_scheduler_is_named(name, command, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match=f"submits with '{command}', which is not found"):
        load_site(find_site(name), tmp_path, {"account": "abc"})


def test_option_pairs():
    assert parse_option_pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(SiteError, match="name=value; got 'account'"):
        parse_option_pairs(["account"])
    with pytest.raises(SiteError, match="given twice"):
        parse_option_pairs(["a=1", "a=2"])


def test_every_kind_of_value():
    from typing import Literal

    assert read_value("2.5", float, "n", "s") == 2.5
    assert read_value("b", Literal["a", "b"], "n", "s") == "b"
    assert read_value("7", int | None, "n", "s") == 7
    assert read_value("1,2", list[int], "n", "s") == [1, 2]
    with pytest.raises(SiteError, match="is one of: a, b; got 'c'"):
        read_value("c", Literal["a", "b"], "n", "s")


def test_importing_the_loader_imports_no_parsl():
    import subprocess
    import sys

    code = "import sys, alflow.execution.sites; assert 'parsl' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.home(), check=False).returncode == 0
