"""Calculators that a campaign file names: found, made, put into a folder, and their errors in words."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from ase.calculators.calculator import SCFError
from pydantic import JsonValue

from alflow.errors import FailureReason, InputError, LabelError
from alflow.labeling.engines.convergence import calculators_in, speaks_of_convergence
from alflow.labeling.frames import told
from alflow.labeling.launch import filled_in

VERSION_TIMEOUT_S = 60.0
_NO_PROGRAM = re.compile(r"\b(code|status|error:?)\W{1,3}127\b")
"""What the shell returns where it does not find a program."""


def load(path: str) -> Callable[..., Any]:
    """Return the class, or the function that returns a calculator, at a dotted path.

    Raises:
        InputError: there is none.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module_name), name)
    except (Exception, SystemExit) as error:  # a module of the user's runs when it is imported
        raise InputError(
            f"A calculator is named by the dotted path of its class, such as ase.calculators.emt.EMT, or of a function "
            f"that returns one; {path!r} cannot be imported: {told(error)}"
        ) from error
    if not callable(found):
        raise InputError(f"A calculator is a class, or what a function returns; {path!r} is {found!r}.")
    made: Callable[..., Any] = found
    return made


def require_calculator(path: str, made: object) -> None:
    """Refuse what does not follow ASE's interface.

    Raises:
        InputError: it has no `get_potential_energy` or no `get_forces`.
    """
    if isinstance(made, type) or not all(hasattr(made, name) for name in ("get_potential_energy", "get_forces")):
        raise InputError(f"A calculator is an object that follows ASE's interface; {path} gives {made!r}.")


def package_version(path: str) -> str:
    """Return the version of the distribution that a dotted path comes from, with its name."""
    package = path.partition(".")[0]
    names = packages_distributions().get(package, [package])
    try:
        return " ".join(f"{name} {version(name)}" for name in sorted(set(names)))
    except PackageNotFoundError:
        return f"{package} unknown"


def program_version(command: Sequence[str], start: Path) -> str:
    """Return what a command prints, on one line; it runs in a folder of its own.

    Args:
        command: its words.
        start: folder that relative paths among them are relative to.

    Raises:
        InputError: the program is missing, fails, prints nothing, or does not end.
    """
    said = f"version_command must print the program's version; {shlex.join(command)}"
    try:
        with tempfile.TemporaryDirectory(prefix="alflow-version-") as folder:
            printed = _run([anchored(word, start) for word in command], folder)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{said} did not end within {error.timeout:g} s.") from error
    except subprocess.CalledProcessError as error:
        words = " ".join(error.output.split())[-500:]
        raise InputError(f"{said} ended with exit code {error.returncode}: {words or 'it printed nothing'}") from error
    except (OSError, ValueError) as error:  # no such program; a zero byte
        raise InputError(f"{said} cannot be started ({told(error)}). Is its folder on the PATH?") from error
    if not printed.split():
        raise InputError(f"{said} printed nothing.")
    return " ".join(printed.split())


def _run(command: list[str], folder: str) -> str:
    """Return what a command prints; end it with all that it started where it takes too long."""
    with subprocess.Popen(  # noqa: S603 - the command is the user's setting
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=VERSION_TIMEOUT_S)
        finally:
            with contextlib.suppress(OSError):  # it and its children, also where they outlive it
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return printed


def anchored(value: JsonValue, start: Path) -> Any:
    """Return an argument with the relative paths in it made absolute, because labels are computed in other folders.

    A relative path is a text, or the first word of one, that has a slash or a dot and names what exists. Placeholders
    of what the site gives a label ({launch}, {ranks}, {cores}) are filled in.

    Args:
        value: text, a list or a table of texts, or anything else, which is returned as it is.
        start: folder that the paths are relative to.
    """
    if isinstance(value, list):
        return [anchored(item, start) for item in value]
    if isinstance(value, dict):
        return {key: anchored(item, start) for key, item in value.items()}
    return _anchored_text(value, start) if isinstance(value, str) else value


def _anchored_text(value: str, start: Path) -> str | int:
    before, launched, program = value.partition("{launch} ")
    if launched and not before:
        return f"{filled_in(launched)}{_anchored_text(program, start)}"
    text = filled_in(value)
    if not isinstance(text, str):
        return text
    if _exists(text, start):
        return str(start / text)
    word, space, rest = text.partition(" ")
    return f"{start / word}{space}{rest}" if _exists(word, start) else text


def _exists(path: str, start: Path) -> bool:
    if not path.strip("./") or not set("/.") & set(path) or Path(path).is_absolute():
        return False
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or with a zero byte
        return (start / path).exists()
    return False


def put_into(folder: Path, calculator: object) -> None:
    """Give a calculator, and those inside it, the folder that they write to, where they have an attribute for it."""
    for number, part in enumerate(calculators_in(calculator)):
        present = getattr(part, "directory", None)
        if isinstance(present, (str, Path)):
            inside = folder / present if _stays_inside(present) else folder / f"calculator-{number}"
            with contextlib.suppress(AttributeError, TypeError):  # one that cannot be set
                part.directory = inside if isinstance(present, Path) else str(inside)  # type: ignore[attr-defined]


def _stays_inside(path: str | Path) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def forget(calculator: object) -> None:
    """Have a calculator, and those inside it, drop what they computed, where they have a method for it."""
    for part in calculators_in(calculator):
        reset = getattr(part, "reset", None)
        if callable(reset):
            with contextlib.suppress(Exception):
                reset()


def close(calculator: object) -> None:
    """End what a calculator keeps running, where it has a method for it."""
    for part in calculators_in(calculator):
        end = getattr(part, "close", None)
        if callable(end):
            with contextlib.suppress(Exception, SystemExit):
                end()


def failure_of(path: str, error: BaseException) -> tuple[FailureReason, str]:
    """Return reason and words for an exception that a calculator raised."""
    if isinstance(error.__cause__, LabelError):  # one of alflow's own calculators
        return error.__cause__.reason, f"{path}: {error.__cause__.detail}"
    if isinstance(error, MemoryError):
        return "out-of-memory", f"{path} wanted more memory than it may take. {error}".strip()
    if isinstance(error, SCFError) or speaks_of_convergence(error):
        return "not-converged", f"{path}: {told(error)}"
    if isinstance(error, (FileNotFoundError, PermissionError)) and error.filename is not None:
        return "engine-error", (
            f"{path} needs the program or file {error.filename!s}, which is not there or may not be run "
            f"({error.strerror}); its folder must be on the PATH of the workers. {told(error)}"
        )
    said = told(error)
    if _NO_PROGRAM.search(said):
        said += " (127: the shell does not find the program; its folder must be on the PATH of the workers)"
    return "engine-error", f"{path}: {said}"


def check_directory(arguments: Mapping[str, JsonValue]) -> None:
    """Refuse a folder that all labels would share.

    Raises:
        InputError: the argument `directory` is absolute, or leads out of the label's folder.
    """
    given = arguments.get("directory")
    if isinstance(given, str) and not _stays_inside(given):
        raise InputError(
            f"Each label has a folder of its own, and the argument `directory` a folder inside it; found {given!r}. "
            "Leave it out, or give a relative one; scratch_dir says where labels are computed."
        )
