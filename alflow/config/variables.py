"""Settings of collective variables: functions of the positions that describe an event."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from alflow.config.base import Settings, absolute_path

Group = tuple[int, ...]
"""Atoms, counted from 0; several stand for their centre of mass."""

PLACES = {"distance": 2, "angle": 3, "dihedral": 4}
UNITS = {"distance": "Å", "angle": "°", "dihedral": "°", "coordination": "1", "rmsd": "Å"}
"""Of the plain variables."""


def _groups(given: Any) -> Any:
    """Return groups of atoms, where a single atom may stand for a group of one."""
    if not isinstance(given, list | tuple):
        return given
    return tuple((one,) if isinstance(one, int) and not isinstance(one, bool) else one for one in given)


def _checked_atoms(atoms: Group) -> Group:
    if not atoms or min(atoms) < 0 or len(set(atoms)) < len(atoms):
        raise ValueError(f"atoms are different indices from 0, one or more; got {list(atoms)}")
    return atoms


class CoordinationSettings(Settings):
    """Coordination number: Σ (1 - (d/cutoff)ⁿ) / (1 - (d/cutoff)ᵐ) over the pairs of two groups, d their distance."""

    group1: Group
    """Atoms of one group, counted from 0."""
    group2: Group
    """Atoms of the other group; none of the first."""
    cutoff: PositiveFloat
    """Distance at which a pair counts half or so, Å."""
    exponents: tuple[PositiveInt, PositiveInt] = (6, 12)
    """n and m: even numbers, m the larger."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        both = _checked_atoms(self.group1) + _checked_atoms(self.group2)
        if len(set(both)) < len(both):
            raise ValueError(f"the groups of a coordination number have no atom in common; got {sorted(both)}")
        low, high = self.exponents
        if low % 2 or high % 2 or low >= high:
            raise ValueError(f"exponents are two even numbers, the second larger; got {[low, high]}")
        return self


class RmsdSettings(Settings):
    """Root mean square deviation of some atoms from where they are in a reference, both laid on each other first."""

    atoms: Group
    """Atoms, counted from 0; three or more."""
    reference: str
    """A structure file with all atoms of the molecule in its order, such as the product; relative to the working
    directory."""

    @field_validator("atoms")
    @classmethod
    def _three(cls, atoms: Group) -> Group:
        if len(_checked_atoms(atoms)) < 3:
            raise ValueError(f"an RMSD needs three atoms or more; got {list(atoms)}")
        return atoms

    @field_validator("reference")
    @classmethod
    def _from_anywhere(cls, reference: str) -> str:
        return absolute_path(reference)


class TermSettings(Settings):
    """One function of the positions, and its part in a combination: weight · valueᵉˣᵖᵒⁿᵉⁿᵗ."""

    distance: tuple[Group, ...] | None = None
    """Distance of two atoms (or groups, by their centres of mass), Å."""
    angle: tuple[Group, ...] | None = None
    """Angle at the second of three atoms (or groups), °."""
    dihedral: tuple[Group, ...] | None = None
    """Dihedral angle of four atoms (or groups), from -180° to 180°."""
    coordination: CoordinationSettings | None = None
    """Coordination number of two groups."""
    rmsd: RmsdSettings | None = None
    """Deviation from a reference structure, Å."""
    weight: float = 1.0
    """In a combination."""
    exponent: PositiveInt = 1
    """In a combination."""

    @field_validator("distance", "angle", "dihedral", mode="before")
    @classmethod
    def _places(cls, given: Any) -> Any:
        return _groups(given)

    @model_validator(mode="after")
    def _one_function(self) -> Self:
        _one_of(self, tuple(UNITS))
        return self

    @property
    def kind(self) -> str:
        """Which function it is."""
        return next(name for name in UNITS if getattr(self, name) is not None)

    @property
    def unit(self) -> str:
        """Unit of its value to the power of the exponent."""
        unit = UNITS[self.kind]
        return unit if self.exponent == 1 or unit == "1" else f"{unit}^{self.exponent}"

    @property
    def atoms(self) -> tuple[int, ...]:
        """All atoms that it depends on, ascending."""
        if self.coordination is not None:
            return tuple(sorted(self.coordination.group1 + self.coordination.group2))
        if self.rmsd is not None:
            return tuple(sorted(self.rmsd.atoms))
        groups = self.distance or self.angle or self.dihedral or ()
        return tuple(sorted({atom for group in groups for atom in group}))


class VariableSettings(Settings):
    """A collective variable: one function of the positions, or a weighted sum of several."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,17}$")
    """Its name, in figures and files too: a letter, and up to 17 letters, digits and _."""
    distance: tuple[Group, ...] | None = None
    """Distance of two atoms (or groups, by their centres of mass), Å."""
    angle: tuple[Group, ...] | None = None
    """Angle at the second of three atoms (or groups), °."""
    dihedral: tuple[Group, ...] | None = None
    """Dihedral angle of four atoms (or groups), from -180° to 180°."""
    coordination: CoordinationSettings | None = None
    """Coordination number of two groups."""
    rmsd: RmsdSettings | None = None
    """Deviation from a reference structure, Å."""
    combine: tuple[TermSettings, ...] | None = None
    """Terms that are summed, each with its weight and exponent."""

    CHOICE: ClassVar[tuple[str, ...]] = (*UNITS, "combine")

    @field_validator("distance", "angle", "dihedral", mode="before")
    @classmethod
    def _places(cls, given: Any) -> Any:
        return _groups(given)

    @model_validator(mode="after")
    def _one_function(self) -> Self:
        if self.name.startswith("r_"):
            raise ValueError(f"names with r_ are those of extended variables; got {self.name!r}")
        _one_of(self, self.CHOICE)
        if self.combine is not None and not self.combine:
            raise ValueError("a combination has one term or more; got none")
        return self

    @property
    def terms(self) -> tuple[TermSettings, ...]:
        """The functions that it is a sum of: one, unless it is a combination."""
        if self.combine is not None:
            return self.combine
        return (TermSettings(**{name: getattr(self, name) for name in UNITS}),)

    @property
    def unit(self) -> str:
        """Unit of its value; "mixed" for a sum of unlike terms."""
        units = {term.unit for term in self.terms}
        return units.pop() if len(units) == 1 else "mixed"

    @property
    def periodic(self) -> bool:
        """Whether it comes back after 360°."""
        return self.dihedral is not None

    @property
    def atoms(self) -> tuple[int, ...]:
        """All atoms that it depends on, ascending."""
        return tuple(sorted({atom for term in self.terms for atom in term.atoms}))


def _one_of(settings: Settings, names: tuple[str, ...]) -> None:
    """Check that one function is given, of as many groups as it has places.

    Raises:
        ValueError: it is not.
    """
    given = [name for name in names if getattr(settings, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"a variable is one of {', '.join(names)}; got {found}")
    places, groups = PLACES.get(given[0]), getattr(settings, given[0])
    if places is None:
        return
    if len(groups) != places:
        raise ValueError(f"{given[0]} is of {places} atoms or groups; got {len(groups)}")
    atoms = [atom for group in groups for atom in _checked_atoms(group)]
    if len(set(atoms)) < len(atoms):
        raise ValueError(f"the places of {given[0]} are of different atoms; got {[list(group) for group in groups]}")
