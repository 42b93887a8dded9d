"""The pages say nothing that does not work: commands within the text parse, links lead somewhere, names exist."""

from __future__ import annotations

import json
import re

import commandline
import pytest
from docpages import ROOT, inline_commands, pages
from typer.testing import CliRunner

from alflow.cli import app

INLINE = sorted({command for page in pages() for command in inline_commands(page)})
PAGES = pytest.mark.parametrize("page", pages(), ids=[str(page.relative_to(ROOT)) for page in pages()])
PRESENT = pytest.mark.parametrize(
    "page",
    [page for page in pages() if page.name != "CHANGELOG.md"],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
"""Pages that speak of today alone."""


@pytest.mark.parametrize("line", INLINE)
def test_every_command_in_the_text_parses(line):
    commandline.parse(line)


def test_a_wrong_command_would_be_noticed():
    assert len(INLINE) > 10
    with pytest.raises(Exception, match="No such option"):
        commandline.parse("alflow run campaign.toml --sites local")
    with pytest.raises(ValueError, match="no command 'walk'"):
        commandline.parse("alflow walk campaign.toml")


@PAGES
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link, anchor in re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", text):
        if not link.startswith(("http:", "https:")):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in headings(target.read_text()), f"{page.name} links to #{anchor} of {link}"


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@PAGES
def test_every_file_that_a_page_names_exists(page):
    named = re.findall(r"`((?:alflow|benchmarks|configs|docs|executors|tests)/[\w./-]+)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert [name for name in missing if not name.endswith("__pycache__")] == []


@PRESENT
def test_every_module_that_a_page_names_exists(page):
    named = {name for name in re.findall(r"`(alflow(?:\.\w+)+)[`(]", page.read_text()) if not name.endswith(".toml")}
    assert [name for name in sorted(named) if not resolves(name)] == []


def resolves(name: str) -> bool:
    """Say whether a dotted name is a module, or something in one."""
    import pkgutil

    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


def setting_keys(schema: dict, table: dict, path: str = "") -> set[str]:
    """Return the full names of all settings below a table of the schema."""
    table = schema["$defs"][table["$ref"].rsplit("/", 1)[1]] if "$ref" in table else table
    found = set().union(*(setting_keys(schema, option, path) for option in table.get("anyOf", [])))
    for name, value in table.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        found |= {place} | setting_keys(schema, value, place)
    return found


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """Return the full names of all settings."""
    schema = json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)
    return setting_keys(schema, schema)


@PRESENT
def test_every_setting_that_a_page_names_exists(page, settings):
    tables = {name.split(".")[0] for name in settings}
    named = set(re.findall(r"`(\w+(?:\.\w+)+)(?:`| =)", page.read_text()))
    keys = {name for name in named if name.split(".")[0] in tables and not name.endswith((".json", ".jsonl", ".toml"))}
    plugged = {name for name in keys if name.startswith("potential.gaussians")}  # brought by a page of its own
    assert sorted(keys - settings - plugged) == []
