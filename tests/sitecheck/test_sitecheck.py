"""What the check of a site finds: pure findings first, then real workers with faults planted in them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from alflow.config.campaign import LabelSettings
from alflow.errors import CampaignError
from alflow.sitecheck.check import check_site, check_warning, save_check
from alflow.sitecheck.findings import Expected, WorkerReport, find
from alflow.sitecheck.show import check_tables

VERSIONS = {"python": "3.11.7", "alflow": "0.1.0", "torch": "2.4.0", "ase": "3.23.0"}
EXPECTED = Expected(VERSIONS, energy=-10.0, theory="t", token="k")
GOOD = WorkerReport(
    executor="cpu",
    host="n1",
    pid=1,
    rank="0",
    versions=VERSIONS,
    cores=(0,),
    machine_cores=8,
    threads=1,
    numba_cache="",
    visible={},
    gpus=(),
    token="k",
    shared_error="",
    wrote=True,
    energy=-10.0 + 1e-9,
    theory="t",
    label_error="",
    first_label_s=1.0,
    skew_s=0.0,
)
GPU = replace(GOOD, executor="gpu", visible={"CUDA_VISIBLE_DEVICES": "0"}, gpus=("A100 uuid-0",))


def said(*reports, expected=EXPECTED):
    return [f"{finding.severity}: {finding.what}" for finding in find(reports, expected)]


def test_nothing_is_wrong_with_good_workers():
    other = replace(GPU, pid=2, cores=(1,), visible={"CUDA_VISIBLE_DEVICES": "1"}, gpus=("A100 uuid-1",))
    assert said(GOOD, GPU, other) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            replace(GOOD, versions=VERSIONS | {"torch": "2.3.0"}),
            "error: torch is 2.3.0 on cpu n1 rank 0 (pid 1), 2.4.0",
        ),
        (replace(GOOD, versions=VERSIONS | {"ase": "absent"}), "warning: ase is absent"),
        (
            replace(GOOD, energy=-10.01),
            "error: The known structure has -10.00000000 eV; cpu n1 rank 0 (pid 1) gives -10.01",
        ),
        (
            replace(GOOD, energy=None, label_error="boom"),
            "error: The label engine fails on cpu n1 rank 0 (pid 1): boom",
        ),
        (replace(GOOD, theory="u"), "error: Labels of one campaign have one theory"),
        (replace(GOOD, token="old"), "error: cpu n1 rank 0 (pid 1) does not see the run directory: it reads another"),
        (replace(GOOD, wrote=False), "error: What cpu n1 rank 0 (pid 1) wrote"),
        (replace(GOOD, skew_s=-3.0), "warning: The clock of cpu n1 rank 0 (pid 1) is -3.0 s off"),
        (replace(GOOD, threads=4), "warning: 1 workers of executor 'cpu' on n1 have 4 threads together, and may use 1"),
        (replace(GPU, gpus=()), "warning: gpu n1 rank 0 (pid 1) is pinned to a GPU, and torch sees none"),
        (replace(GPU, gpus=("a", "b")), "warning: gpu n1 rank 0 (pid 1) sees 2 GPUs"),
    ],
)
def test_each_fault_is_named(bad, words):
    assert [line[: len(words)] for line in said(bad)] == [words]


RANKS = replace(
    GOOD,
    ranks=4,
    rank_threads=2,
    nodes=("n1", "n2"),
    started=4,
    started_on=("n1", "n2"),
    worlds=(4,),
    cores=(0, 1, 2, 3),
)


def test_nothing_is_wrong_with_ranks_that_are_where_they_were_asked_for():
    assert said(RANKS) == []
    assert said(replace(RANKS, worlds=(-1,))) == []  # a launcher that does not say
    other = replace(RANKS, pid=2, nodes=("n3", "n4"), started_on=("n3", "n4"))
    assert said(RANKS, other) == []  # one pool on the first node serves all of them


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"started": 1}, "started 1."),
        (
            {"started": 0, "launch_error": "exit code 127: srun: not found"},
            "started 0. exit code 127: srun: not found.",
        ),
        ({"launch_error": "it did not end within 300 s"}, "started 4. it did not end within 300 s."),
        ({"started_on": ("n1",)}, "started them on n1."),
        ({"worlds": (0,)}, "started them without telling them of each other: each would be a program of its own."),
        ({"worlds": (1,)}, "started them without telling them of each other"),
    ],
)
def test_a_launcher_that_starts_something_else_is_named(changes, words):
    (found,) = said(replace(RANKS, **changes))
    start = "error: A label has 4 ranks on n1, n2; the launcher of cpu n1 rank 0 (pid 1) "
    assert found.startswith(start + words)


def test_ranks_with_more_threads_than_cores_are_found():
    assert said(replace(RANKS, cores=(0, 1))) == [
        "warning: 1 workers of executor 'cpu' on n1 have 4 threads together, and may use 2 cores."
    ]


def test_two_workers_on_one_gpu():
    twice = (GPU, replace(GPU, pid=2, rank="1", cores=(1,)))
    assert said(*twice) == ["error: 2 GPU workers on n1 share one GPU (A100 uuid-0)."]
    assert said(GPU, replace(GPU, pid=2, host="n2")) == []


def test_workers_behind_globus_compute_need_no_run_directory():
    away = replace(GOOD, token="", shared_error="no such folder")
    assert said(away, expected=replace(EXPECTED, remote=frozenset({"cpu"}))) == []


LABELS = LabelSettings.model_validate({"engine": "gfn2-xtb"})
PINNED_TWICE = '''"""Two workers on one GPU."""
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
import sysconfig

def make_config(run_dir):
    """Describe."""
    bin = sysconfig.get_path("scripts")
    def executor(label, gpus):
        provider = LocalProvider(worker_init=f"export PATH={bin}:$PATH OMP_NUM_THREADS=1", init_blocks=1, max_blocks=1)
        return HighThroughputExecutor(label=label, address="127.0.0.1", max_workers_per_node=len(gpus) or 1,
            cores_per_worker=1e-6, available_accelerators=gpus, provider=provider, encrypted=False,
            interchange_launch_cmd=[bin + "/interchange.py"])
    return Config(executors=[executor("cpu", []), executor("gpu", ["0", "0"])], run_dir=str(run_dir / "parsl"),
                  strategy="none", strategy_period=0.2, initialize_logging=False)
'''


@pytest.fixture
def cache(tmp_path, monkeypatch):
    pytest.importorskip("tblite")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_sound_site_passes_and_is_remembered(tmp_path, cache):
    assert "never been checked" in check_warning("local")
    check = check_site("local", {"workers": "2", "gpu_workers": "1"}, tmp_path, LABELS, workers={"cpu": 2})
    assert check.passed, check.findings
    assert [report.executor for report in check.workers].count("cpu") == 2
    assert check.speeds["cpu"].tasks_per_second > 0
    save_check(check, tmp_path / "site-check.json")
    plain = json.loads((tmp_path / "site-check.json").read_text())
    assert plain["passed"]
    assert plain["workers"][0]["energy"] == pytest.approx(check.energy_ev, abs=1e-6)
    assert check_warning("local") is None
    kept = tmp_path / "cache" / "alflow" / "site-checks" / "local.json"
    plain["versions"]["torch"] = "1.0"
    kept.write_text(json.dumps(plain))
    assert "other versions of torch" in check_warning("local")
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    for part in check_tables(check):
        console.print(part)
    assert "passed: 3 workers looked at" in console.export_text()


def test_the_launcher_is_tried_with_the_ranks_of_a_label(tmp_path, cache):
    launchers = {
        "sh -c 'for rank in 1 2; do PMI_SIZE={ranks} \"$@\"; done' -": "",
        "sh -c 'for rank in 1 2; do \"$@\"; done' -": "without telling them of each other",
        "sh -c '\"$@\"' -": "started 1",
        "no-such-launcher": "started 0. exit code 127: no-such-launcher",
    }
    for number, (launcher, words) in enumerate(launchers.items()):
        options = {"workers": "1", "gpu_workers": "1", "ranks_per_label": "2", "cores_per_label": "2"}
        options["launcher"] = launcher if "{ranks}" in launcher else f"{launcher} env RANKS={{ranks}}"
        check = check_site("local", options, tmp_path / str(number), LABELS)
        assert check.passed == (not words), check.findings
        assert words in " ".join(finding.what for finding in check.findings)
        (report,) = [report for report in check.workers if report.executor == "cpu"]
        assert (report.ranks, report.rank_threads) == (2, 1)
        console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
        for part in check_tables(check):
            console.print(part)
        assert f"2 on {report.nodes[0]}" in console.export_text()


def test_another_torch_and_wrong_labels_on_the_workers_are_found(tmp_path, cache):
    path = tmp_path / "path"
    (path / "torch-0.1.dist-info").mkdir(parents=True)
    (path / "torch-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    (path / "sitecustomize.py").write_text(
        "import dataclasses, alflow.labeling.frames as base\n"
        "right = base.compute_checked\n"
        "def wrong(*args, **kwargs):\n"
        "    found = right(*args, **kwargs)\n"
        "    return dataclasses.replace(found, energy=found.energy + 0.01)\n"
        "base.compute_checked = wrong\n"
    )
    options = {"workers": "1", "worker_init": f"export PYTHONPATH={path}"}
    check = check_site("local", options, tmp_path / "run", LABELS)
    assert not check.passed
    said = " ".join(finding.what for finding in check.findings)
    assert "torch is 0.1 on" in said
    assert "(off by +1.00e-02)" in said


def test_two_workers_pinned_to_one_gpu_are_found(tmp_path, cache):
    site = tmp_path / "twice.py"
    site.write_text(PINNED_TWICE)
    check = check_site(str(site), {}, tmp_path / "run", LABELS, workers={"gpu": 2})
    assert any(
        "2 GPU workers on" in finding.what and "CUDA_VISIBLE_DEVICES=0" in finding.what for finding in check.findings
    )
    assert not check.passed


def test_workers_that_do_not_come_are_reported(tmp_path, cache):
    options = {"workers": "1", "worker_init": "exit 3"}
    with pytest.raises(CampaignError, match=r"workers failed to register"):
        check_site("local", options, tmp_path / "run", LABELS, start_limit_s=60)
    assert Path(tmp_path / "run").exists()
