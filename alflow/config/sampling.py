"""Settings of molecular dynamics, of the relaxation before a pull, and of the pull."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

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


class MDSettings(Settings):
    """Equilibrium molecular dynamics with a Langevin thermostat: makes the first data."""

    temperature_k: PositiveFloat = 500.0
    """Temperature of the thermostat and of the initial velocities, K."""
    timestep_fs: PositiveFloat = Field(default=0.5, le=5.0)
    """Time step, fs."""
    steps: PositiveInt = 2000
    """Steps of the sampled stretch."""
    stride: PositiveInt = 1
    """A frame is kept every so many steps."""
    damping_fs: PositiveFloat = 100.0
    """Relaxation time of the thermostat, fs."""
    equilibration_steps: NonNegativeInt = 0
    """Steps before the sampled stretch, of which nothing is kept."""


class RelaxSettings(Settings):
    """Relaxation at low temperature before a pull: Langevin, then Berendsen; the pulled atoms feel neither."""

    temperature_k: PositiveFloat = 10.0
    """Temperature of the thermostats and of the initial velocities, K."""
    timestep_fs: PositiveFloat = Field(default=0.5, le=5.0)
    """Time step, fs."""
    langevin_steps: NonNegativeInt = 1000
    """Steps with the Langevin thermostat, which takes out the strain of the starting geometry."""
    berendsen_steps: NonNegativeInt = 1000
    """Steps with the Berendsen thermostat, the one that goes on during the pull."""
    damping_fs: PositiveFloat = 100.0
    """Relaxation time of both thermostats, fs."""


class PullSettings(Settings):
    """Steered molecular dynamics: a spring between two atoms whose rest length grows at a constant rate."""

    steps: PositiveInt = 6500
    """Steps of the whole pull."""
    timestep_fs: PositiveFloat = Field(default=0.5, le=5.0)
    """Time step, fs."""
    rate_angstrom_per_ps: PositiveFloat = 1.0
    """Growth of the spring's rest length, Å/ps."""
    spring_ev_per_angstrom2: PositiveFloat = 10.0
    """Spring constant, eV/Å²."""
    segment_steps: PositiveInt = 500
    """Steps of one segment, the unit in which a pull is sent to a worker and its frames come back."""
    record_stride: PositiveInt = 1
    """A frame is recorded every so many steps."""
    temperature_k: PositiveFloat = 10.0
    """Temperature of the thermostat, K."""
    damping_fs: PositiveFloat = 100.0
    """Relaxation time of the thermostat, fs."""
    thermostat: Literal["berendsen", "langevin"] = "berendsen"
    """`berendsen`: holds the temperature down, of all atoms but those that define the coordinate (the paper).
    `langevin`: friction and noise on all atoms, so that the molecule is at a real temperature; the relaxation before
    leaves none out either."""


class ReplicaSettings(Settings):
    """Pulls of each molecule and rate; a whole number stands for the same number in every iteration."""

    search: PositiveInt
    """In an iteration that looks for frames to label."""
    certify: PositiveInt
    """In an iteration that may certify the barrier: the goal of `stop` is near, or it is the campaign's last."""

    @property
    def differ(self) -> bool:
        """Say whether some iterations pull fewer replicas than others."""
        return self.search < self.certify

    @model_validator(mode="before")
    @classmethod
    def _one_number(cls, given: Any) -> Any:
        if isinstance(given, Mapping | ReplicaSettings):
            return given
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ValueError("replicas are a whole number from 1 on, or a table with search and certify")
        return {"search": given, "certify": given}

    @model_validator(mode="after")
    def _certifies_with_more(self) -> Self:
        if self.search > self.certify:
            raise ValueError(
                f"an iteration that certifies pulls at least the replicas of one that searches; got search = "
                f"{self.search} and certify = {self.certify}"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, write: SerializerFunctionWrapHandler) -> Any:
        return write(self) if self.differ else self.certify

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe a whole number or a table."""
        return {"anyOf": [{"type": "integer", "minimum": 1}, handler(schema)]}
