"""The base of all settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def absolute_path(path: str) -> str:
    """Return a path from the root, relative ones being so to the working directory: workers start elsewhere.

    Raises:
        ValueError: it begins with the home of a user that there is not, or names no place.
    """
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError(f"a path that begins with ~ names a home that there is: {error}") from error
