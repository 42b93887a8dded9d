"""Reference pages made from the code: commands, settings, packages. What is not in the code is not on them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

from alflow.cli import app

PACKAGE = Path(__file__).parents[2] / "alflow"
Schema = Mapping[str, Any]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in (("commands", commands_page), ("settings", settings_page), ("packages", packages_page)):
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {line} |" for line in lines), ""]


def commands_page() -> str:
    """Return the page of the command line: every command with its arguments and options."""
    lines = ["# Commands", "", "What `alflow COMMAND --help` says."]
    for path, command in leaves(typer.main.get_command(app), ("alflow",)):
        lines += ["", f"## `{' '.join(path)}`", "", command.help or "", ""]
        rows = [parameter_row(parameter) for parameter in command.params if parameter.name != "help"]
        lines += table(("argument or option", "default", "meaning"), rows) if rows else []
        lines += ["```sh", (command.epilog or "").removeprefix("Example: "), "```"]
    return "\n".join(lines)


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give each command that does something, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from leaves(inner, (*path, name))


def parameter_row(parameter: Any) -> tuple[str, str, str]:
    """Return name, default and meaning of an argument or option."""
    names = ", ".join(f"`{name}`" for name in parameter.opts) if parameter.param_type_name == "option" else ""
    default = "required" if parameter.required else f"`{parameter.default}`" if parameter.default is not None else ""
    return names or f"`{(parameter.name or '').upper()}`", default, getattr(parameter, "help", None) or ""


def settings_page() -> str:
    """Return the page of the campaign file: every table with its keys."""
    schema = json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)
    lines = ["# Settings", "", "Every key of a campaign file, as `alflow config schema` gives it.", ""]
    for heading, model in models(schema, schema, ""):
        rows = [
            (f"`{name}`", kind(value), default(value), value.get("description", ""))
            for name, value in model.get("properties", {}).items()
            if not refers(schema, value)
        ]
        lines += ["", f"## {heading}", "", model.get("description", "")]
        lines += table(("key", "values", "default", "meaning"), rows) if rows else []
    return "\n".join(lines)


def models(schema: Schema, model: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Give each table of the campaign file with its heading: the file itself first, then its tables in order."""
    yield (f"`[{path}]`" if path else "The file itself"), model
    for name, value in model.get("properties", {}).items():
        inner = refers(schema, value)
        place = f"{path}.{name}" if path else name
        if len(inner) == 1:
            yield from models(schema, inner[0], place)
        else:
            yield from ((f"`[{place}]`: {found['title']}", found) for found in inner)


def refers(schema: Schema, value: Schema) -> list[Schema]:
    """Return the tables that a key may hold; none for a key with a plain value."""
    options = value.get("anyOf") or value.get("oneOf") or [value]
    found = [schema["$defs"][option["$ref"].rsplit("/", 1)[1]] if "$ref" in option else option for option in options]
    return [table for table in found if "properties" in table]


def kind(value: Schema) -> str:
    """Say in words what a key may hold."""
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value:
        return " or ".join(kind(option) for option in value["anyOf"] if option.get("type") != "null")
    if value.get("type") == "array" and "items" in value:
        return f"list of {kind(value['items'])}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[name]:g}" for name, sign in limits.items() if name in value]
    return ", ".join([str(value.get("type", "any")), *bounds])


def default(value: Schema) -> str:
    """Return the default as a campaign file would have it."""
    if "default" not in value or value["default"] is None:
        return ""
    return f"`{json.dumps(value['default'])}`"


def packages_page() -> str:
    """Return the page of the source tree: each folder and module in its own words."""
    lines = ["# Packages", "", "The source tree, in the first words of each file."]
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        place = folder.relative_to(PACKAGE.parent).as_posix()
        lines += ["", f"## `{place}/`", "", summary(folder / "__init__.py")]
        found = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        lines += table(("module", "what it is"), [(f"`{path.name}`", summary(path)) for path in found])
    return "\n".join(lines)


def summary(path: Path) -> str:
    """Return the first line of a module's docstring, without importing it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
