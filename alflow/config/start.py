"""Settings of what a campaign starts from: its first data, and a cheaper theory that explores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from alflow.config.base import Settings, absolute_path
from alflow.config.plugins import ENGINES, NameOf, SettingsOf, settings_of
from alflow.config.sampling import MDSettings

BASE_ITERATIONS = 5
BASE_REPLICAS = 8
BASE_CAP = 70
"""Of the campaign in which an engine explores: enough that its last pulls break as its own trajectories do."""


class FirstDataSettings(Settings):
    """First data: labelled structures of one's own, those of a base, or molecular dynamics with the label engine."""

    md: MDSettings = Field(default_factory=MDSettings)
    """The trajectory; every recorded frame becomes a label. Not run where there are structures, labels or a base."""
    segment_steps: int = Field(default=500, gt=0)
    """Steps of one task; a killed campaign goes on from the last finished one."""
    structures: str | None = None
    """A file of structures, any that ASE reads, all of whose frames are labelled in parallel; relative to the working
    directory. The run keeps a copy."""
    labels: str | None = None
    """A file of labels that one has already, as `alflow ledger import` takes it; relative to the working directory."""
    labels_theory: Literal["named", "own"] = "named"
    """How it is known that these labels are of the theory of `labels`: each frame names its fingerprint, or it is your
    own word, which is written down."""

    @field_validator("structures", "labels")
    @classmethod
    def _from_anywhere(cls, path: str | None) -> str | None:
        return None if path is None else absolute_path(path)

    @model_validator(mode="after")
    def _word_for_something(self) -> Self:
        if self.labels_theory == "own" and self.labels is None:
            raise ValueError("labels_theory speaks of first_data.labels, which is not given: give it, or leave it out")
        return self


class BaseTheorySettings(Settings):
    """A cheaper theory: its campaign gives the structures that the label engine labels first, and starts of pulls."""

    run: str | None = None
    """Run directory of a campaign of that theory, of the same molecules; relative to the working directory."""
    engine: Annotated[str, NameOf(ENGINES)] | None = None
    """Label engine of that theory, instead of a run: its campaign is run first, in the folder `base` of the run."""
    settings: Annotated[SerializeAsAny[Settings] | None, SettingsOf(ENGINES)] = Field(
        default=None, validate_default=True
    )
    """Settings of that engine."""
    campaign: dict[str, Any] = Field(default_factory=dict)
    """Settings of that engine's campaign, as in a campaign file, where they are not those of this one."""
    use: Literal["transfer", "delta", "structures"] = "transfer"
    """What is taken beside structures and starts: `transfer`, the weights of the base, from which the ensemble learns
    on; `delta`, its engine, whose difference to the labels is learnt and which is added in every step of a pull; or
    nothing (`structures`)."""
    structures: int = Field(default=60, ge=4)
    """Structures of the base that are labelled as first data, those that differ most over the progress of its pulls."""

    @field_validator("run")
    @classmethod
    def _from_anywhere(cls, path: str | None) -> str | None:
        return None if path is None else absolute_path(path)

    @field_validator("settings", mode="before")
    @classmethod
    def _settings_of_engine(cls, given: Any, info: ValidationInfo) -> Any:
        engine = info.data.get("engine")
        if engine is None:  # refused with the others, where there are any
            return None if given is None else Settings()
        return settings_of(ENGINES, str(engine), {} if given is None else given)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.run is None) == (self.engine is None):
            both = "both are given" if self.run is not None else "neither is given"
            raise ValueError(f"a base is a finished run (run) or an engine that explores first (engine); {both}")
        if self.engine is None and (self.settings is not None or self.campaign):
            raise ValueError("settings and campaign are of base.engine; a base.run has its own: leave them out")
        if "base" in self.campaign:
            raise ValueError("a base has no base: leave base.campaign.base out")
        return self


def base_campaign(base: BaseTheorySettings, of: Mapping[str, Any]) -> dict[str, Any]:
    """Return the campaign in which the engine of a base explores, as a mapping.

    It is that of the expensive theory but for the label engine, for what says how much is done, and for what
    `base.campaign` says; without pulls by its engine.

    Args:
        base: whose engine explores.
        of: the campaign of the expensive theory, as a mapping.
    """
    labels = {name: of["labels"][name] for name in ("guard", "timeout_s")}
    replicas = of["sampling"]["replicas"]
    most = replicas["certify"] if isinstance(replicas, Mapping) else replicas
    sampling = {
        **of["sampling"],
        "relax_with": "label-engine",
        "reference": False,
        "replicas": min(most, BASE_REPLICAS),
    }
    selection = {**of["selection"], "cap": max(of["selection"]["cap"], BASE_CAP)}
    first_data = {name: of["first_data"][name] for name in ("md", "segment_steps")}
    settings = {} if base.settings is None else base.settings.model_dump(mode="json", exclude_none=True)
    found = {
        **{name: value for name, value in of.items() if name not in ("base", "stop")},
        "name": f"{of['name']}-base",
        "iterations": BASE_ITERATIONS,
        "labels": {**labels, "engine": base.engine, "settings": settings},
        "first_data": first_data,
        "training": {name: value for name, value in of["training"].items() if name != "weights"},
        "sampling": sampling,
        "selection": selection,
    }
    return merged(found, base.campaign)


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with the entries of a second one in place of its own, table by table."""
    found = dict(first)
    for name, value in second.items():
        inner = found.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[name] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return found
