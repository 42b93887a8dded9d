"""Names of a calculator's arguments, in which a charge or a spin is put: dotted where tables are nested."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

INFO = "atoms.info."
"""What a name begins with that is no argument, but an entry of the structure's `info`."""


def with_argument(arguments: Mapping[str, JsonValue], name: str, value: JsonValue) -> dict[str, JsonValue]:
    """Return arguments with one more.

    Args:
        arguments: of a calculator; they are not changed.
        name: of the new one; `dft.mult` is the entry `mult` of the table `dft`, which is made where it is missing.
        value: of the new one.

    Raises:
        ValueError: it has a value already, or lies inside something that is no table.
    """
    first, dot, rest = name.partition(".")
    if not dot and first in arguments:
        raise ValueError(f"it has the value {arguments[first]!r} already")
    if not dot:
        return {**arguments, first: value}
    inside = arguments.get(first, {})
    if isinstance(inside, dict):
        return {**arguments, first: with_argument(inside, rest, value)}
    raise ValueError(f"{first} is {inside!r}, and no table")
