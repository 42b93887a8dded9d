"""docs/architecture.md: its rooms are those that imports are held to; what keeps a rule is named as in the code."""

from __future__ import annotations

import re
import runpy

import pytest
from docpages import ROOT, blocks

PATH = ROOT / "docs" / "architecture.md"
PAGE = PATH.read_text()


def rows(heading):
    """Return the cells of the rows of the table below a heading."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [re.split(r" ?\| ?", line.strip("| ")) for line in part.splitlines() if line.startswith("| ")][1:]


def rooms():
    """Return the rooms of the package from the highest to the lowest."""
    ranks = runpy.run_path(str(ROOT / "tests" / "test_imports.py"))["ROOMS"]
    return [name for names in reversed(ranks) for name in names]


def test_rooms_are_drawn_in_the_order_that_imports_are_held_to():
    (drawn,) = [block.text for block in blocks(PATH) if block.text.startswith("cli ")]
    words = [word for line in drawn.splitlines() for word in re.match(r"\w+(, \w+)*", line)[0].split(", ")]
    assert words == rooms()


def test_every_room_runs_somewhere():
    named = [name for row in rows("Where each package runs") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(rooms())


@pytest.mark.parametrize("heading", ["What is true at every moment", "One label"])
def test_names_that_a_row_gives_stand_in_the_code(heading):
    source = "".join(path.read_text() for path in (ROOT / "alflow").rglob("*.py"))
    for row in rows(heading):
        kept = row[1]
        for name in re.findall(r"`([\w./]+)`", kept):
            if "/" in name:
                assert (ROOT / name).exists() or (ROOT / "alflow" / name).exists(), name
            elif not name.endswith((".json", ".jsonl")):
                assert re.search(rf"\b{re.escape(name.split('.')[-1])}\b", source), name


def test_files_to_read_first_are_as_long_as_the_page_says():
    files = [name for row in rows("Read in this order") for name in re.findall(r"`(alflow/[\w/]+\.py)`", row[0])]
    lines = sum(len((ROOT / name).read_text().splitlines()) for name in files)
    assert len(files) == 10
    assert lines == pytest.approx(2100, rel=0.15)
