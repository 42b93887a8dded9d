"""Option strings of the command line, read as the types that a site file gives them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from alflow.errors import SiteError
from alflow.execution.sites.files import option_parameters
from alflow.files.resources import close_matches


def parse_option_pairs(pairs: Iterable[str]) -> dict[str, str]:
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


def read_options(make_config: Callable[..., Any], options: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return the arguments of a site's make_config.

    Raises:
        SiteError: an option is unknown, missing or cannot be read.
    """
    known = {parameter.name: parameter for parameter in option_parameters(make_config)}
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
