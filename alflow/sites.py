"""Site files: find one, show its options, turn option strings into a Parsl configuration.

A site file is a Python file with ``make_config(run_dir, **options) -> parsl.Config``. Its options are keyword-only
arguments; their annotations say how a string from the command line is read, their defaults what a campaign gets
without them.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shutil
import subprocess
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alflow.errors import SiteError
from alflow.resources import close_matches, find_resource, list_resources

EXECUTOR_LABELS = ("cpu", "gpu")
"""What every site offers: "cpu" for labels, "gpu" for training and pulls."""

_SCHEDULER_COMMANDS = {
    "SlurmProvider": ("sbatch", "squeue", "scancel"),
    "PBSProProvider": ("qsub", "qstat", "qdel"),
}


@dataclass(frozen=True)
class SiteOption:
    """One option of a site, as `alflow site show` prints it."""

    name: str
    kind: str
    """The annotation, as written in the site file."""
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
    options = tuple(
        SiteOption(
            name=parameter.name,
            kind=str(parameter.annotation),
            default=None if parameter.default is inspect.Parameter.empty else parameter.default,
            required=parameter.default is inspect.Parameter.empty,
            help=" ".join(helps.get(parameter.name, "").split()),
        )
        for parameter in _options(make_config)
    )
    return SiteDescription(path.stem, path, (module.__doc__ or "").strip().split("\n")[0], text.strip(), options)


def load_site(path: Path, run_dir: Path, options: Mapping[str, str], *, check_commands: bool = True) -> Any:
    """Return the site's parsl.Config.

    Args:
        path: the site file (see find_site).
        run_dir: the campaign's run directory.
        options: option strings from the command line.
        check_commands: refuse a site whose scheduler commands this machine has not.

    Raises:
        SiteError: an option is unknown, missing or cannot be read; the file breaks the rules of site files;
            a scheduler command is not there. Nothing has been submitted.
    """
    make_config = _entry_point(_import_site(path), path)
    values = _read_options(make_config, options, path)
    try:
        config = make_config(run_dir.resolve(), **values)
    except ValueError as error:
        raise SiteError(f"site {path.stem!r} refuses these options: {error}") from error
    except Exception as error:
        raise SiteError(f"site {path.stem!r} cannot be used here: {type(error).__name__}: {error}") from error
    _check_labels(config, path)
    if check_commands:
        for executor in config.executors:
            _check_scheduler(executor, path.stem)
    return config


def parse_option_pairs(pairs: typing.Iterable[str]) -> dict[str, str]:
    """Turn "name=value" strings into a mapping.

    Raises:
        SiteError: a string has no "=", or a name is given twice.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SiteError(f"a site option is written name=value; got {pair!r}. Example: -o account=abc123")
        if name.strip() in options:
            raise SiteError(f"a site option is given once; {name.strip()!r} is given twice")
        options[name.strip()] = value
    return options


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


def _options(make_config: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(make_config).parameters.values()
    return [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


def _read_options(make_config: Callable[..., Any], options: Mapping[str, str], path: Path) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in _options(make_config)}
    for name in options:
        if name not in known:
            raise SiteError(f"site {path.stem!r} has no option {name!r}: {close_matches(name, list(known))}")
    missing = [
        name for name, option in known.items() if option.default is inspect.Parameter.empty and name not in options
    ]
    if missing:
        asked = " ".join(f"-o {name}=..." for name in missing)
        raise SiteError(f"site {path.stem!r} needs {', '.join(missing)}; give {asked}")
    hints = typing.get_type_hints(make_config)
    return {name: read_value(text, hints.get(name, str), name, path.stem) for name, text in options.items()}


def read_value(text: str, kind: Any, name: str, site: str) -> Any:
    """Read one option string as its annotated type: int, float, bool, str, Literal, list[...], or one of these | None.

    Raises:
        SiteError: the string is not of that type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", ""):
            return None
        return read_value(text, next(item for item in arguments if item is not type(None)), name, site)
    if origin in (list, tuple):
        return origin(read_value(item.strip(), arguments[0], name, site) for item in text.split(",") if item.strip())
    if origin is Literal:
        if text not in arguments:
            allowed = ", ".join(str(item) for item in arguments)
            raise SiteError(f"option {name!r} of site {site!r} is one of: {allowed}; got {text!r}")
        return text
    if kind is bool:
        values = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if text.lower() not in values:
            raise SiteError(f"option {name!r} of site {site!r} is true or false; got {text!r}")
        return values[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        rule = {int: "a whole number", float: "a number"}.get(kind, f"of type {kind}")
        raise SiteError(f"option {name!r} of site {site!r} is {rule}; got {text!r}") from error


def _check_labels(config: Any, path: Path) -> None:
    labels = sorted(executor.label for executor in getattr(config, "executors", ()))
    if labels != sorted(EXECUTOR_LABELS):
        raise SiteError(
            f"a site has two executors labelled 'cpu' and 'gpu'; {path} makes {', '.join(labels) or 'none'}. "
            "See docs/sites.md"
        )


def _check_scheduler(executor: Any, site: str) -> None:
    """Refuse a block that the scheduler would refuse, before anything is submitted."""
    provider = getattr(executor, "provider", None)
    ancestors = {ancestor.__name__ for ancestor in type(provider).__mro__}
    for name in ancestors & _SCHEDULER_COMMANDS.keys():
        for command in _SCHEDULER_COMMANDS[name]:
            if shutil.which(command) is None:
                raise SiteError(
                    f"site {site!r} submits with {command!r}, which is not found on this machine's PATH; "
                    "start alflow on a login node of that site, or choose another site"
                )
    if "SlurmProvider" in ancestors:
        _ask_slurm(provider, executor.label, site)


def _ask_slurm(provider: Any, label: str, site: str) -> None:
    """Ask `sbatch --test-only` whether a block of this executor could ever run."""
    lines = [f"#SBATCH --nodes={provider.nodes_per_block}", f"#SBATCH --time={provider.walltime}"]
    if provider.cores_per_node is not None:
        lines.append(f"#SBATCH --cpus-per-task={provider.cores_per_node}")
    script = "\n".join(["#!/bin/sh", "#SBATCH --ntasks-per-node=1", *lines, provider.scheduler_options, "true", ""])
    try:
        answer = subprocess.run(  # noqa: S603  # the scheduler's own command, without a shell
            [shutil.which("sbatch") or "sbatch", "--test-only"],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SiteError(f"site {site!r}: Slurm does not answer ('sbatch --test-only' took more than 60 s)") from error
    if answer.returncode:
        reason = answer.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise SiteError(
            f"Slurm refuses the jobs of executor {label!r} of site {site!r}: {reason[0]}. Change the site's options"
        )


@dataclass(frozen=True)
class Capacity:
    """What one executor of a site can hold at its largest."""

    workers: int
    nodes: int

    def node_hours(self, worker_seconds: float) -> float:
        """Return what so many worker-seconds cost when all workers of a node are busy."""
        return worker_seconds / 3600.0 * self.nodes / self.workers


def site_capacity(config: Any) -> dict[str, Capacity]:
    """Return the workers and nodes of each executor with all its blocks; threads count as workers of one node."""
    found = {}
    for executor in config.executors:
        provider = getattr(executor, "provider", None)
        nodes = int(getattr(provider, "nodes_per_block", 1) or 1) * int(getattr(provider, "max_blocks", 1) or 1)
        each = getattr(executor, "max_workers_per_node", None) or getattr(executor, "max_threads", 1)
        found[executor.label] = Capacity(int(each or 1) * nodes, nodes)
    return found
