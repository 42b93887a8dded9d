"""Neural network potentials: ensembles behind one protocol, one package a kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alflow.config.plugins import POTENTIALS, find, find_installed, names
from alflow.errors import InputError, PluginError
from alflow.files.caches import settle_caches
from alflow.files.targets import shown
from alflow.potentials.protocol import Driver, Ensemble, PotentialKind, Training

__all__ = ["Driver", "Ensemble", "PotentialKind", "Training", "join_files", "kind_of", "load_potential"]

settle_caches()  # before the first kernel is compiled


def load_potential(path: Path) -> Ensemble:
    """Read an ensemble from its file of weights: tensors and plain data; nothing in it is executed.

    Raises:
        InputError: the file is not there, or of no kind that is known here.
    """
    found: Ensemble = kind_of(path).load(path)
    return found


def join_files(parts: Sequence[Path], target: Path) -> None:
    """Join ensembles of one kind, in order, into one file.

    Raises:
        InputError: they cannot be joined.
    """
    kind = kind_of(parts[0])
    kind.join([kind.load(part) for part in parts]).save(target)


def kind_of(path: Path) -> PotentialKind[Any]:
    """Return the kind whose file of weights this is.

    Raises:
        InputError: the file is not there, or of no kind that is known here.
    """
    form, broken = _format(path), []
    for name in names(POTENTIALS):
        try:
            kind: PotentialKind[Any] = find(POTENTIALS, name)
        except PluginError as error:
            broken.append(str(error))
            continue
        if kind.format == form:
            return find_installed(POTENTIALS, name)  # type: ignore[no-any-return]
    known = ", ".join(names(POTENTIALS))
    sentence = f"A file of weights is of a kind of potential that is known here ({known}); {path} holds {form!r}."
    raise InputError(" ".join([sentence, *broken]))


def is_alflows(path: Path) -> bool:
    """Say whether a file of weights is one that alflow wrote, of whatever kind.

    Raises:
        InputError: it cannot be read as one of anybody's.
    """
    return bool(_format(path))


def _format(path: Path) -> str:
    import torch  # noqa: PLC0415

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise InputError(
            f"A file of weights must be one that alflow wrote; {shown(path)} is not{_why(error)}."
        ) from error
    return str(content.get("format", "")) if isinstance(content, dict) else ""


def _why(error: Exception) -> str:
    """Return what the system says of a file; of others, PyTorch says many lines about how it reads."""
    return f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
