"""Find a site file, run it, and say what its options are."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alflow.errors import SiteError
from alflow.execution.sites.hints import kind_text, option_hints, option_parameters
from alflow.files.resources import close_matches, find_resource, list_resources


@dataclass(frozen=True)
class SiteOption:
    """One option of a site, as `alflow site show` prints it."""

    name: str
    kind: str
    """The type and its rules, in words."""
    default: Any
    """None where the option is required."""
    required: bool
    help: str


@dataclass(frozen=True)
class SiteDescription:
    """A site file and its options."""

    name: str
    path: Path
    summary: str
    text: str
    """The docstring of make_config without its list of arguments."""
    options: tuple[SiteOption, ...]


def find_site(name_or_path: str | Path) -> Path:
    """Return the site file that is meant: a path as given, ./executors/NAME.py, or the installed copy.

    Raises:
        SiteError: there is none.
    """
    path = find_resource("executors", name_or_path)
    if path is None:
        known = list(list_resources("executors"))
        raise SiteError(
            f"a site is a path or the name of a file in 'executors'; got {str(name_or_path)!r}: "
            f"{close_matches(str(name_or_path), known)}"
        )
    return path


def list_sites() -> dict[str, tuple[Path, str]]:
    """Return name -> (file, first line of its docstring), without running any of the files."""
    summaries = {}
    for name, path in list_resources("executors").items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        summaries[name] = (path, docstring.split("\n")[0])
    return summaries


def describe_site(path: Path) -> SiteDescription:
    """Return the options of a site file with their types, defaults and meaning.

    Raises:
        SiteError: the file cannot be run, or has no make_config.
    """
    module = _import_site(path)
    make_config = _entry_point(module, path)
    docstring = inspect.getdoc(make_config) or ""
    text, _, arguments = docstring.partition("\nArgs:\n")
    helps = dict(re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", arguments, flags=re.MULTILINE))
    hints = option_hints(make_config, path)
    options = tuple(
        SiteOption(
            name=parameter.name,
            kind=kind_text(hints.get(parameter.name, str)),
            default=None if parameter.default is inspect.Parameter.empty else parameter.default,
            required=parameter.default is inspect.Parameter.empty,
            help=" ".join(helps.get(parameter.name, "").split()),
        )
        for parameter in option_parameters(make_config)
    )
    return SiteDescription(path.stem, path, (module.__doc__ or "").strip().split("\n")[0], text.strip(), options)


def entry_point(path: Path) -> Callable[..., Any]:
    """Run a site file and return its make_config.

    Raises:
        SiteError: the file cannot be run, or has no make_config.
    """
    return _entry_point(_import_site(path), path)


def _import_site(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"alflow_site_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SiteError(f"a site file is a Python file; {path} is not one")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SiteError(f"site file {path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _entry_point(module: types.ModuleType, path: Path) -> Callable[..., Any]:
    make_config = getattr(module, "make_config", None)
    if not callable(make_config):
        raise SiteError(
            f"a site file defines make_config(run_dir, **options) -> parsl.Config; {path} does not. See docs/sites.md"
        )
    return typing.cast("Callable[..., Any]", make_config)
