"""The site's own code: links that work on it and in the repository, pages made from the code, formulas."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from alflow.config.load import load_campaign

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent.parent


def hook(name):
    specification = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "line", "expected"),
    [
        ("campaigns.md", "[a](../benchmarks/RESULTS.md)", "[a](results/benchmarks.md)"),
        ("campaigns.md", "[a](../benchmarks/RESULTS.md#b-c)", "[a](results/benchmarks.md#b-c)"),
        ("campaigns.md", "[a](sites.md) and [b](failures.md#c)", "[a](sites.md) and [b](failures.md#c)"),
        ("results/README.md", "![a](hexane.png)", "![a](hexane.png)"),
        ("results/README.md", "[a](../campaigns.md)", "[a](../campaigns.md)"),
        ("results/benchmarks.md", "[a](../docs/campaigns.md)", "[a](../campaigns.md)"),
        ("index.md", "[a](docs/sites.md)", "[a](sites.md)"),
        ("index.md", "[a](CONTRIBUTING.md)", "[a](project/contributing.md)"),
        ("project/contributing.md", "[a](docs/results/README.md)", "[a](../results/README.md)"),
        ("index.md", "[a](https://example.org/docs/x.md#y)", "[a](https://example.org/docs/x.md#y)"),
        ("index.md", "[a](#here)", "[a](#here)"),
    ],
)
def test_links_between_files_become_links_between_pages(page, line, expected):
    assert list(hook("links").linked(line, page)) == [expected]


def test_code_is_no_link():
    text = "```python\nx[0](docs/sites.md)\n```\n[a](docs/sites.md)"
    assert list(hook("links").linked(text, "index.md"))[1::2] == ["x[0](docs/sites.md)", "[a](sites.md)"]


def test_a_link_to_what_is_no_page_is_told(caplog):
    list(hook("links").linked("[a](alflow/units.py)", "index.md"))
    assert "index.md links to alflow/units.py, which is no page" in caplog.text


def test_the_page_of_settings_has_every_key():
    page = hook("generated").settings_page()

    def keys(data, path):
        for name, value in data.items():
            table = f"`[{'.'.join((*path, name))}]`"
            if value == {} or (value is None and table in page):  # settings of a kind that has none; a table left out
                continue
            if isinstance(value, dict) and name not in ("arguments", "hidden_layers"):
                assert table in page
                yield from keys(value, (*path, name))
            else:
                yield name

    found = list(keys(load_campaign(ROOT / "configs" / "quickstart.toml").model_dump(), ()))
    assert len(found) > 60
    assert [key for key in found if f"| `{key}` |" not in page] == []
    assert "| list of integer |" in page


def test_the_page_of_commands_has_every_command_and_option():
    page = hook("generated").commands_page()
    for words in (
        "alflow run",
        "alflow ledger import",
        "alflow site check",
        "`--dry-run`",
        "`-o`, `--output`",
        "`RUN`",
    ):
        assert words in page


def test_the_page_of_packages_has_every_module_and_each_says_what_it_is():
    page = hook("generated").packages_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    files = [path for path in (ROOT / "alflow").rglob("*.py") if path.name != "__init__.py"]
    assert len(rows) == len(files)
    assert [row for row in rows if not row.split("|")[2].strip()] == []


def test_formulas_become_mathml():
    content = r'<p>with <span class="arithmatex">\(\tfrac12 q_a^2 &lt; \gamma_{ab}\)</span></p>'
    found = hook("formulas").on_page_content(content, page=None, config=None, files=None)
    assert found.startswith("<p>with <math ")
    assert "<mfrac>" in found
    assert "arithmatex" not in found


def test_a_cell_of_a_table_may_hold_what_would_end_it():
    assert hook("generated").table(("a",), [("x | y\nz",)])[3] == r"| x \| y z |"
