"""The benchmark's account of worker time, and a small run through a real pool."""

import json

import pytest

from alflow.bench.label import bench_label
from alflow.bench.measure import Interval, account
from alflow.bench.report import BenchCase
from alflow.bench.show import bench_table, draw_bench
from alflow.bench.workload import EngineWorkload, SleepWorkload
from alflow.config.campaign import LabelSettings
from alflow.errors import InputError, SiteError
from alflow.structures import alkane


def test_the_four_parts_of_held_time_add_up():
    intervals = [
        Interval("a", 1.0, 4.0, 3),
        Interval("a", 4.5, 9.0, 4),
        Interval("b", 2.0, 6.0, 3),
    ]
    counted = account(intervals, workers=3, began=0.0, ended=10.0)
    assert counted.busy_s == 3.0 + 4.5 + 4.0
    assert counted.start_s == 1.0 + 2.0 + 10.0  # worker c got nothing
    assert counted.dispatch_s == 0.5
    assert counted.straggler_s == 1.0 + 4.0
    parts = counted.busy_s + counted.start_s + counted.dispatch_s + counted.straggler_s
    assert parts == pytest.approx(3 * 10.0)
    assert counted.labels_per_second == 1.0
    assert counted.utilisation == pytest.approx(11.5 / 30)
    assert counted.dispatch_ms_per_label == pytest.approx(50.0)


def test_places_are_counted_where_only_some_of_the_pool_worked_at_a_time():
    intervals = [Interval("a", 0.0, 1.0, 1), Interval("b", 1.25, 2.0, 1), Interval("a", 2.0, 4.0, 1)]
    counted = account(intervals, workers=1, began=0.0, ended=4.0)
    assert counted.workers == 1
    assert counted.dispatch_s == 0.25
    assert counted.busy_s + counted.dispatch_s == pytest.approx(4.0)


def test_frames_of_a_workload_differ_and_are_the_same_each_time():
    labels = LabelSettings.model_validate({"engine": "gfn2-xtb"})
    first, second = (EngineWorkload.of(labels, alkane(2), 4) for _ in range(2))
    assert (first.frames.positions == second.frames.positions).all()
    assert abs(first.frames.positions[0] - first.frames.positions[1]).max() > 1e-3
    positions = first.call(3, 2).arguments[3]
    assert (positions == first.frames.positions[[3, 0]]).all()


def test_two_sleeping_workers(tmp_path):
    report = bench_label(
        "local",
        {"workers": "2", "kind": "threads"},
        SleepWorkload(0.005),
        200,
        tmp_path,
        cases=(BenchCase(), BenchCase(frames_per_task=10), BenchCase(workers=1)),
        task_seconds=0.2,
    )
    assert report.workload == "sleep, 0.005 s a label"
    assert [row.account.labels for row in report.rows] == [200, 200, 200]
    assert report.rows[1].account.tasks == 20
    for row in report.rows:
        part = row.account
        held = part.busy_s + part.start_s + part.dispatch_s + part.straggler_s
        assert held == pytest.approx(part.workers * part.wall_s)
        assert part.busy_s >= 200 * 0.005
        assert row.failed == 0
        assert row.processor_efficiency is None
    assert len(bench_table(report).rows) == 3
    assert draw_bench(report, tmp_path / "bench.svg").stat().st_size > 1000
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["rows"][0]["labels_per_second"] == pytest.approx(report.rows[0].account.labels_per_second)


def test_labels_of_a_real_engine_through_processes(tmp_path):
    pytest.importorskip("tblite")
    labels = LabelSettings.model_validate({"engine": "gfn2-xtb"})
    work = EngineWorkload.of(labels, alkane(1), 12)
    report = bench_label("local", {"workers": "2"}, work, 12, tmp_path, warm_up=2, task_seconds=0.1)
    assert report.workers == 2
    assert report.rows[0].account.labels == 12
    assert report.rows[0].failed == 0
    assert report.label_seconds > 1e-4
    assert report.rows[0].account.processor_s > 0
    assert report.rows[0].processor_efficiency > 0


def test_bad_input_is_refused_before_workers_start(tmp_path):
    with pytest.raises(InputError, match="at least one frame; got 0"):
        bench_label("local", {}, SleepWorkload(1.0), 0, tmp_path / "a")
    with pytest.raises(SiteError, match="did you mean 'workers'"):
        bench_label("local", {"worker": "2"}, SleepWorkload(1.0), 1, tmp_path / "b")
    assert not (tmp_path / "a").exists()
