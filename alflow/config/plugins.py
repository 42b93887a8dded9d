"""The registry of kinds: engines, potentials, coordinates and file formats, found by entry points.

A distribution offers a kind under one of the groups below, and alflow offers its own in the same way::

    [project.entry-points."alflow.coordinates"]
    distance = "alflow.sampling.coordinates.distance:KIND"

An entry point is a name and where its object is: nothing is imported until a kind is asked for by its name. The module
of a kind imports its heavy libraries where it needs them, so that its settings can be read without.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from alflow.config.base import Settings
from alflow.errors import PluginError

SettingsT = TypeVar("SettingsT", bound=Settings)

ENGINES, POTENTIALS, COORDINATES, FORMATS = (
    f"alflow.{what}" for what in ("engines", "potentials", "coordinates", "formats")
)
GROUPS: dict[str, str] = {
    ENGINES: "label engine",
    POTENTIALS: "potential",
    COORDINATES: "coordinate",
    FORMATS: "file format",
}
"""Group of entry points, and what one of its kinds is called in a sentence."""


class Kind(Generic[SettingsT]):
    """One label engine, potential, coordinate or file format, and what the rest of alflow asks about each of them.

    Kinds of a group derive from the class of that group, which adds what such a kind does.
    """

    settings: type[SettingsT]
    """Settings in a campaign file; the docstring of the class is the schema's text."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that its numbers depend on; their versions are recorded in each run."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Modules that it cannot do without; what brings those that are absent is told before anything is submitted."""
    extra: ClassVar[str] = ""
    """What to install for them, such as "alflow[schnet]"."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Settings that make a small one, where the defaults make a large one or none: the contract tests use them."""

    def references(self, settings: SettingsT) -> tuple[str, ...]:  # noqa: ARG002 - for those that have some
        """Return what to cite for a campaign with these settings."""
        return ()

    def missing(self) -> tuple[str, ...]:
        """Return the modules that are needed and not installed."""
        return tuple(module for module in self.modules if importlib.util.find_spec(module) is None)


@dataclass(frozen=True)
class Plugin:
    """An entry point, and the distribution that offers it."""

    group: str
    name: str
    target: str
    """Module and object, as ``package.module:OBJECT``."""
    distribution: str
    """Name and version."""

    def load(self) -> Any:
        """Import the object.

        Raises:
            PluginError: it cannot be imported.
        """
        try:
            return EntryPoint(self.name, self.target, self.group).load()
        except Exception as error:
            raise PluginError(
                f"The {GROUPS[self.group]} {self.name!r} of {self.distribution} ({self.target}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error


@cache
def plugins(group: str) -> tuple[Plugin, ...]:
    """Return all that is offered in a group, by name; a name may be offered twice."""
    found = {
        Plugin(group, point.name, point.value, f"{point.dist.name} {point.dist.version}" if point.dist else "unknown")
        for point in entry_points(group=group)
    }
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def names(group: str) -> tuple[str, ...]:
    """Return the names in a group, in alphabetical order."""
    return tuple(dict.fromkeys(plugin.name for plugin in plugins(group)))


@cache
def find(group: str, name: str) -> Any:
    """Return the kind of that name.

    Raises:
        PluginError: there is none, there are two, or it cannot be imported.
    """
    offered = [plugin for plugin in plugins(group) if plugin.name == name]
    what = GROUPS[group]
    if not offered:
        known = names(group)
        near = difflib.get_close_matches(name, known)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise PluginError(f"A {what} is one of {', '.join(known)}; there is none named {name!r}.{hint}")
    if len(offered) > 1:
        both = " and ".join(f"{plugin.distribution} ({plugin.target})" for plugin in offered)
        raise PluginError(f"A {what} has one origin; {name!r} is offered by {both}. Uninstall one of them.")
    return offered[0].load()


def find_installed(group: str, name: str) -> Any:
    """Return the kind of that name, all of whose modules are there.

    Raises:
        PluginError: as `find`, or it needs what is not installed.
    """
    kind = find(group, name)
    missing = kind.missing()
    if missing:
        cure = f" Install it with: pip install '{kind.extra}'" if kind.extra else ""
        raise PluginError(f"The {GROUPS[group]} {name!r} needs {', '.join(missing)}, not installed here.{cure}")
    return kind


def settings_of(group: str, name: str, given: Any) -> Any:
    """Return the settings of a kind from a mapping; what is no mapping comes back as it is.

    Raises:
        ValueError: there is no such kind, or a setting breaks its rule.
    """
    if not isinstance(given, Mapping):
        return given
    if not name:  # was refused
        return Settings()
    try:
        model: type[Settings] = find(group, name).settings
    except PluginError as error:
        raise ValueError(_clause(error)) from error
    return model.model_validate(given)


def with_settings_of_kind(group: str, given: Any, default: str) -> Any:
    """Return the mapping of a table with `kind` and one table a kind, with the chosen one's under `settings`.

    Tables of kinds that are not chosen are checked, and then left out.

    Raises:
        ValueError: there is no such kind, or a setting breaks its rule.
    """
    if not isinstance(given, Mapping) or "settings" in given:
        return given
    kind = NameOf(group).checked(str(given.get("kind", default)))
    known = {kind, *names(group)}
    tables = {name: given[name] for name in given if name in known}
    for name, table in {kind: {}, **tables}.items():
        tables[name] = _in_table(name, group, table)
    return {"settings": tables[kind], **{key: value for key, value in given.items() if key not in known}}


def _in_table(name: str, group: str, table: Any) -> Any:
    """Return validated settings; errors say the name of the table that they are in."""
    try:
        return find(group, name).settings.model_validate(table)
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            error.title,
            [
                InitErrorDetails(
                    type=PydanticCustomError(problem["type"], "{message}", {"message": problem["msg"]}),
                    loc=(name, *problem["loc"]),
                    input=problem["input"],
                )
                for problem in error.errors()
            ],
        ) from error


def settings_models(group: str) -> dict[str, type[Settings]]:
    """Return the settings of every kind of a group that can be imported, by name."""
    found = {}
    for name in names(group):
        try:
            found[name] = find(group, name).settings
        except PluginError:
            continue
    return found


def schema_with_tables(
    schema: JsonSchemaValue, handler: GetJsonSchemaHandler, tables: Mapping[str, type[Settings]]
) -> JsonSchemaValue:
    """Return the schema of a table with one table a kind in place of `settings`."""
    resolved = handler.resolve_ref_schema(schema)
    properties = resolved["properties"]
    del properties["settings"]
    resolved["required"] = [name for name in resolved.get("required", []) if name != "settings"]
    properties.update({name: handler(model.__pydantic_core_schema__) for name, model in tables.items()})
    return schema


@dataclass(frozen=True)
class SettingsOf:
    """Marks a field that holds the settings of a kind: `Annotated[SerializeAsAny[Settings], SettingsOf(group)]`."""

    group: str

    def models(self) -> tuple[type[Settings], ...]:
        """Return the settings of every kind of the group that can be imported."""
        return tuple(settings_models(self.group).values())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the field as the settings of one of the kinds."""
        del schema
        return {"anyOf": [handler(model.__pydantic_core_schema__) for model in self.models()]}


@dataclass(frozen=True)
class NameOf:
    """Marks a field that names a kind: `Annotated[str, NameOf(group)]`. A name that is not offered is refused."""

    group: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the name."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """List the names."""
        return {**handler(schema), "enum": list(names(self.group))}

    def checked(self, name: str) -> str:
        """Return a name that is offered.

        Raises:
            ValueError: it is not, with the names that are; or its kind cannot be imported.
        """
        try:
            find(self.group, name)
        except PluginError as error:
            raise ValueError(_clause(error)) from error
        return name


def _clause(error: PluginError) -> str:
    """Return a sentence as pydantic's messages are: without its last point."""
    return str(error).removesuffix(".")


def name_before(info: ValidationInfo, field: str) -> str:
    """Return the name of a kind that was validated before its settings; empty if it was refused."""
    return str(info.data.get(field, ""))


def packages_of(chosen: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the distributions that some kinds, given by group and name, depend on."""
    return tuple(dict.fromkeys(package for group, name in chosen for package in find(group, name).packages))
