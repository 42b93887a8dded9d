"""Variables and bias together, as the settings of the coordinate `colvars`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import SerializeAsAny, field_validator

from alflow.config.base import Settings
from alflow.config.bias import (
    BiasSettings,
    ColvarsSettings,
    OneOfTheBiases,
    SteeredSettings,
    UmbrellaSettings,
    atoms_named,
    bias_of,
    variable_names,
)
from alflow.config.variables import VariableSettings

BY_COLVARS = "colvars"
"""Name of the coordinate."""


class ByColvarsSettings(Settings):
    """What Colvars acts on and how: `[[sampling.variables]]` and `[sampling.bias]` of a campaign file."""

    variables: tuple[VariableSettings, ...] = ()
    """Collective variables; none where the bias has a configuration of Colvars."""
    bias: Annotated[SerializeAsAny[BiasSettings], OneOfTheBiases()] = BiasSettings(kind="none")
    """What acts on them."""
    window: int = 0
    """Which of the windows of an umbrella bias."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        if isinstance(self.bias, ColvarsSettings):
            return variable_names(self.bias.text)
        return tuple(variable.name for variable in self.variables)

    @property
    def unit(self) -> str:
        """Unit of the first variable; that of Colvars where it alone knows it."""
        return self.variables[0].unit if self.variables else "unit of Colvars"

    @property
    def atoms(self) -> tuple[int, ...]:
        """The atoms that define the variables, counted from 0; of Colvars' own text, those that it names one by one."""
        if isinstance(self.bias, ColvarsSettings):
            return atoms_named(self.bias.text)
        return tuple(sorted({atom for variable in self.variables for atom in variable.atoms}))

    def place(self, window: int) -> str:
        """Return where a window of an umbrella bias is, for people; empty for other biases."""
        if not isinstance(self.bias, UmbrellaSettings):
            return ""
        return " (" + ", ".join(f"{centre:g}" for centre in self.bias.centres[window]) + ")"

    @field_validator("bias", mode="before")
    @classmethod
    def _bias_of_its_kind(cls, given: Any) -> Any:
        return bias_of(given)


def broken_rule(bias: BiasSettings | None, variables: Sequence[VariableSettings]) -> str:
    """Return which rule variables and bias break together; empty if none."""
    names = [variable.name for variable in variables]
    if bias is None:
        return "[[sampling.variables]] need a [sampling.bias] that acts on them" if variables else ""
    if isinstance(bias, ColvarsSettings):
        return "a bias of kind 'colvars' defines its variables itself: leave [[sampling.variables]] out" * bool(names)
    if not variables:
        return f"a bias of kind {bias.kind!r} acts on [[sampling.variables]], and there are none"
    if len(set(names)) < len(names):
        return f"variables have names of their own; got {', '.join(names)}"
    return _numbers_rule(bias, names) or _windows_rule(bias, names) or _steered_rule(bias)


def _numbers_rule(bias: BiasSettings, names: Sequence[str]) -> str:
    for name, values in bias.numbers().items():
        if len(values) != len(names):
            return f"bias.{name} has a number for each of {', '.join(names)}; got {list(values)}"
        if name in POSITIVE and min(values) <= 0.0:
            return f"bias.{name} is above 0; got {list(values)}"
    return ""


POSITIVE = ("force_constant", "spacing", "wall_ev", "hill_width", "fluctuation")


def _windows_rule(bias: BiasSettings, names: Sequence[str]) -> str:
    wrong = [one for one in bias.centres if len(one) != len(names)] if isinstance(bias, UmbrellaSettings) else []
    if wrong:
        return f"each of bias.centres has a number for each of {', '.join(names)}; got {list(wrong[0])}"
    return ""


def _steered_rule(bias: BiasSettings) -> str:
    if isinstance(bias, SteeredSettings) and bias.from_ == bias.to:
        return f"a steered bias goes from one place to another; got from and to {list(bias.to)}"
    return ""


def with_steps_of_bias(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a table `sampling` whose coordinate is Colvars' if it has a bias, and whose pull has the bias's steps.

    Raises:
        ValueError: pull and bias have different steps.
    """
    bias = sampling.get("bias")
    if bias is None:
        return sampling
    given = {"coordinate": BY_COLVARS, **sampling}
    steps = bias.get("steps") if isinstance(bias, Mapping) else getattr(bias, "steps", None)
    pull = sampling.get("pull", {})
    if steps is None or not isinstance(pull, Mapping):
        return given
    if pull.get("steps", steps) != steps:
        raise ValueError(
            f"sampling.bias.steps and sampling.pull.steps are the same: leave one out; got {steps} and {pull['steps']}"
        )
    return {**given, "pull": {**pull, "steps": steps}}
