"""Bounds of site options: the rules that its annotation states, and those that hold for every option.

A site file states a rule beside the type, as text: ``workers: Annotated[int, ">= 1, <= 64"] = 8`` or
``account: Annotated[str, "name"]``. A site file without any is still kept from numbers that mean nothing.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

LARGEST = 1_000_000
"""No machine has more of anything; a larger number is a slip of the finger."""
SHOWN_CHARACTERS = 60
NAME = r"(?!-)[A-Za-z0-9_.,:+@%/=-]+"
WORD = r"[^\s\"'`$\\;<>#\x00-\x1f\x7f]+"
"""No quotes, nothing that a shell expands, nothing that a batch script takes for a comment."""

_COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "at least"),
    ">": (operator.gt, "above"),
    "<=": (operator.le, "at most"),
    "<": (operator.lt, "below"),
}
_TEXT_RULES = {
    "name": (NAME, "a name of letters, digits and _ . , : + @ % / = -"),
    "word": (WORD, "one word without quotes and without ` $ \\ ; < > #"),
    "path": (r"[^\x00-\x1f\x7f]+", "a path: not empty, without line breaks"),
}
_ANY_TEXT = (r"[^\x00-\x08\x0b-\x1f\x7f]*", "text without control characters")


def number_fault(value: float, rules: tuple[str, ...]) -> str:
    """Return which rule a number breaks, in words; empty if none.

    A number is finite, not below 0 and not above `LARGEST`, where its rules do not say otherwise.
    """
    if not math.isfinite(value):
        return "a finite number"
    stated = [part.strip() for rule in rules for part in rule.split(",") if part.strip()]
    compared = [_comparison(part) for part in stated]
    if not any(sign.startswith(">") for sign, _ in compared):
        compared.append((">=", 0.0))
    if not any(sign.startswith("<") for sign, _ in compared):
        compared.append(("<=", float(LARGEST)))
    if all(_COMPARISONS[sign][0](value, bound) for sign, bound in compared):
        return ""
    return " and ".join(f"{_COMPARISONS[sign][1]} {bound:.15g}" for sign, bound in compared)


def text_fault(value: str, rules: tuple[str, ...]) -> str:
    """Return which rule a text breaks, in words; empty if none. Rules: "name", "word", "path"; any text without."""
    for rule in rules or ("",):
        pattern, words = _TEXT_RULES[rule] if rule else _ANY_TEXT
        if not re.fullmatch(pattern, value) or not _is_unicode(value):
            return words
    return ""


def known_rule(kind: object, rule: str) -> bool:
    """Say whether an annotation's text is a rule for values of that type."""
    if kind is str:
        return rule in _TEXT_RULES
    try:
        return bool([_comparison(part) for part in rule.split(",")])
    except ValueError:
        return False


def shown(text: str) -> str:
    """Return a value for a message: quoted, and cut where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")


def _comparison(text: str) -> tuple[str, float]:
    """Read ">= 1".

    Raises:
        ValueError: it is not a comparison with a number.
    """
    found = re.fullmatch(r"\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    if found is None:
        raise ValueError(f"a rule of a number reads '>= 1' or '> 0, <= 8'; got {text!r}")
    return found[1], float(found[2])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
