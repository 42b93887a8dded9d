"""Several campaigns under one driver: each gives what it gives alone, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tinycampaign import TINY

from alflow import run_several
from alflow.allocation import member as member_module
from alflow.allocation.allocation import run_allocation
from alflow.allocation.requests import check_apart, make_requests, parse_weights, with_weights
from alflow.allocation.spool import ask, to_add, to_withdraw
from alflow.campaign.launch import launch
from alflow.config.sweeps import parse_sweep
from alflow.display.several import SilentSeveral, allocation_head, allocation_table
from alflow.display.view import Silent
from alflow.errors import CampaignError, ConfigError, InputError, RunError
from alflow.ledger import LedgerReader
from alflow.report.allocation import use_by_campaign, write_allocation_report
from alflow.runs.allocations import AllocationDirectory
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events

SMALL = TINY.replace("[labels]\n", "[labels]\nframes_per_task = 2\n")
SLEEP = SMALL.replace('"ase"', '"sleep"').replace(
    'calculator = "ase.calculators.emt.EMT"', "seconds_per_label = 0.001\nlog_spread = 0.5"
)
THREADS = {"kind": "threads", "workers": "2", "gpu_workers": "2"}
PATIENCE = 300.0


def write(folder: Path, name: str, text: str = SLEEP, **changes: str) -> str:
    for old, new in changes.items():
        text = text.replace(f"{old} = ", f"{old} = {new} #")
    path = folder / f"{name}.toml"
    path.write_text(text.replace('"tiny"', f'"{name}"'))
    return str(path)


def content(run: Path):
    found = RunDirectory(run)
    with LedgerReader.open(found.ledger) as ledger:
        digest = ledger.digest()
    return digest, [(record.barrier_ev, record.energy_rmse_ev, record.threshold) for record in found.records()]


def alone(folder: Path, campaign: str):
    (request,) = make_requests([campaign], folder=folder / "alone")
    launch(request.settings, "local", THREADS, request.run, Silent())
    return content(request.run)


def together(folder: Path, campaigns, committed=lambda _: "", display=None, **settings):
    requests = make_requests(campaigns, folder=folder / "runs", **settings)
    return run_allocation(
        requests, "local", THREADS, folder / "runs" / "allocation", display or SilentSeveral(), committed
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three campaigns that ran together: two that ask for the same labels, and one of another seed."""
    folder = tmp_path_factory.mktemp("three")
    names = [write(folder, "a"), write(folder, "b"), write(folder, "c", SLEEP + "\n", iterations="2\nseed = 5")]
    return folder, names, together(folder, names)


@pytest.mark.parametrize("name", ["a", "c"])
def test_each_gives_the_bits_that_it_gives_alone(three, name) -> None:
    folder, names, ended = three
    assert [one.state for one in ended] == ["finished"] * 3
    assert content(folder / "runs" / name) == alone(folder, names["abc".index(name)])


def test_labels_that_two_ask_for_are_computed_once_and_stored_in_both(three) -> None:
    folder, _, _ = three
    assert content(folder / "runs" / "a") == content(folder / "runs" / "b")
    computed = {
        name: sum(
            event["frames"]
            for event in read_events(folder / "runs" / name / "events.jsonl")
            if event["what"] == "label"
        )
        for name in "abc"
    }
    with LedgerReader.open(folder / "runs" / "a" / "ledger.sqlite") as ledger:
        asked = ledger.counts().labelled - ledger.counts_by_iteration(kinds=("first-data",))[0].labelled
    status = AllocationDirectory(folder / "runs" / "allocation").status()
    shared = {line.name: line.labels_shared for line in status.campaigns}
    assert computed["a"] + computed["b"] == asked
    assert shared["a"] + shared["b"] == asked
    assert shared["c"] == 0


def test_who_used_what_adds_up(three) -> None:
    folder, _, _ = three
    directory = AllocationDirectory(folder / "runs" / "allocation")
    status = directory.status()
    use = use_by_campaign(read_events(directory.events))
    assert (status.state, status.message) == ("finished", "all have ended")
    for line in status.campaigns:
        tasks = [event for event in read_events(Path(line.run) / "events.jsonl") if "ended" in event]
        for label in ("cpu", "gpu"):
            spent = sum(task["ended"] - task["started"] for task in tasks if task["executor"] == label)
            assert line.seconds[label] == pytest.approx(spent)
            assert use[line.name][label] == pytest.approx(spent)
    assert sum(status.share(line, "cpu") for line in status.campaigns) == pytest.approx(1.0)
    assert status.used("gpu") <= status.held["gpu"]
    cells = allocation_table(status).rows[0]
    assert cells[:3] == ("a", "finished", "all 2 iterations are done")
    assert "worker-seconds used" in allocation_table(status).caption
    assert allocation_head(directory.path, status).rows[0] == ("state", "finished: all have ended")
    page = write_allocation_report(directory).read_text(encoding="utf-8")
    assert "Executors" in page
    assert all(f">{name}<" in page for name in "abc")


def test_the_same_from_python_does_nothing_more(three) -> None:
    folder, names, _ = three
    before = (folder / "runs" / "c" / "iterations.jsonl").read_text()
    for weights in ({"a": 0.0}, {"d": 1.0}):
        with pytest.raises(ConfigError, match="A weight must"):
            run_several(names, "local", THREADS, folder / "runs", weights)
    ended = run_several(names, "local", THREADS, folder / "runs", {"a": 2.0})
    status = AllocationDirectory(folder / "runs" / "allocation").status()
    assert [line.weight for line in status.campaigns] == [2.0, 1.0, 1.0]
    assert [one.message for one in ended] == ["all 2 iterations are done"] * 3
    assert (folder / "runs" / "c" / "iterations.jsonl").read_text() == before


def test_the_status_and_the_report_of_the_whole_are_commands(three, alflow, monkeypatch) -> None:
    folder, _, _ = three
    monkeypatch.chdir(folder)
    code, out, _ = alflow("status", "runs/allocation")
    assert code == 0
    assert "all have ended" in out
    assert "worker-seconds used" in out
    code, out, _ = alflow("report", "runs/allocation")
    assert code == 0
    assert Path(out.strip()).stat().st_size > 5000
    code, _, err = alflow("add", "a.toml")
    assert (code, "has ended" in err) == (2, True)
    code, _, err = alflow("withdraw", "runs/a")
    assert (code, "has ended" in err) == (2, True)


def break_ledger(run: Path) -> None:
    with sqlite3.connect(run / "ledger.sqlite") as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for side in ("-wal", "-shm"):
        run.joinpath("ledger.sqlite" + side).unlink(missing_ok=True)
    data = bytearray((run / "ledger.sqlite").read_bytes())
    data[100:] = b"\xff" * len(data[100:])
    (run / "ledger.sqlite").write_bytes(bytes(data))


def test_one_that_fails_leaves_the_others_alone(three, tmp_path) -> None:
    bad = SLEEP.replace("log_spread = 0.5", "log_spread = 0.5\nnan_share = 1.0\nbeyond_angstrom = 3.4")
    names = [write(tmp_path, "good", SLEEP), write(tmp_path, "bad", bad)]
    good, failed = together(tmp_path, names)
    assert (good.state, failed.state) == ("finished", "failed")
    assert isinstance(failed.error, CampaignError)
    assert content(tmp_path / "runs" / "good") == content(three[0] / "runs" / "a")
    status = AllocationDirectory(tmp_path / "runs" / "allocation").status()
    assert (status.state, status.message) == ("failed", "of 2 campaigns failed: bad")
    break_ledger(tmp_path / "runs" / "bad")
    good, failed = together(tmp_path, names)
    assert (good.state, failed.state) == ("finished", "failed")
    assert isinstance(failed.error, RunError)
    assert "ledger.sqlite" in failed.message


def test_a_campaign_is_added_and_another_withdrawn_and_goes_on(three, tmp_path) -> None:
    names = [write(tmp_path, "long", SLEEP, iterations="3", seconds_per_label="0.1"), write(tmp_path, "late")]
    directory = AllocationDirectory(tmp_path / "runs" / "allocation")
    said: list[str] = []
    refused: list[str] = []

    def outside() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if directory.status().campaigns[0].state == "running":
                    break
            except RunError:
                pass
            time.sleep(0.05)
        (late,) = make_requests([names[1]], folder=tmp_path / "runs")
        said.append(ask(directory, to_add(late)))
        for content_asked in (to_add(late), to_withdraw("nobody"), {"action": "dance"}, {"no": 1}):
            try:
                ask(directory, content_asked)
            except RunError as error:
                refused.append(str(error))
        said.append(ask(directory, to_withdraw(str(tmp_path / "runs" / "long"))))

    thread = threading.Thread(target=outside, daemon=True)
    thread.start()
    ended = {one.request.name: one for one in together(tmp_path, names[:1])}
    thread.join(PATIENCE)
    assert list(directory.runs()) == ["long", "late"]
    assert ended["late"].state == "finished"
    assert ended["long"].state == "withdrawn"
    assert said == [
        f"late runs with the others, in {tmp_path / 'runs' / 'late'}.",
        "long has ended: The campaign was withdrawn; it can go on later.",
    ]
    for words, answer in zip(
        ("would both run in", "'nobody' does not. There is", "got 'dance'", "must be readable"), refused, strict=True
    ):
        assert words in answer
    expected = content(three[0] / "runs" / "a")
    assert content(tmp_path / "runs" / "late") == expected
    (long,) = together(tmp_path, [str(tmp_path / "runs" / "long")])
    assert long.state == "finished"
    assert content(tmp_path / "runs" / "long")[1][:2] == expected[1]
    assert not list(directory.spool.iterdir())
    assert list(directory.runs()) == ["long"]


def test_what_is_wrong_with_one_keeps_all_from_starting(tmp_path, monkeypatch) -> None:
    names = [write(tmp_path, "a"), write(tmp_path, "b", SMALL.replace("EMT", "EMU"))]
    with pytest.raises(InputError, match=r"^b: .*EMU"):
        together(tmp_path, names)
    assert not (tmp_path / "runs").exists()
    together(tmp_path, names[:1], overrides=["iterations=1"])
    before = (tmp_path / "runs" / "a" / "events.jsonl").read_text()
    names[1] = write(tmp_path, "b")
    (tmp_path / "a.toml").write_text(Path(names[0]).read_text().replace("cap = 4", "cap = 5"))
    with pytest.raises(InputError, match=r"^a: .*made with other settings: selection.cap: 4 → 5"):
        together(tmp_path, names)
    assert (tmp_path / "runs" / "a" / "events.jsonl").read_text() == before
    assert "task" not in (tmp_path / "runs" / "allocation" / "events.jsonl").read_text().split("driver")[-1]
    monkeypatch.setattr(member_module, "launch", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        together(tmp_path, names)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a.toml", "a.toml"], "'a' and 'a' would both run in"),
        (["a.toml", "copy.toml"], "'a' and 'a' would both run in"),
        (["a.toml", "missing.toml"], "there is no 'missing.toml'"),
        (["a.toml", "b.toml", "--weight", "a=-1"], "a number above 0; got 'a=-1'"),
        (["a.toml", "b.toml", "--weight", "a=0"], "a number above 0; got 'a=0'"),
        (["a.toml", "b.toml", "--weight", "a=nan"], "a number above 0; got 'a=nan'"),
        (["a.toml", "b.toml", "--weight", "a"], "must read NAME=NUMBER"),
        (["a.toml", "b.toml", "--weight", "a=1", "--weight", "a=2"], "'a' is given twice"),
        (["a.toml", "b.toml", "--weight", "aa=2"], "there is no 'aa'. There is 'a'"),
        (["a.toml", "--sweep", "sed=1..3"], "sed: this key is unknown; did you mean seed"),
        (["a.toml", "--sweep", "iterations=0..3"], "iterations: input should be greater than or equal to 1"),
        (["a.toml", "--sweep", "seed=1..201"], "at most 200 values"),
        (["a.toml", "b.toml", "--sweep", "seed=1..150"], "at most 200 campaigns; got 300"),
        (["a.toml", "b.toml", "--site", "lokal"], "lokal"),
        (["a.toml", "b.toml", "-O", "worker=2"], "worker"),
        (["a.toml", "b.toml", "--allocation", "full"], "holds other files (something)"),
        (["a.toml", "b.toml", "--allocation", "a.toml"], "An allocation has a folder of its own"),
    ],
)
def test_bad_input_is_a_sentence_and_nothing_is_started(alflow, tmp_path, given, words) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "copy.toml").write_text((tmp_path / "a.toml").read_text())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    code, out, err = alflow("run", *given)
    assert code == 2, (out, err)
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_run_inside_another_and_two_of_one_name_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    campaign = write(tmp_path, "a")
    for run in ("x/a", "y/a", "x/a/z/b"):
        Path(run).mkdir(parents=True)
        text = Path(campaign).read_text().replace('"a"', f'"{run[-1]}"')
        (Path(run) / "campaign.toml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(ConfigError, match="two are called 'a'"):
        check_apart(make_requests(["x/a", "y/a"]), elsewhere)
    with pytest.raises(ConfigError, match="lie one inside the other"):
        check_apart(make_requests(["x/a", "x/a/z/b"]), elsewhere)
    for folder in ("x/a", "x", "x/a/allocation"):
        with pytest.raises(ConfigError, match="An allocation has a folder of its own; 'a' would run in"):
            check_apart(make_requests(["x/a"]), tmp_path / folder)
    with pytest.raises(ConfigError, match="is a run that has begun"):
        make_requests(["x/a"], sweeps=[parse_sweep("seed=1..2")])


def test_a_weight_of_a_file_is_that_of_each_of_its_sweep(tmp_path) -> None:
    campaigns = [write(tmp_path, "a"), write(tmp_path, "b")]
    requests = make_requests(campaigns, sweeps=[parse_sweep("seed=1..2")])
    found = with_weights(requests, parse_weights(["a=3", "a-seed2=4"]))
    assert [(one.name, one.weight) for one in found] == [
        ("a-seed1", 3.0),
        ("a-seed2", 4.0),
        ("b-seed1", 1.0),
        ("b-seed2", 1.0),
    ]


def test_a_dry_run_of_several_sums_them_up(alflow, tmp_path) -> None:
    write(tmp_path, "a")
    code, out, _ = alflow("run", "a.toml", "--sweep", "seed=1..2", "--dry-run", "-O", "kind=threads")
    assert code == 0
    for words in ("Plan of a-seed1", "Plan of a-seed2", "2 campaigns together", "one after another"):
        assert words in " ".join(out.split())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"state": 1}', "\x00", '{"state": "running"}'])
def test_a_damaged_status_is_a_sentence(alflow, tmp_path, damage) -> None:
    folder = tmp_path / "allocation"
    AllocationDirectory(folder).open("local", {"a": "/a"})
    assert "has none yet" in alflow("status", folder)[2]
    (folder / "status.json").write_text(damage)
    code, _, err = alflow("status", folder)
    assert (code, "is damaged" in err, "Traceback" in err) == (2, True, False)
    (folder / "allocation.json").write_text(damage)
    for command in (("status", folder), ("report", folder), ("withdraw", "a", "-a", folder)):
        code, _, err = alflow(*command)
        assert (code, "is damaged" in err, "Traceback" in err) == (2, True, False)


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("alflow")), "run", "a.toml", "b.toml", "c.toml", *words]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*command, "-O", "kind=threads"], cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def await_tasks(folder: Path, process: subprocess.Popen[bytes], number: int) -> None:
    end = time.monotonic() + PATIENCE
    events = folder / "runs" / "allocation" / "events.jsonl"
    while process.poll() is None and time.monotonic() < end:
        if events.exists() and events.read_bytes().count(b'"campaign"') >= number:
            return
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_struck_drivers_of_three_go_on_to_the_same_end(tmp_path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path, name, SLEEP, iterations=f"2\nseed = {seed}", seconds_per_label="0.02")
    for number, (strike, code) in enumerate(
        ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9))
    ):
        process = start(tmp_path)
        await_tasks(tmp_path, process, 6 * (number + 1))
        process.send_signal(strike)
        assert process.wait(PATIENCE) in (code, 0), (tmp_path / "log").read_text()
    process = start(tmp_path)
    assert process.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in "abc":
        assert content(tmp_path / "runs" / name) == alone(tmp_path, str(tmp_path / f"{name}.toml"))
        with LedgerReader.open(tmp_path / "runs" / name / "ledger.sqlite") as ledger:
            assert ledger.paid_again() == 0
    assert json.loads((tmp_path / "runs" / "allocation" / "status.json").read_text())["state"] == "finished"
