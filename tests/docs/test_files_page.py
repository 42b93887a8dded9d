"""docs/files.md lists what a run leaves, and the changelog the formats of it."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch

import torch
from docpages import ROOT

from alflow.ledger.schema import VERSION
from alflow.potentials.ani.ensemble import FORMAT as ANI
from alflow.potentials.mace.kind import KIND as MACE
from alflow.potentials.schnet.ensemble import FORMAT as SCHNET

PAGE = (ROOT / "docs" / "files.md").read_text()


def table(heading):
    """Return the first cells of the first table below a heading."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", part, flags=re.MULTILINE)


def test_a_finished_run_holds_the_files_of_the_page_and_no_others(desk):
    run, listed = desk.folder / "runs" / "quickstart", table("The run directory")
    desk.alflow("report", "runs/quickstart")
    files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    files = [name for name in files if name not in ("ledger.sqlite-shm", "ledger.sqlite-wal")]
    assert len(listed) > 15
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in listed)] == []
    absent = [pattern for pattern in listed if not any(fnmatch(name, pattern) for name in files)]
    other_starts = ["structures.npz", "labels.json", "base.npz", "base.json", "base.toml", "base.pt", "weights.pt"]
    assert absent == [
        "structure/*",  # the campaign builds its molecule
        *(f"first-data/{name}" for name in other_starts),
        "base/*",
        "base-labels.sqlite",
        "iteration-*/base.pt",
    ]


def test_the_ledger_has_the_tables_of_the_page(desk):
    import alflow

    with alflow.read_ledger(desk.folder / "runs" / "quickstart") as ledger:
        found = {name for (name,) in ledger.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert set(table("The ledger")) == found


def test_a_segment_holds_the_arrays_of_the_page(desk):
    import numpy as np

    segment = desk.folder / "runs" / "quickstart" / "iteration-000" / "pull-00" / "segment-000.npz"
    with np.load(segment, allow_pickle=False) as data:
        names = set(data)
    said = set(re.findall(r"`(\w+)`", PAGE.split("A segment holds")[1].split("\n\n")[0]))
    assert said <= names
    assert {name for name in names - said if not name.startswith(("end_", "spring"))} <= {"stopped", "forces"}


def test_weights_and_ledger_are_of_the_formats_that_the_changelog_names(desk):
    said = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE))
    assert said["label ledger (`ledger.sqlite`)"] == str(VERSION)
    assert said["weights of ANI ensembles"] == f"`{ANI}`"
    assert said["weights of SchNet ensembles"] == f"`{SCHNET}`"
    assert said["weights of MACE ensembles"] == f"`{MACE.format}`"
    weights = desk.folder / "runs" / "quickstart" / "iteration-003" / "ensemble.pt"
    assert torch.load(weights, weights_only=True)["format"] == ANI


def test_lines_of_a_run_are_json(desk):
    run = desk.folder / "runs" / "quickstart"
    for name, keys in (("events.jsonl", {"what", "time"}), ("iterations.jsonl", {"iteration", "labels", "seconds"})):
        for line in (run / name).read_text().splitlines():
            assert keys <= json.loads(line).keys()
