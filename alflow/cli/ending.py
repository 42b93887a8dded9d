"""Ending of every command: well, or with sentences and an exit code; a traceback is for mistakes of alflow's own.

::

    0    done                     1    the campaign had to end, or what was looked at is not sound
    2    what the user gave breaks a rule, or the system refuses what it needs: a file, a folder, room on a disk
    130  Ctrl-C                   143  SIGTERM
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from alflow.errors import AlflowError, CampaignError, TerminatedError
from alflow.files.targets import cause

TRACEBACK = "ALFLOW_TRACEBACK"
"""Environment variable: where it is set, what the system refused is told with the place in the code."""
OF_THE_SYSTEM = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
)
"""Errors of a database that are its disk's or its file's; all others are mistakes of alflow's own."""


class Ending(Exception):  # noqa: N818 - it is how a command ends, Ctrl-C included
    """The end of a command that did not get to its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SentenceGroup(TyperGroup):
    """The group of all commands. It sees what they raise before the command line's own library does."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            Ending: see `sentences`.
        """
        with sentences():
            return super().invoke(ctx)


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Let what ends a command end it well.

    Raises:
        Ending: it was an error that is no mistake of alflow's own.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        ending = error if isinstance(error, Ending) else ending_of(error)
        if ending is None:
            raise
        if isinstance(error, OSError):
            _drop_output()
        raise ending from error


def ending_of(error: BaseException) -> Ending | None:
    """Return how a command ends that raised this; None for a mistake of alflow's own."""
    if isinstance(error, KeyboardInterrupt):
        return Ending("interrupted", 130)
    if isinstance(error, AlflowError):
        return Ending(str(error), 1 if isinstance(error, CampaignError) else 2)
    if isinstance(error, BrokenPipeError):
        return Ending("", 0)
    if isinstance(error, EOFError) or _of_the_system(error):
        return Ending(_refused(error), 2)
    return None


@contextlib.contextmanager
def interruptible(close: Callable[[], None], say: Callable[[str], None], again: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a command that can go on, with a sentence, once its display is closed.

    Args:
        close: the display.
        say: shows a sentence.
        again: how to go on.

    Raises:
        Exit: with 130 or 143.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        close()
        say(f"Interrupted. {again}")
        raise typer.Exit(130) from error
    except TerminatedError as error:
        close()
        say(f"{error} {again}")
        raise typer.Exit(143) from error
    finally:
        close()


def _of_the_system(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in OF_THE_SYSTEM
    loop = isinstance(error, RuntimeError) and "Symlink loop" in str(error)  # an OSError from Python 3.13 on
    return isinstance(error, OSError) or loop


def _refused(error: BaseException) -> str:
    """Say what the system refused, and of what file."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    named = getattr(error, "filename", None)
    where = f" ({named})" if named and str(named) not in cause(error) else ""
    return f"The system refuses what this command needs: {cause(error)}{where}. {TRACEBACK}=1 tells where."


def tolerant_streams() -> None:
    """Let no name that a terminal's encoding cannot hold end a command: what it lacks is written as its code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Drop what an output that is full or closed does not take: the interpreter would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
