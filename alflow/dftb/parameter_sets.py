"""Published parameter sets, beyond their files: shells, Hubbard derivatives, licence, references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alflow.dftb.tables import ElementData
from alflow.errors import ConfigError


@dataclass(frozen=True)
class RationalDamping:
    """Parameters of D3 with Becke-Johnson damping."""

    s6: float
    s8: float
    a1: float
    a2: float
    """Bohr."""


@dataclass(frozen=True)
class ParameterSet:
    """A published set."""

    name: str
    symbols: Mapping[int, str]
    """Element symbols by atomic number."""
    elements: Mapping[int, ElementData]
    """By atomic number."""
    dispersion: RationalDamping
    licence: str
    references: tuple[str, ...]


_ELEMENTS_3OB = {
    1: ("H", 0, -0.1857),
    6: ("C", 1, -0.1492),
    7: ("N", 1, -0.1535),
    8: ("O", 1, -0.1575),
    9: ("F", 1, -0.1623),
    11: ("Na", 1, -0.0454),
    12: ("Mg", 1, -0.02),
    15: ("P", 2, -0.14),
    16: ("S", 2, -0.11),
    17: ("Cl", 2, -0.0697),
    19: ("K", 1, -0.0339),
    20: ("Ca", 1, -0.0340),
    30: ("Zn", 2, -0.03),
    35: ("Br", 2, -0.0573),
    53: ("I", 2, -0.0433),
}
"""Atomic number: symbol, highest angular momentum, Hubbard derivative (README of the set)."""

THREE_OB = ParameterSet(
    name="3ob-3-1",
    symbols={number: symbol for number, (symbol, _, _) in _ELEMENTS_3OB.items()},
    elements={number: ElementData(shell, derivative) for number, (_, shell, derivative) in _ELEMENTS_3OB.items()},
    dispersion=RationalDamping(s6=1.0, s8=3.209, a1=0.746, a2=4.191),
    licence=(
        "3ob-3-1, (c) 2017 Marcus Elstner, Karlsruher Institut für Technologie. Creative Commons "
        "Attribution-ShareAlike 4.0 International, https://creativecommons.org/licenses/by-sa/4.0/ ; use is permitted "
        "only if the references below are cited in any publication that arises from it."
    ),
    references=(
        "C, H, N, O: M. Gaus, A. Goez, M. Elstner, J. Chem. Theory Comput. 2013, 9, 338-354",
        "P, S: M. Gaus, X. Lu, M. Elstner, Q. Cui, J. Chem. Theory Comput. 2014, 10, 1518-1537",
        "Mg, Zn: X. Lu, M. Gaus, M. Elstner, Q. Cui, J. Phys. Chem. B 2015, 119, 1062-1082",
        "Na, F, K, Ca, Cl, Br, I: M. Kubillus, T. Kubar, M. Gaus et al., J. Chem. Theory Comput. 2015, 11, 332-342",
    ),
)

_SETS = {THREE_OB.name: THREE_OB}


def parameter_set(name: str) -> ParameterSet:
    """Return a set by its name.

    Raises:
        ConfigError: There is no such set.
    """
    if name not in _SETS:
        raise ConfigError(f"A parameter set must be one of {', '.join(_SETS)}; {name!r} is not.")
    return _SETS[name]
