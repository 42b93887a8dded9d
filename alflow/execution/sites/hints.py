"""The types of a site's options, and the rules beside them, read from the annotations of its make_config."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from alflow.errors import SiteError
from alflow.execution.sites.bounds import known_rule


def option_parameters(make_config: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the keyword-only arguments of a site's make_config: its options."""
    parameters = inspect.signature(make_config).parameters.values()
    return [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


def option_hints(make_config: Callable[..., Any], path: Path) -> dict[str, Any]:
    """Return the types of a site's options, with their rules.

    Raises:
        SiteError: an annotation names nothing, or states a rule that there is not.
    """
    try:
        hints = typing.get_type_hints(make_config, include_extras=True)
    except Exception as error:
        raise SiteError(f"the options of a site have types; those of {path} cannot be read: {error}") from error
    for parameter in option_parameters(make_config):
        for kind, rule in _rules_in(hints.get(parameter.name, str)):
            if not known_rule(kind, rule):
                raise SiteError(
                    f"a rule of an option reads '>= 1' or '> 0, <= 8' for a number, and name, word or path for text; "
                    f"{path} states {rule!r} for {parameter.name!r}"
                )
    return {name: hint for name, hint in hints.items() if name not in ("run_dir", "return")}


def text_of_rules(extras: Iterable[Any]) -> tuple[str, ...]:
    """Return what of an annotation is a rule: its texts."""
    return tuple(extra for extra in extras if isinstance(extra, str))


def _rules_in(hint: Any) -> Iterator[tuple[Any, str]]:
    """Yield every rule in an annotation with the type that it is of."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        yield from ((_plain(arguments[0]), rule) for rule in text_of_rules(arguments[1:]))
        yield from _rules_in(arguments[0])
    elif typing.get_origin(hint) is not Literal:
        for argument in arguments:
            yield from _rules_in(argument)


def _plain(kind: Any) -> Any:
    """Return the type without "or None"."""
    return next((part for part in typing.get_args(kind) if part is not type(None)), kind)


def kind_text(hint: Any) -> str:
    """Return a type for people: ``int >= 1``, ``name or none``, ``list of name``, ``block | none``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        rules = text_of_rules(arguments[1:])
        inner = kind_text(arguments[0])
        return (
            inner.replace("str", "".join(rules), 1) if inner.startswith("str") and rules else " ".join((inner, *rules))
        )
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if part is type(None) else kind_text(part) for part in arguments)
    if origin in (list, tuple):
        return f"list of {kind_text(arguments[0])}"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    return getattr(hint, "__name__", str(hint))
