"""Files of weights, as every kind of potential writes and reads them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alflow.errors import InputError
from alflow.files.whole import whole_file


def write_weights(path: Path, form: str, content: Mapping[str, Any]) -> None:
    """Write a file that ``torch.load(weights_only=True)`` can read; it is there whole or not at all.

    Args:
        path: of the file.
        form: says what it holds.
        content: tensors, numbers, strings, and lists and dictionaries of them.
    """
    save({"format": form, **content}, path)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors, numbers, strings, and lists and dictionaries of them: whole or not at all.

    PyTorch would not say what is wrong with a disk; so the file is made in memory.

    Raises:
        OSError: it cannot be written.
    """
    import torch  # noqa: PLC0415 - torch is heavy, and driving a trajectory does without

    made = io.BytesIO()
    torch.save(dict(content), made)
    with whole_file(path) as file:
        file.write(made.getbuffer())


def read_weights(path: Path, form: str, hint: str = "") -> dict[str, Any]:
    """Return what `write_weights` wrote.

    Args:
        path: of the file.
        form: what it must hold.
        hint: what to do if it does not.

    Raises:
        InputError: the file holds something else.
    """
    import torch  # noqa: PLC0415

    content = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(content, dict) or content.get("format") != form:
        sentence = f"A file of weights must be one that alflow wrote ({form}): {path} is not."
        raise InputError(f"{sentence} {hint}".rstrip())
    return content
