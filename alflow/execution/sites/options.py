"""Option strings of the command line, read as the types that a site file gives them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from alflow.errors import SiteError
from alflow.execution.sites.bounds import number_fault, shown, text_fault
from alflow.execution.sites.hints import option_hints, option_parameters, text_of_rules
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
            raise SiteError(f"a site option is written name=value; got {pair!r}. Example: -O account=abc123")
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
        asked = " ".join(f"-O {name}=..." for name in missing)
        raise SiteError(f"site {path.stem!r} needs {', '.join(missing)}; give {asked}")
    hints = option_hints(make_config, path)
    return {name: read_value(text, hints.get(name, str), name, path.stem) for name, text in options.items()}


def read_value(text: str, kind: Any, name: str, site: str, rules: tuple[str, ...] = ()) -> Any:
    """Read one option string as its annotated type.

    Types are int, float, bool, str, Literal, list[...], one of these | None, and each of them with a rule:
    `Annotated[int, ">= 1"]` (see `alflow.execution.sites.bounds`).

    Raises:
        SiteError: the string is not of that type, or breaks a rule.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return read_value(text, arguments[0], name, site, text_of_rules(arguments[1:]))
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.strip().lower() in ("none", ""):
            return None
        return read_value(text, next(item for item in arguments if item is not type(None)), name, site, rules)
    if origin in (list, tuple):
        parts = [item.strip() for item in text.split(",") if item.strip()]
        return origin(read_value(part, arguments[0], name, site) for part in parts)
    if origin is Literal:
        return _one_of(text, arguments, name, site)
    return _truth(text, name, site) if kind is bool else _bounded(text, kind, name, site, rules)


def _one_of(text: str, allowed: tuple[Any, ...], name: str, site: str) -> str:
    if text not in allowed:
        known = ", ".join(str(item) for item in allowed)
        raise SiteError(f"option {name!r} of site {site!r} is one of: {known}; got {shown(text)}")
    return text


def _truth(text: str, name: str, site: str) -> bool:
    for value, words in ((True, ("true", "yes", "on", "1")), (False, ("false", "no", "off", "0"))):
        if text.lower() in words:
            return value
    raise SiteError(f"option {name!r} of site {site!r} is true or false; got {shown(text)}")


def _bounded(text: str, kind: Any, name: str, site: str, rules: tuple[str, ...]) -> Any:
    """Read a number or a text, and hold it to its rules."""
    try:
        value = kind(text)
    except ValueError as error:
        rule = {int: "a whole number", float: "a number"}.get(kind, f"of type {kind}")
        raise SiteError(f"option {name!r} of site {site!r} is {rule}; got {shown(text)}") from error
    fault = text_fault(value, rules) if isinstance(value, str) else ""
    if isinstance(value, int | float):
        fault = number_fault(value, rules)
    if fault:
        raise SiteError(f"option {name!r} of site {site!r} is {fault}; got {shown(text)}")
    return value
