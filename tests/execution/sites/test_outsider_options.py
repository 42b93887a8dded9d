"""Every option of every site, with values that people type by mistake: a sentence, or a site that can run."""

import math
import re
import typing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siteoptions import GIVEN

from alflow.errors import SiteError
from alflow.execution.sites import describe_site, find_site, load_site, read_value
from alflow.execution.sites.files import entry_point
from alflow.execution.sites.hints import option_hints, option_parameters
from alflow.execution.sites.numbers import LEAST, LEAST_OF_PROVIDER

FOLDER = Path(__file__).resolve().parents[3] / "executors"
NO_NUMBERS = ["", "x", "1 2", "0x10", "--", "1;2", "nan", "inf", "-inf", "1e400", "9" * 5000, "9" * 30, "-1", "\n"]
NO_WHOLE_NUMBERS = [*NO_NUMBERS, "1,5", "1.5", "1e3"]
NO_NAMES = [" ", "a b", "a\nb", "a\tb", "a;b", "$(reboot)", "`reboot`", "$HOME", "'", '"', "a\\b", "a>b", "#", "a\x00b"]
NO_TEXTS = ["a\x00b", "a\x1bb", "a\rb", "a\udcffb"]
MAY_BE_ZERO = {
    "gpus_per_node",
    "gpus_per_label",
    "label_gpus_per_node",
    "gpu_min_blocks",
    "gpu_min_pods",
    "drain_minutes",
}
NO_PATHS = ["a\nb", "a\udcffb"]
PATHS = ("environment", "numba_cache")
FREE_TEXT = {"worker_init", "cpu_worker_init", "gpu_worker_init", "scheduler_options"}


def plain(kind):
    """Return the type behind rules, lists and "or None"."""
    while typing.get_args(kind) and typing.get_origin(kind) is not typing.Literal:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def wrong_values(name, kind):
    if typing.get_origin(kind) is typing.Literal:
        return ["", "no-such", "a\nb"]
    zero = [] if name in MAY_BE_ZERO else ["0"]
    by_kind = {bool: ["", "maybe", "2", "-1", "truetrue"], int: NO_WHOLE_NUMBERS + zero, float: NO_NUMBERS + zero}
    by_name = dict.fromkeys(FREE_TEXT, NO_TEXTS) | dict.fromkeys(PATHS, NO_PATHS)
    return by_kind.get(kind) or by_name.get(name) or NO_NAMES


def instances():
    for site in GIVEN:
        if site == "globus":
            pytest.importorskip("globus_compute_sdk")
        make_config = entry_point(FOLDER / f"{site}.py")
        for name, hint in option_hints(make_config, FOLDER / f"{site}.py").items():
            optional = type(None) in typing.get_args(hint) or type(None) in typing.get_args(typing.get_args(hint)[:1])
            for value in wrong_values(name, plain(hint)):
                if not (optional and not value.strip()):
                    yield site, name, value


def refusal(site, options, folder):
    """Return what a site says to options; empty if it takes them."""
    try:
        load_site(FOLDER / f"{site}.py", folder, options, check_commands=False)
    except SiteError as error:
        return str(error)
    return ""


def test_outsider_every_wrong_value_of_every_option_is_a_sentence(tmp_path):
    tried = 0
    for site, name, value in instances():
        said = refusal(site, GIVEN[site] | {name: value}, tmp_path)
        assert name in said, (site, name, value, said)
        assert re.search(r"got |names at least one", said), said
        assert "Error" not in said
        assert len(said) < 400
        tried += 1
    assert tried > 1500


def test_outsider_every_option_has_an_instance():
    tried = {(site, name) for site, name, _ in instances()}
    for site in GIVEN:
        options = {parameter.name for parameter in option_parameters(entry_point(FOLDER / f"{site}.py"))}
        assert {name for tried_site, name in tried if tried_site == site} == options


def is_sound(config):
    for executor in config.executors:
        for owner, least in ((executor, LEAST), (getattr(executor, "provider", None), LEAST_OF_PROVIDER)):
            for name, bound in least.items():
                value = getattr(owner, name, bound)
                assert not isinstance(value, int | float) or bound <= value < math.inf
        init = getattr(getattr(executor, "provider", None), "worker_init", "")
        assert "NUM_THREADS=0" not in init
        assert "--1" not in str(getattr(executor, "cpu_affinity", ""))


NUMBER_TEXT = st.one_of(
    st.integers(-3, 200).map(str), st.floats(allow_nan=True).map(repr), st.integers().map(str), st.text(max_size=5)
)


@pytest.mark.parametrize("site", ["local", "workstation", "slurm", "hybrid", "pbs", "perlmutter", "frontier", "aurora"])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_outsider_whatever_is_typed_gives_a_site_that_can_run_or_a_sentence(site, tmp_path, data):
    path = FOLDER / f"{site}.py"
    names = [parameter.name for parameter in option_parameters(entry_point(path))]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), NUMBER_TEXT, max_size=4))
    try:
        config = load_site(path, tmp_path, GIVEN[site] | chosen, check_commands=False)
    except SiteError:
        return
    is_sound(config)


@pytest.mark.parametrize(
    ("site", "options", "words"),
    [
        ("local", {"workers": "0"}, "'workers' of site 'local' is at least 1 and at most 4096; got '0'"),
        ("local", {"workers": "-1"}, "at least 1"),
        ("local", {"heartbeat_seconds": "0"}, "'heartbeat_seconds' .* is at least 1"),
        ("local", {"heartbeat_seconds": "20"}, "heartbeat_period .* is below heartbeat_threshold; got 20 and 10"),
        ("slurm", {"cores_per_node": "0"}, "'cores_per_node' .* is at least 1"),
        ("slurm", {"gpus_per_node": "9"}, "a GPU worker has a core at least; got gpus_per_node=9 and 8 cores"),
        ("slurm", {"gpu_min_blocks": "2"}, "min_blocks .* is at most max_blocks; got 2 and 1"),
        ("slurm", {"scheduler_options": "--mem=8G"}, "lines that begin with '#SBATCH '; got '--mem=8G'"),
        ("slurm", {"cpu_affinity": "blocks"}, "cpu_affinity is one of block, .*; got 'blocks'"),
        ("slurm", {"account": "a b"}, "'account' .* a name of letters, digits and .*; got 'a b'"),
        ("pbs", {"scheduler_options": "-l mem=8gb"}, "lines that begin with '#PBS '"),
        ("pbs", {"gpus_per_node": "64"}, "a GPU worker has a core at least"),
        ("hybrid", {"gpus_per_node": "17"}, "a GPU worker has a core at least"),
        ("kubernetes", {"memory_per_pod": "8 Gi"}, "'memory_per_pod'"),
        ("kubernetes", {"memory_per_pod": "lots"}, "such as 8Gi or 500Mi; got 'lots'"),
        ("kubernetes", {"memory_per_pod": "0Gi"}, "such as 8Gi or 500Mi; got '0Gi'"),
        ("frontier", {"idle_minutes": "0"}, "'idle_minutes' .* is above 0"),
    ],
)
def test_outsider_sentences(site, options, words, tmp_path):
    where = Path("/campaigns/one") if site == "kubernetes" else tmp_path
    with pytest.raises(SiteError, match=words):
        load_site(FOLDER / f"{site}.py", where, GIVEN[site] | options, check_commands=False)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (typing.Annotated[int, ">= 1, <= 8"], "8", 8),
        (typing.Annotated[int, ">= 1"] | None, "none", None),
        (typing.Annotated[int | None, ">= 1"], "2", 2),
        (typing.Annotated[float, "> -5"], "-4.5", -4.5),
        (typing.Annotated[int, ">= 1, <= 10000000"], "5000000", 5_000_000),
        (list[typing.Annotated[str, "name"]], "a-1, MIG-0/1/0", ["a-1", "MIG-0/1/0"]),
        (typing.Annotated[str, "word"], "a100&hbm80g|[x*2]", "a100&hbm80g|[x*2]"),
        (typing.Annotated[str, "path"], "/my env/it's.tar", "/my env/it's.tar"),
        (str, "module load a\nmodule load 'b c' && $X\t", "module load a\nmodule load 'b c' && $X\t"),
    ],
)
def test_rules_let_through_what_they_say(kind, text, value):
    assert read_value(text, kind, "n", "s") == value


@pytest.mark.parametrize("rule", ["least 1", "nam", ">= one", ""])
def test_a_rule_that_there_is_not_is_found_when_the_site_is_loaded(rule, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from typing import Annotated\n\n\ndef make_config(run_dir, *, workers: Annotated[int, "
        + repr(rule)
        + "] = 1):\n"
        "    raise AssertionError\n"
    )
    with pytest.raises(SiteError, match=r"a rule of an option reads '>= 1'.*mine\.py"):
        load_site(path, tmp_path, {})


SITE_WITHOUT_RULES = """
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider


def make_config(
    run_dir, *, workers: int = 1, period: int = 10, blocks: int = 1, cores: float = 1.0, walltime: str = "1:00:00"
):
    def executor(label):
        return HighThroughputExecutor(label, max_workers_per_node=workers, cores_per_worker=cores,
                                      heartbeat_period=period, heartbeat_threshold=60, drain_period=60,
                                      provider=SlurmProvider(max_blocks=blocks, walltime=walltime))

    return Config(executors=[executor("cpu"), executor("gpu")])
"""


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("workers=-1", "'workers' of site 'mine' is at least 0 and at most 1000000; got '-1'"),
        ("period=0", "heartbeat_period of executor 'cpu' of site 'mine' is at least 1; got 0"),
        ("period=60", "heartbeat_period .* is below heartbeat_threshold; got 60 and 60"),
        ("blocks=0", "max_blocks .* at least 1; got 0"),
        ("cores=0", "cores_per_worker .* above 0; got 0"),
        ("walltime=tomorrow", "a walltime reads HH:MM:SS or D-HH:MM:SS; got 'tomorrow'"),
    ],
)
def test_outsider_a_site_file_without_rules_is_held_to_those_of_every_executor(option, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SITE_WITHOUT_RULES)
    name, _, value = option.partition("=")
    with pytest.raises(SiteError, match=words):
        load_site(path, tmp_path, {name: value}, check_commands=False)
    load_site(path, tmp_path, {"walltime": "1-00:30:00"}, check_commands=False)


def test_a_dry_run_says_it_with_exit_code_2(alflow, tiny_file):
    for option in ("workers=0", "heartbeat_seconds=0"):
        code, _, err = alflow("run", tiny_file, "--dry-run", "-o", option)
        assert code == 2
        assert "at least 1" in err
        assert "Traceback" not in err


def test_rules_are_shown(alflow, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = alflow("site", "show", "slurm")
    assert code == 0
    kinds = {option.name: option.kind for option in describe_site(find_site("slurm")).options}
    assert kinds["cores_per_node"] == "int >= 1, <= 4096"
    assert kinds["gpu_partition"] == "name or none"
    assert kinds["constraint"] == "word or none"
    assert kinds["exclusive"] == "bool"
    assert "int >= 1, <= 4096" in out
