"""Files of a run directory that are not what was written: cut off, emptied, overwritten, removed."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from alflow.errors import RunError
from alflow.files.targets import cause, shown

COPY = "Put a copy of it in its place"


@contextlib.contextmanager
def whole(path: Path, cure: str = COPY) -> Iterator[None]:
    """Turn what reading a damaged file raises into a sentence.

    Args:
        path: the file that the block reads.
        cure: what can be done about it.

    Raises:
        RunError: it cannot be read, or what it holds is not what alflow writes.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"A run keeps all that it wrote; {shown(path)} is not there. {cure}.") from error
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RuntimeError,
        zipfile.BadZipFile,
    ) as error:
        raise RunError(
            f"A run reads what it wrote; {shown(path)} is damaged: {_found(path, error)}. {cure}."
        ) from error


def _found(path: Path, error: BaseException) -> str:
    """Say what is wrong with a file."""
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size == 0:
            return "it is empty"
    if isinstance(error, KeyError):
        return f"it names no {error}"
    return "it holds something else" if isinstance(error, TypeError | AttributeError) else cause(error)
