"""The report: what stands in it, that it needs nothing from outside, and how it looks in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict

import matplotlib.image
import numpy as np
import pytest

from alflow.campaign.forecast import Forecast, Stage
from alflow.campaign.launch import launch
from alflow.config.load import load_campaign
from alflow.display.view import Silent
from alflow.errors import RunError
from alflow.ledger import LedgerReader
from alflow.report import curves as summary
from alflow.report import report, sections
from alflow.report.report import SECTIONS, refresh_report, write_report
from alflow.runs.directory import RunDirectory

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --hide-scrollbars --window-size=1100,2600"
)
BLUE = (31, 119, 180)
"""Of lines and areas in the figures."""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Run the tiny campaign with two replicas once; tests work on copies."""
    from tinycampaign import TINY

    folder = tmp_path_factory.mktemp("report")
    path = folder / "tiny.toml"
    path.write_text(TINY)
    settings = load_campaign(path, ("sampling.replicas=2",))
    launch(settings, "local", {"kind": "threads", "workers": "1"}, folder / "run", Silent())
    return RunDirectory(folder / "run")


@pytest.fixture
def run(finished_run, tmp_path):
    """Return a copy of the finished run."""
    shutil.copytree(finished_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("parsl"))
    return RunDirectory(tmp_path / "run")


def words_of(page):
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<svg.*?</svg>|<style.*?</style>", " ", page)).split())


def test_every_section_is_there_and_none_failed(run):
    path = write_report(run)
    assert path == run.path / "report.html"
    page = path.read_text()
    assert "could not be made" not in page
    for heading, _ in SECTIONS:
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") == 8


def test_the_page_needs_nothing_from_outside(run):
    page = write_report(run).read_text()
    assert "<script" not in page
    assert not re.search(r"""\bsrc\s*=|@import|url\((?!#)|href\s*=\s*["'](?!#)""", page)


def test_numbers_are_those_of_the_records_and_the_ledger(run):
    words = words_of(write_report(run).read_text())
    last = run.records()[-1]
    assert f"{last.barrier_ev.mean:.3f} ± {last.barrier_ev.ci95:.3f} eV" in words
    assert f"{last.barrier_error_ev.mean:+.3f} ± {last.barrier_error_ev.ci95:.3f}" in words
    assert f"{last.labels + last.new_labels} labels to learn from" in words
    with LedgerReader.open(run.ledger) as ledger:
        for iteration, count in ledger.counts_by_iteration().items():
            assert f" {iteration} {count.labelled} {count.failed} " in words
    for package, version in json.loads((run.path / "environment.json").read_text())["packages"].items():
        assert f"{package} {version}" in words
    assert "similarity_distance_angstrom = 0.01" in words
    assert "Digital Discovery 2024, 3, 514" in words


def test_failed_labels_are_counted_by_reason(run, monkeypatch):
    monkeypatch.setattr(LedgerReader, "failures_by_reason", lambda *_: {"not-converged": 7, "timeout": 2})
    words = words_of(write_report(run).read_text())
    assert "not-converged 7" in words
    assert "timeout 2" in words
    assert "No label failed" not in words


def test_chosen_frames_are_those_of_the_pull(run):
    record = run.records()[0]
    chosen = summary.chosen_frames(run, 0)
    assert len(chosen) == record.selected > 0
    for frame in chosen:
        folder = run.iteration(0) / f"pull-{frame.pull:02d}"
        row = np.flatnonzero(summary.column(folder, "steps") == frame.step)[0]
        assert summary.column(folder, "spread")[row] == pytest.approx(frame.spread, rel=1e-6)
    of_first = [frame for frame in chosen if frame.pull == 0]
    assert len(summary.spread_curve(run, 0, record.threshold[0]).chosen_spread) == len(of_first)


def test_a_forecast_stands_beside_the_fact(run):
    stages = (Stage("training (frames x epochs)", "gpu", 2, 100, 8.0, 8.0),)
    forecast = Forecast("tiny", 2, stages, 0.1, 0.1, 0.1)
    (run.path / "forecast.json").write_text(json.dumps(asdict(forecast)))
    words = words_of(write_report(run).read_text())
    train = [json.loads(line) for line in run.events.read_text().splitlines() if '"train"' in line]
    spent = sum(line["ended"] - line["started"] for line in train)
    assert f"training (frames x epochs) 2 {len(train)} 8.0 {spent:.1f}" in words


def test_a_run_without_a_committed_iteration_has_a_report(run):
    (run.path / "iterations.jsonl").unlink()
    page = write_report(run).read_text()
    assert "could not be made" not in page
    assert "No iteration is committed yet" in page


def test_a_section_that_fails_says_so_and_the_others_stand(run, monkeypatch):
    def broken(_):
        raise ValueError("nothing <here>")

    changed = tuple((heading, broken if heading == "Errors" else make) for heading, make in SECTIONS)
    monkeypatch.setattr(report, "SECTIONS", changed)
    page = write_report(run).read_text()
    assert "This section could not be made: ValueError: nothing &lt;here&gt;" in page
    assert "<h2>Spread along the pull</h2>" in page


def test_refreshing_never_raises(run, tmp_path):
    assert refresh_report(run) == ""
    with pytest.raises(RunError):
        write_report(RunDirectory(tmp_path / "nowhere"))
    assert refresh_report(RunDirectory(tmp_path / "nowhere")).startswith("The report could not be written: RunError")


def test_every_threshold_and_order_has_words():
    from typing import get_args

    from alflow.config.acquisition import SelectionSettings

    fields = SelectionSettings.model_fields
    assert set(get_args(fields["threshold"].annotation)) == sections.THRESHOLDS.keys()
    assert set(get_args(fields["cap_order"].annotation)) == sections.ORDERS.keys()
    for words in sections.THRESHOLDS.values():
        assert "{" not in words.format(**SelectionSettings().model_dump())


def test_the_command_writes_the_page(alflow, run):
    (run.path / "report.html").unlink(missing_ok=True)
    code, out, _ = alflow("report", run.path)
    assert code == 0
    assert out.strip() == str(run.path / "report.html")
    assert (run.path / "report.html").exists()


def test_the_command_refuses_what_is_no_run(alflow, tmp_path):
    code, _, err = alflow("report", tmp_path)
    assert code == 2
    assert "A run directory holds campaign.toml" in err


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium (Debian: chromium)")
def test_it_looks_like_a_page_with_figures_in_a_browser(run, tmp_path):
    page, picture = write_report(run), tmp_path / "page.png"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = ["chromium", *FLAGS.split(), profile, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    pixels = (matplotlib.image.imread(picture)[:, :, :3] * 255).round().astype(int)
    assert pixels.shape[:2] == (2600, 1100)
    blue = (np.abs(pixels - BLUE).max(axis=-1) <= 2).any(axis=1)
    groups = np.split(np.flatnonzero(blue), np.flatnonzero(np.diff(np.flatnonzero(blue)) > 80) + 1)
    assert len(groups) >= 2, "blue lines must show in figures further down the page as well"
    ink = (pixels.min(axis=-1) < 128).mean(axis=1)
    assert (ink > 0).mean() > 0.2
    assert (pixels[:, -10:] > 240).all(), "nothing may run over the right edge"


def test_many_thresholds_are_given_by_their_range():
    assert sections._listed((0.00012, 0.5)) == "0.00012, 0.5"
    assert sections._listed((float("nan"), 0.3, 0.1, 0.2, 0.4)) == "0.1 to 0.4"
    assert sections._listed((float("nan"),) * 5) == "nan, nan, nan, nan, nan"
