"""Splits of a node's cores among labels: read, compared on a real pool, and one of them recommended."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.bench.measure import Account
from alflow.bench.show import draw_splits, split_table
from alflow.bench.splits import Split, SplitReport, SplitRow, bench_splits, node_cores, read_splits
from alflow.bench.workload import EngineWorkload, SleepWorkload
from alflow.config.campaign import LabelSettings
from alflow.errors import InputError, SiteError
from alflow.structures import alkane

SUPPORT = Path(__file__).resolve().parents[1] / "support"
THREADED = {"engine": "ase", "settings": {"calculator": "labelcalculators.Threaded"}}


@given(st.integers(1, 256))
def test_all_splits_use_every_core(cores):
    splits = read_splits("all", cores)
    assert [split.cores for split in splits] == sorted({split.cores for split in splits}, reverse=True)
    assert all(split.labels * split.cores == cores for split in splits)
    assert {split.cores for split in splits} >= {1, cores}


@given(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=1, max_size=6), st.sampled_from("x×"))
def test_splits_are_read(pairs, times):
    text = ", ".join(f"{labels}{times}{cores}" for labels, cores in pairs)
    assert read_splits(text, 8) == tuple(Split(*pair) for pair in pairs)


@pytest.mark.parametrize(
    "text", ["", "8", "2x", "x2", "0x8", "2x0", "-1x2", "2x4;4x2", "2x4,", "all,2x4", "2xx4", "1e3x1"]
)
def test_what_is_no_split_is_a_sentence(text):
    with pytest.raises(InputError, match="--splits is all, or labels side by side"):
        read_splits(text, 8)


def row(labels, cores, seconds, failed=0, efficiency=1.0):
    """Make a row of labels that take so many seconds each on all workers at once."""
    counted = Account(labels, seconds, labels, labels, labels * seconds, 0.0, 0.0, 0.0)
    return SplitRow(Split(labels, cores), counted, failed, efficiency)


def report(*rows, into="threads"):
    return SplitReport("local", {}, "labels", into, rows)


@pytest.mark.parametrize(
    ("rows", "cores"),
    [
        ([row(1, 8, 1.0), row(2, 4, 1.5), row(8, 1, 4.0)], 1),  # 1, 1.33, 2 labels/s
        ([row(1, 8, 1.0), row(2, 4, 1.0), row(8, 1, 5.0)], 4),  # 1, 2, 1.6
        ([row(4, 2, 1.0), row(2, 4, 0.51), row(8, 1, 2.2)], 4),  # as good as the best, and sooner
        ([row(4, 2, 1.0), row(2, 4, 0.6), row(8, 1, 2.2)], 2),
        ([row(8, 1, 1.0, failed=3), row(4, 2, 2.0)], 2),
        ([row(8, 1, 1.0, failed=8)], 1),
    ],
)
def test_the_quickest_split_is_recommended_and_of_equals_that_with_most_cores(rows, cores):
    found = report(*rows)
    assert found.recommended.split.cores == cores
    assert found.setting == f"-O cores_per_label={cores}"
    ranks = report(*rows, into="ranks")
    assert ranks.setting == f"-O cores_per_label={cores} -O ranks_per_label={cores}"


@pytest.fixture
def threaded(monkeypatch):
    """Return labels of an engine that is quicker with more threads."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return EngineWorkload.of(LabelSettings.model_validate(THREADED), alkane(1), 8)


def test_an_engine_of_several_threads_is_compared(tmp_path, threaded):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores")
    splits = (Split(1, 2), Split(2, 1))
    found = bench_splits("local", {"gpu_workers": "1"}, threaded, 3, tmp_path, splits, task_seconds=0.2)
    quick, many = found.rows
    assert [part.account.labels for part in found.rows] == [3, 4]  # each worker as many
    assert [part.failed for part in found.rows] == [0, 0]
    assert quick.account.processor_s == 0.0  # the engine works in a child process
    assert many.efficiency == 1.0
    assert quick.efficiency == pytest.approx(many.seconds_per_label / (2 * quick.seconds_per_label))
    threads = {part.split.cores: part for part in found.rows}
    assert threads.keys() == {1, 2}
    table = split_table(found)
    assert [cells[0] for cells in table.rows] == ["1 × 2", "2 × 1"]
    assert [cells[5] for cells in table.rows].count("recommended") == 1
    assert draw_splits(found, tmp_path / "splits.svg").stat().st_size > 1000
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["setting"] == found.setting
    assert plain["rows"][1]["labels_per_second"] == pytest.approx(many.account.labels_per_second)


def test_bad_input_is_refused_before_workers_start(tmp_path):
    work = SleepWorkload(0.01)
    with pytest.raises(InputError, match="got -O cores_per_label=2 beside it"):
        bench_splits("local", {"cores_per_label": "2"}, work, 1, tmp_path, [Split(1, 1)])
    with pytest.raises(SiteError, match=r"a label has the cores of its nodes.*got cores_per_label=5000|at most 4096"):
        bench_splits("local", {}, work, 1, tmp_path, [Split(1, 1), Split(1, 5000)])
    with pytest.raises(InputError, match="at least one frame"):
        bench_splits("local", {}, work, 0, tmp_path, [Split(1, 1)])
    with pytest.raises(SiteError, match="no option 'cores_per_label'"):
        node_cores("kubernetes", {"image": "a", "volume": "a:/a"}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_compares_and_recommends(alflow, tmp_path):
    words = ("bench", "label", "--engine", "sleep", "--label-seconds", "0.01", "--count", "4", "-O", "gpu_workers=1")
    code, out, err = alflow(*words, "--splits", "2x1")
    assert code == 0, err
    assert "Recommended: 2 × 1, -O cores_per_label=1" in " ".join(out.split())
    assert json.loads(Path("bench-label.json").read_text())["recommended"] == {"labels": 2, "cores": 1}
    assert Path("bench-label.svg").exists()
    for wrong, said in (
        (("--splits", "2by1"), "--splits is all, or"),
        (("--splits", "2x1", "--into", "fibres"), "--into is threads or ranks; got 'fibres'"),
        (("--splits", "2x1", "-O", "nodes_per_label=1"), "got -O nodes_per_label=1 beside it"),
        (("--splits", "2x1", "--campaign", "quickstart"), "--splits compares sites"),
        (("--splits", "1x4096"), "got cores_per_label=4096"),
    ):
        code, _, err = alflow(*words, *wrong)
        assert code == 2
        assert said in " ".join(err.split())
        assert "Traceback" not in err
