"""Every command that reads, everything that may lie where it reads: the right outcome, or one sentence and code 2."""

import json
import shutil

import pytest
from places import heeding_permissions

from alflow.ledger import LedgerReader

GARBAGE = bytes(range(256)) * 20
KINDS = (
    "missing",
    "a folder",
    "an empty file",
    "noise",
    "text",
    "a link that dangles",
    "a loop of links",
    "name too long",
    "a file for a folder",
    "an unreadable file",
    "a device",
    "a null of JSON",
)


def source(kind, folder, name):
    """Put something of a kind where a file or a folder is read, and return its path."""
    path = {"name too long": folder / ("n" * 300), "a file for a folder": folder / "file" / name}.get(
        kind, folder / name
    )
    if kind == "a folder":
        path.mkdir()
    elif kind == "a file for a folder":
        (folder / "file").write_text("")
    elif kind == "a link that dangles":
        path.symlink_to(folder / "nowhere")
    elif kind == "a loop of links":
        path.symlink_to(path)
    elif kind == "a device":
        path.symlink_to("/dev/null")
    elif kind not in ("missing", "name too long"):
        contents = {"noise": GARBAGE, "text": b"once upon a time\n", "a null of JSON": b"null\n"}
        path.write_bytes(contents.get(kind, b""))
        path.chmod(0 if kind == "an unreadable file" else 0o644)
    return path


@pytest.fixture
def run(finished):
    return finished[0] / "runs" / "tiny"


COMMANDS = {
    "run": (".toml", lambda run, path: ("run", path)),
    "run site": (".py", lambda run, path: ("run", run.parent.parent / "tiny.toml", "--site", path, "--dry-run")),
    "config show": (".toml", lambda run, path: ("config", "show", path)),
    "status": ("", lambda run, path: ("status", path)),
    "status watch": ("", lambda run, path: ("status", path, "--watch")),
    "report": ("", lambda run, path: ("report", path)),
    "ledger check": ("", lambda run, path: ("ledger", "check", path)),
    "ledger export": ("", lambda run, path: ("ledger", "export", path, "out.xyz")),
    "ledger import run": ("", lambda run, path: ("ledger", "import", path, "mine.xyz")),
    "ledger import file": (".xyz", lambda run, path: ("ledger", "import", run, path)),
    "evaluate model": (".pt", lambda run, path: ("evaluate", path, "frames.xyz")),
    "evaluate data": (".xyz", lambda run, path: ("evaluate", run / "iteration-001" / "ensemble.pt", path)),
    "label": (".xyz", lambda run, path: ("label", path, "-o", "out.xyz", "--engine", "sleep", "--timeout", "0")),
    "site show": (".py", lambda run, path: ("site", "show", path)),
    "site check": (".py", lambda run, path: ("site", "check", path, "--engine", "sleep")),
    "bench site": (".py", lambda run, path: ("bench", "label", "--site", path, "--engine", "sleep")),
    "bench structures": (".xyz", lambda run, path: ("bench", "label", "--structures", path, "--engine", "gfn2-xtb")),
    "params install": ("", lambda run, path: ("params", "install", "--from", path)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_outsider_what_cannot_be_read_is_one_sentence(alflow, run, monkeypatch, tmp_path, command, kind):
    monkeypatch.setenv("ALFLOW_DATA", str(tmp_path / "data"))
    (tmp_path / "place").mkdir()
    suffix, words = COMMANDS[command]
    path = source(kind, tmp_path / "place", f"source{suffix}")
    (tmp_path / "frames.xyz").write_text("1\nenergy=1.0 Properties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 0 0 0\n")
    with heeding_permissions():
        code, out, err = alflow(*words(run, path))
    assert code == 2, (out, err)
    assert err.startswith("alflow: "), err
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert not (tmp_path / "out.xyz").exists()


LEDGER = ("ledger.sqlite",)
LOOKERS = {
    "status": (lambda path: ("status", path), ("status.json", "iterations.jsonl", "events.jsonl"), KINDS),
    "ledger check": (lambda path: ("ledger", "check", path), LEDGER, KINDS),
    "ledger export": (lambda path: ("ledger", "export", path, "out.xyz"), LEDGER, KINDS),
    "report": (
        lambda path: ("report", path),
        ("status.json", "campaign.toml", "iterations.jsonl", "events.jsonl", "ledger.sqlite", "environment.json"),
        ("missing", "a folder", "noise", "a null of JSON"),
    ),
}
CASES = [
    (command, name, kind)
    for command, (_, names, kinds) in LOOKERS.items()
    for name in names
    for kind in kinds
    if kind not in ("name too long", "a file for a folder")
]


@pytest.mark.parametrize(("command", "name", "kind"), CASES)
def test_outsider_a_run_with_a_file_that_is_none_is_shown_or_refused(alflow, run, tmp_path, command, name, kind):
    """A page or a status may do without a file; none ends in a traceback, and a ledger that is none is no empty one."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("parsl", "pull-*", "first-data", "reference"))
    (copy / name).unlink()
    source(kind, copy, name)
    with heeding_permissions():
        code, out, err = alflow(*LOOKERS[command][0](copy))
    assert "Traceback" not in out + err
    assert code in (0, 2), err
    said = [line for line in err.splitlines() if line.startswith("alflow: ") and "alflow: note: " not in line]
    assert len(said) == (code == 2), err
    if code:
        assert err.splitlines()[-1].startswith("alflow: ")
    if name == "ledger.sqlite" and command.startswith("ledger"):
        assert code == 2, out


PIECES = (
    "campaign.toml",
    "identity.json",
    "iterations.jsonl",
    "status.json",
    "ledger.sqlite",
    "iteration-001/members.json",
    "iteration-001/dataset.npz",
    "iteration-001/ensemble.pt",
    "iteration-001/pull-00/segment-000.npz",
)
GOERS = {
    "run": (lambda run, copy: ("run", run.parent.parent / "tiny.toml", "-d", copy, "-O", "kind=threads"), PIECES),
    "ledger import": (lambda run, copy: ("ledger", "import", copy, "mine.xyz"), (*PIECES[:3], PIECES[4])),
    "ledger remove": (
        lambda run, copy: ("ledger", "remove", copy, "--force-above", "1e6", "--yes"),
        (PIECES[0], PIECES[4]),
    ),
}


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        (command, name, kind)
        for command, (_, names) in GOERS.items()
        for name in names
        for kind in ("an empty file", "a null of JSON", "cut off", "missing")
        if kind != "missing" or name == "ledger.sqlite"
    ],
)
def test_outsider_a_run_with_a_damaged_file_goes_on_as_before_or_is_refused(alflow, run, tmp_path, command, name, kind):
    """The last iteration is not committed yet. What goes on loses no label and no iteration."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("parsl"))
    whole = (copy / name).read_bytes()
    first, *_ = (copy / "iterations.jsonl").read_text().splitlines(keepends=True)
    (copy / "iterations.jsonl").write_text(first)
    (copy / name).unlink()
    if kind == "cut off":
        (copy / name).write_bytes(whole[:-3])
    else:
        source(kind, (copy / name).parent, (copy / name).name)
    with LedgerReader.open(run / "ledger.sqlite") as ledger:
        before = ledger.digest()
    assert alflow("ledger", "export", run, "mine.xyz")[0] == 0
    code, out, err = alflow(*GOERS[command][0](run, copy))
    assert "Traceback" not in out + err
    assert code in (0, 2), err
    assert sum(line.startswith("alflow: ") and "note:" not in line for line in err.splitlines()) == (code == 2), err
    if code == 0:
        with LedgerReader.open(copy / "ledger.sqlite") as ledger:
            assert ledger.digest() == before
        if command == "run":
            assert len((copy / "iterations.jsonl").read_text().splitlines()) == 2
    elif name != "ledger.sqlite":
        with LedgerReader.open(copy / "ledger.sqlite") as ledger:
            assert ledger.digest() == before
    if name == "ledger.sqlite":
        assert code == 2, out


@pytest.mark.parametrize("content", [b"", b"{}\n", b"null\n"])
def test_outsider_a_record_of_an_iteration_that_is_none_is_told(alflow, run, tmp_path, content):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("parsl", "pull-*", "first-data", "reference"))
    lines = (run / "iterations.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "iterations.jsonl").write_bytes(content and lines[0] + content + lines[1])
    for command in ("status", "report"):
        code, _, err = alflow(command, tmp_path / "run")
        assert code == 0, err
        assert "iterations.jsonl is damaged" in err


@pytest.mark.parametrize("content", [b"", GARBAGE])
def test_outsider_a_section_of_the_report_that_is_missing_is_told(alflow, run, tmp_path, content):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("parsl", "pull-*", "first-data", "reference"))
    (tmp_path / "run" / "ledger.sqlite").write_bytes(content)
    code, _, err = alflow("report", tmp_path / "run")
    assert code == 0, err
    assert "alflow: note: The section 'Labels' of the report could not be made" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["figure.nope", "figure.txt", "figure.html", "figure.PNGG"])
def test_outsider_a_figure_of_no_format_is_refused_before_the_work(alflow, run, name):
    code, out, err = alflow("evaluate", run / "iteration-001" / "ensemble.pt", "frames.xyz", "--figure", name)
    assert code == 2, out
    assert "The ending of a figure's name is its format" in err


@pytest.mark.parametrize("name", ["model.pt", "program", "data.sqlite", "program.11"])
def test_outsider_structures_of_no_known_format_are_told_so(alflow, tmp_path, name):
    (tmp_path / name).write_bytes(GARBAGE)
    code, out, err = alflow("label", tmp_path / name, "-o", "out.xyz", "--engine", "sleep")
    assert code == 2, out
    assert "its format cannot be told" in err


@pytest.mark.parametrize("value", [None, "text", -1, [], {}, 1e400, "2026-01-01", True])
@pytest.mark.parametrize(
    "key", ["state", "message", "host", "pid", "started", "time", "iteration", "iterations", "stage", "labels", "pull",
            "training", "tasks", "finished", "workers", "reference"],
)  # fmt: skip
def test_outsider_a_status_of_any_values_is_shown_or_refused(alflow, run, tmp_path, key, value):
    status = json.loads((run / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**status, "state": "running", key: value}))
    code, out, err = alflow("status", tmp_path)
    assert code in (0, 2), err
    assert "Traceback" not in out + err
    if code:
        assert err.startswith("alflow: ")
        assert err.count("\n") == 1
        assert "damaged" in err
