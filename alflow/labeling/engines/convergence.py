"""Convergence of calculators of ASE's interface: how they tell that there was none, beside raising an exception.

There is no rule. An attribute (`Vasp.converged`, `Turbomole.converged`), an entry of `results`, a method, or the
attribute of an object inside (the `scf` of GPAW, the `mf` or `method` of PySCF); and any of these on a calculator that
another one wraps or sums.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np

from alflow.errors import LabelError

FLAGS = ("converged", "scf_converged", "is_converged", "electronic_converged")
"""Names of attributes, methods and results that tell it."""
SOLVERS = ("scf", "mf", "method", "mean_field", "solver")
"""Names of attributes that hold what converges."""
DEEPEST = 4
"""Calculators inside calculators that are looked into."""
MOST_ITEMS = 100
"""Of a list or table that are looked at: nobody sums more calculators."""

_TOLD = re.compile(
    r"(\bnot\b|n't|\bno\b|\bnever\b|\bwithout\b|fail|unable|\bcannot\b)[^\n]{0,60}converge"
    r"|converge[^\n]{0,60}(\bnot\b|n't|fail|exceeded)|unconverged|non-?converge|not enough scf cycles",
    re.IGNORECASE,
)


def unconverged(calculator: object) -> str:
    """Return what tells that a calculator, or one inside it, did not converge; empty where nothing does."""
    for part in calculators_in(calculator):
        name = type(part).__name__
        results = getattr(part, "results", None)
        if isinstance(results, Mapping) and (key := next((f for f in FLAGS if _is_false(results.get(f))), "")):
            return f"results[{key!r}] of {name} is false"
        holders = {name: part} | {f"{name}.{s}": part.__dict__[s] for s in SOLVERS if s in vars(part)}
        for told, holder in holders.items():
            if flag := next((f for f in FLAGS if _is_false(_ask(holder, f))), ""):
                return f"{told}.{flag} is false"
    return ""


def require_converged(path: str, calculator: object) -> None:
    """Refuse what a calculator, named by its dotted path, did not converge.

    Raises:
        LabelError: "not-converged".
    """
    if flag := unconverged(calculator):
        raise LabelError("not-converged", f"{path} says that it did not converge: {flag}.")


def speaks_of_convergence(error: BaseException) -> bool:
    """Tell whether an exception says that something did not converge, by its type's name or its words."""
    return any("convergence" in kind.__name__.lower() for kind in type(error).__mro__) or bool(_TOLD.search(str(error)))


def calculators_in(calculator: object, deepest: int = DEEPEST) -> Iterator[object]:
    """Yield a calculator and those that it holds: directly, in lists, or in an object such as ASE's `Mixer`."""
    seen: set[int] = set()
    yield from _walk(calculator, seen, deepest)


def _walk(calculator: object, seen: set[int], deepest: int) -> Iterator[object]:
    if id(calculator) in seen or not hasattr(calculator, "__dict__"):
        return
    seen.add(id(calculator))
    yield calculator
    if deepest:
        for held in list(vars(calculator).values()):
            for part in _held(held):
                yield from _walk(part, seen, deepest - 1)


def _held(value: object) -> Iterator[object]:
    """Yield the calculators that a value is or holds."""
    if _is_calculator(value):
        yield value
        return
    inside = _items(value)
    if inside is None and hasattr(value, "__dict__") and not isinstance(value, type):
        inside = [item for held in list(vars(value).values()) for item in (held, *(_items(held) or ()))]
    yield from (item for item in inside or () if _is_calculator(item))


def _items(value: object) -> Iterable[object] | None:
    if isinstance(value, Mapping):
        return list(islice(value.values(), MOST_ITEMS))
    return list(islice(value, MOST_ITEMS)) if isinstance(value, (list, tuple, set)) else None


def _is_calculator(value: object) -> bool:
    """Tell a calculator from other objects, ASE's `Atoms` among them, which answers the same questions."""
    return (
        not isinstance(value, type)
        and callable(getattr(type(value), "get_potential_energy", None))
        and not hasattr(type(value), "get_atomic_numbers")
    )


def _ask(holder: object, flag: str) -> object:
    """Return an attribute, or what it returns where it is a method; None where it does not say."""
    try:
        value = getattr(holder, flag, None)
        return value() if callable(value) else value
    except Exception:  # noqa: BLE001 - a property or method of someone else's that wants arguments or a calculation
        return None


def _is_false(value: object) -> bool:
    """Tell whether a flag says no; an array says no where any of its entries does."""
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return not value
    return isinstance(value, np.ndarray) and value.dtype.kind in "bi" and not value.all()
