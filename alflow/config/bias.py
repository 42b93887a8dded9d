"""Settings of what acts on collective variables: restraints that move or stay, metadynamics, eABF, Colvars' own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from alflow.config.base import Settings

Values = tuple[float, ...]
"""One number a variable; a single one need be no list."""

INPUT_FILES = re.compile(r"^(\s*)(\w*File|inputPrefix)(\s+)(\S+)(.*)$", re.IGNORECASE)
OUTPUT_FILES = re.compile(r"^\s*(\w*outputFile\w*|replicasRegistry|scriptedColvarForces)\b", re.IGNORECASE)
NO_GRIDS = re.compile(r"^\s*useGrids\s+(off|no|false)\b", re.IGNORECASE)
ATOM_NUMBERS = re.compile(r"\batomNumbers\s+\{?([\d\s]+)", re.IGNORECASE)
ATOM_RANGES = re.compile(r"\batomNumbersRange\s+(\d+)-(\d+)", re.IGNORECASE)


class BiasSettings(Settings):
    """What acts on the variables."""

    kind: str
    """Kind of bias."""
    steps: PositiveInt | None = None
    """Steps of the trajectory, the same as `sampling.pull.steps`; not given: that."""

    @property
    def does_work(self) -> bool:
        """Whether its work is the observable of a trajectory."""
        return False

    @property
    def windows(self) -> int:
        """Number of trajectories, each with a bias of its own, that one start has."""
        return 1

    def numbers(self) -> dict[str, Values]:
        """Return the settings that have a number for each variable, by name."""
        return {}


def as_values(given: Any) -> Any:
    """Return a tuple of numbers for a number."""
    return (given,) if isinstance(given, int | float) and not isinstance(given, bool) else given


class _PerVariable(BiasSettings):
    """A bias some of whose settings have one number for each variable."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _single_numbers(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {key: as_values(value) if key in cls.PER_VARIABLE else value for key, value in given.items()}

    def numbers(self) -> dict[str, Values]:
        """Return the settings that have a number for each variable, by name."""
        fields = {name.removesuffix("_"): getattr(self, name) for name in type(self).model_fields}
        return {name: fields[name] for name in self.PER_VARIABLE if fields[name] is not None}

    @model_serializer(mode="wrap")
    def _with_plain_names(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name.removesuffix("_"): value for name, value in write(self).items()}


class SteeredSettings(_PerVariable):
    """Harmonic restraints whose centres move at a constant rate: the work that they do is the observable.

    Energy: k/2 (ξ - R(t))², with R from `from` to `to`.
    """

    kind: Literal["steered"] = "steered"
    """Kind of bias."""
    from_: Values | None = Field(default=None, alias="from")
    """Where the centres start, a number for each variable in its unit; not given: where each trajectory starts."""
    to: Values
    """Where the centres end."""
    force_constant: Values
    """k of each variable, eV per squared unit."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = ("from", "to", "force_constant")

    @property
    def does_work(self) -> bool:
        """Whether its work is the observable of a trajectory: it is."""
        return True


class UmbrellaSettings(_PerVariable):
    """Harmonic restraints that stay: a trajectory for each window."""

    kind: Literal["umbrella"] = "umbrella"
    """Kind of bias."""
    centres: tuple[Values, ...] = Field(min_length=1)
    """Of each window: a number for each variable; of one variable, a number a window."""
    force_constant: Values
    """k of each variable, eV per squared unit."""
    approach_steps: NonNegativeInt = 0
    """Steps in which the centres move from where the trajectory starts to the window's; belong to no average."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = ("force_constant",)

    @model_validator(mode="before")
    @classmethod
    def _windows(cls, given: Any) -> Any:
        centres = given.get("centres") if isinstance(given, Mapping) else None
        if not isinstance(centres, list | tuple):
            return given
        return {**given, "centres": tuple(as_values(one) for one in centres)}

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.centres)


class _OnGrid(_PerVariable):
    """A bias that is kept on a grid."""

    lower: Values
    """Lower end of the grid, a number for each variable."""
    upper: Values
    """Upper end of the grid."""
    spacing: Values
    """Spacing of the grid."""
    wall_ev: Values | None = None
    """Force constant of harmonic walls at both ends of the grid, eV per squared unit; not given: no walls."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = ("lower", "upper", "spacing", "wall_ev")

    @model_validator(mode="after")
    def _grid_with_room(self) -> Self:
        for low, high, spacing in zip(self.lower, self.upper, self.spacing, strict=False):
            if spacing <= 0.0 or high - low < spacing:
                raise ValueError(
                    f"a grid goes up from lower to upper in steps of spacing above 0; got {low}, {high} and {spacing}"
                )
            if (high - low) / spacing > 1e5:
                raise ValueError(f"a grid has at most 100000 points an axis; got {(high - low) / spacing:g}")
        return self


class MetadynamicsSettings(_OnGrid):
    """Gaussian hills, added where the trajectory is: they fill the wells (well-tempered if a temperature is given)."""

    kind: Literal["metadynamics"] = "metadynamics"
    """Kind of bias."""
    hill_height_ev: PositiveFloat
    """Height of a hill, eV."""
    hill_width: Values
    """Standard deviation of a hill along each variable, in its unit."""
    hill_every: PositiveInt = 100
    """Steps between two hills."""
    bias_temperature_k: PositiveFloat | None = None
    """Well-tempered: temperature ΔT by which hills shrink as the bias grows, K; not given: they do not."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = (*_OnGrid.PER_VARIABLE, "hill_width")


class EabfSettings(_OnGrid):
    """Adaptive biasing force on extended variables, which springs hold near the variables."""

    kind: Literal["eabf"] = "eabf"
    """Kind of bias."""
    fluctuation: Values
    """Standard deviation of the extended variable around the variable, in its unit: sets the spring."""
    time_constant_fs: PositiveFloat = 200.0
    """Period of the extended variable's oscillation, fs: sets its mass."""
    full_samples: PositiveInt = 200
    """Samples of a bin from which on its force acts in full."""

    PER_VARIABLE: ClassVar[tuple[str, ...]] = (*_OnGrid.PER_VARIABLE, "fluctuation")


class ColvarsSettings(BiasSettings):
    """A configuration of Colvars in its own words: variables and biases. Atoms count from 1 in it."""

    kind: Literal["colvars"] = "colvars"
    """Kind of bias."""
    text: str = Field(min_length=1)
    """The configuration, one keyword a line. Relative paths in it are so to the working directory."""

    @model_validator(mode="before")
    @classmethod
    def _text_of_file(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "file" not in given:
            return given
        if "text" in given:
            raise ValueError("either text or file is given, not both")
        path = Path(str(given["file"])).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"a file with a configuration of Colvars must be readable text: {error}") from error
        rest = {key: value for key, value in given.items() if key != "file"}
        return {**rest, "text": with_absolute_paths(text, path.parent)}

    @model_validator(mode="after")
    def _paths_and_names(self) -> Self:
        object.__setattr__(self, "text", with_absolute_paths(self.text, Path()))
        if not variable_names(self.text):
            raise ValueError("a configuration of Colvars has a colvar block, and each of them a line with its name")
        return self

    @property
    def does_work(self) -> bool:
        """Whether Colvars is asked for the work of a moving restraint."""
        asked = r"^\s*outputAccumulatedWork\s+(on|yes|true)\b"
        return re.search(asked, self.text, re.IGNORECASE | re.MULTILINE) is not None


BIASES: dict[str, type[BiasSettings]] = {
    "steered": SteeredSettings,
    "umbrella": UmbrellaSettings,
    "metadynamics": MetadynamicsSettings,
    "eabf": EabfSettings,
    "colvars": ColvarsSettings,
}


class OneOfTheBiases:
    """Marks a field that holds the settings of one of the biases."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each of them."""
        del schema
        models = [handler(model.__pydantic_core_schema__) for model in BIASES.values()]
        return {"anyOf": [*models, {"type": "null"}]}

    def models(self) -> tuple[type[Settings], ...]:
        """Return the settings of each of them."""
        return tuple(BIASES.values())


def bias_of(given: Any) -> Any:
    """Return the settings of a bias from a mapping; what is no mapping comes back as it is.

    Raises:
        ValueError: there is no such kind, or a setting breaks its rule.
    """
    if not isinstance(given, Mapping):
        return given
    kind = given.get("kind")
    if kind not in BIASES:
        raise ValueError(f"the kind of a bias is one of {', '.join(BIASES)}; got {kind!r}")
    return BIASES[kind].model_validate(given)


def variable_names(text: str) -> tuple[str, ...]:
    """Return the names of the variables of a configuration of Colvars, in its order; empty if one has no name."""
    names: list[str | None] = []
    depth, inside = 0, False
    for line in text.splitlines():
        bare = line.partition("#")[0].strip()
        if depth == 0 and re.match(r"colvar\s*\{", bare, re.IGNORECASE):
            names.append(None)
            inside = True
        found = re.match(r"name\s+(\S+)$", bare, re.IGNORECASE)
        if found and inside and depth == 1:
            names[-1] = found[1]
        depth += bare.count("{") - bare.count("}")
        inside = inside and depth > 0
    return tuple(name for name in names if name is not None) if None not in names else ()


def atoms_named(text: str) -> tuple[int, ...]:
    """Return the atoms that a configuration of Colvars names by numbers and ranges, counted from 0."""
    bare = "\n".join(line.partition("#")[0] for line in text.splitlines())
    named = {int(one) for found in ATOM_NUMBERS.findall(bare) for one in found.split()}
    for first, last in ATOM_RANGES.findall(bare):
        named.update(range(int(first), min(int(last), int(first) + 100_000) + 1))
    return tuple(sorted(number - 1 for number in named))


def with_absolute_paths(text: str, folder: Path) -> str:
    """Return a configuration of Colvars whose files are named from the root.

    Raises:
        ValueError: it would write elsewhere than a trajectory may, or could not be cut.
    """
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        output = OUTPUT_FILES.match(line)
        if output:
            raise ValueError(
                f"line {number} of the configuration of Colvars: {output[1]} is for files or scripts outside of the "
                "run directory; leave it out: variables, bias and work are recorded"
            )
        if NO_GRIDS.match(line):
            raise ValueError(
                f"line {number} of the configuration of Colvars: a metadynamics without grids loses its hills where a "
                "trajectory is cut into segments; leave useGrids out"
            )
        found = INPUT_FILES.match(line)
        if found and not line.lstrip().startswith("#"):
            path = (folder / Path(found[4].strip('"')).expanduser()).absolute()
            line = f'{found[1]}{found[2]}{found[3]}"{path}"{found[5]}'  # noqa: PLW2901 - the line as it is written
        lines.append(line)
    return "\n".join(lines) + "\n"
