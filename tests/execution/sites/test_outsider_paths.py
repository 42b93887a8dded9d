"""Run directories whose paths a shell or a batch system would cut or change: workers start, or it is a sentence."""

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siteoptions import GIVEN

from alflow.errors import SiteError
from alflow.execution.cleanup import worker_pools
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.execution.sites.plainpath import LONGEST_PLAIN, plain_path
from alflow.files.scratch import PLAIN
from alflow.runs.events import EventLog
from alflow.workers.probes import NOTHING
from alflow.workers.result import Outcome

EXECUTORS = Path(__file__).resolve().parents[3] / "executors"
NAMES = {
    "all that a shell knows": 'my  project /it\'s "mine"/$HOME; `id` & {x} (y) | <z> > *?!#~/ü 水 %j %x/-rf/a\tb\nc',
    "long": "/".join(["long" * 40] * 12),
}
TEXT = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=60)
OPTIONS = {"workers": "1", "gpu_workers": "1"}


def started(folder):
    """Return what one task gives on the site `local`, and Parsl's folder while it ran."""
    folder.mkdir(parents=True)
    config = load_site(find_site("local"), folder, OPTIONS)
    events = EventLog(folder / "events.jsonl")
    graph = TaskGraph(config, events)
    got = []
    try:
        graph.submit(NOTHING(b"12345"), got.append)
        graph.run_until(lambda: bool(got))
        pools = list(worker_pools(Path(config.run_dir)))
    finally:
        graph.close()
        events.close()
    return got[0], config.run_dir, pools


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_outsider_workers_start_in_a_folder_of_any_name(name, tmp_path):
    folder = tmp_path / NAMES[name] / "runs"
    result, parsl, pools = started(folder)
    assert isinstance(result, Outcome), result
    assert result.value == 5
    assert PLAIN.fullmatch(parsl)
    assert pools, "the next driver must find what this one started"
    assert (folder / "parsl").is_dir()
    assert [path for path in tmp_path.iterdir() if path.is_symlink()] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["t" * 200, "my \"tmp\" $x %j 'y' * #"])
def test_outsider_workers_start_with_any_folder_for_temporary_files(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    result, _, _ = started(tmp_path / "run")
    assert isinstance(result, Outcome), result


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=60), min_size=1, max_size=4)
)
def test_outsider_any_path_has_a_plain_one_that_leads_there_or_is_refused(tmp_path, parts):
    folder = tmp_path.joinpath(*parts)
    if not folder.is_relative_to(tmp_path) or ".." in parts:
        return
    try:
        plain = plain_path(folder)
    except SiteError as error:
        assert "path of a run directory" in str(error)  # noqa: PT017 - most are taken
        return
    assert PLAIN.fullmatch(str(plain.path))
    assert len(str(plain.path)) <= LONGEST_PLAIN
    plain.make()
    plain.make()
    try:
        assert plain_path(folder) == plain
        assert os.path.realpath(plain.path) == os.path.realpath(folder)
    finally:
        plain.remove()
    assert not plain.path.is_symlink()


def test_a_plain_path_is_left_alone(tmp_path):
    plain = plain_path(tmp_path / "runs" / "hexane-2_b.c+d=e@f")
    plain.make()
    assert not plain.is_link
    assert plain.path == plain.folder
    plain.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_link_lies_on_the_file_system_of_the_run(tmp_path):
    plain = plain_path(tmp_path / "a b" / "runs" / "tiny")
    assert plain.path.parent == tmp_path
    assert not plain.here_only


def test_another_file_in_the_place_of_the_link_is_not_touched(tmp_path):
    plain = plain_path(tmp_path / "a b")
    plain.path.write_text("mine")
    with pytest.raises(SiteError, match=r"a link to it in its place cannot be made.*Choose another --run-dir"):
        plain.make()
    plain.remove()
    assert plain.path.read_text() == "mine"


def test_outsider_nodes_that_would_not_see_the_link_are_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: str(path) == "/tmp")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/my name"))
    run = Path("/data of mine/runs")
    assert load_site(EXECUTORS / "local.py", run, {}).run_dir.startswith("/tmp/.alflow-")
    options = {"partition": "cpu", "cores_per_node": "8"}
    with pytest.raises(SiteError, match="no folder above it can hold a link that the nodes of site 'slurm' see"):
        load_site(EXECUTORS / "slurm.py", run, options, check_commands=False)


@pytest.mark.parametrize(
    ("run_dir", "words"),
    [
        ("x" * 300, "255 in each name"),
        ("/".join(["x" * 200] * 25), "at most 3800 bytes"),
        ("a\udcffb", "text in UTF-8"),
    ],
)
def test_outsider_a_path_that_no_system_takes_is_a_sentence(alflow, tiny_file, tmp_path, run_dir, words):
    code, _, err = alflow("run", tiny_file, "--run-dir", run_dir, "-o", "kind=threads")
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize("site", ["local", "workstation", "slurm", "hybrid", "pbs", "perlmutter", "polaris", "aurora"])
def test_outsider_an_environment_in_a_folder_with_spaces_is_on_the_path(site, tmp_path, monkeypatch):
    scripts = tmp_path / "my $env's" / "bin"
    cache = tmp_path / "my cache"
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(scripts))
    options = GIVEN[site] | ({"numba_cache": str(cache)} if site in ("local", "workstation") else {})
    tmp_path.joinpath("run").mkdir()
    for executor in load_site(EXECUTORS / f"{site}.py", tmp_path / "run", options, check_commands=False).executors:
        script = executor.provider.worker_init + '\nprintf "%s\\n%s" "${PATH%%:*}" "$NUMBA_CACHE_DIR"'
        environment = {"PATH": "/usr/bin:/bin", "USER": "user"}
        said = subprocess.check_output(["/bin/bash", "-c", script], env=environment, text=True).split("\n")
        assert said[0] == str(scripts)
        assert said[1] == str(cache) or site not in ("local", "workstation")


@pytest.mark.timeout(180)
def test_outsider_labels_are_farmed_out_from_a_folder_with_spaces(alflow, tmp_path, monkeypatch):
    folder = tmp_path / "it's my $project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "two.xyz").write_text("2\n\nN 0 0 0\nN 0 0 1.1\n2\n\nN 0 0 0\nN 0 0 1.2\n")
    words = ["--engine", "ase", "--set", "calculator=ase.calculators.emt.EMT", "--timeout", "0"]
    words += ["--site", "local", *(word for name in OPTIONS for word in ("--site-option", f"{name}=1"))]
    code, out, err = alflow("label", "two.xyz", "-o", "out.xyz", *words)
    assert code == 0, err
    assert "2 labels, 0 failures" in out
    assert {path.name for path in folder.iterdir()} == {"two.xyz", "out.xyz"}
