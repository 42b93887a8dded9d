"""The engine `sleep`, which stands in for a real one in benchmarks and rehearsals."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeFloat, model_validator

from alflow.config.base import Settings
from alflow.labeling.protocol import EngineKind, LabelEngine


class SleepSettings(Settings):
    """A cheap model of molecules whose labels take a given time, and some of which fail in given ways.

    Which structure fails, and how, follows from its coordinates alone: the same on every worker and at every try.
    """

    seconds_per_label: NonNegativeFloat = 0.01
    """Time that one label sleeps, s; the median, where times differ."""
    log_spread: float = Field(default=0.0, ge=0, le=5)
    """Standard deviation of the natural logarithm of that time over structures: lognormal times; 0: all are alike."""
    slow_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the structures whose label takes `slow_seconds` instead."""
    slow_seconds: NonNegativeFloat = 1.0
    """Time that a slow label sleeps, s."""
    busy: bool = False
    """Keep a core busy for that time instead of sleeping."""
    seed: int = Field(default=0, ge=0)
    """Another seed strikes other structures."""
    beyond_angstrom: NonNegativeFloat = 0.0
    """Only structures with two atoms further apart than this are struck, Å."""
    hang_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the structures whose label never ends."""
    crash_share: float = Field(default=0.0, ge=0, le=1)
    """Share that ends its process: one half by a segmentation fault, the other by an abort."""
    not_converged_share: float = Field(default=0.0, ge=0, le=1)
    """Share that does not converge."""
    nan_share: float = Field(default=0.0, ge=0, le=1)
    """Share whose energy is not a number."""
    outlier_share: float = Field(default=0.0, ge=0, le=1)
    """Share whose energy is finite and absurd."""
    error_share: float = Field(default=0.0, ge=0, le=1)
    """Share at which the engine raises an error of its own."""
    eat_memory_share: float = Field(default=0.0, ge=0, le=1)
    """Share that takes memory until there is none."""
    eat_memory_gb: float = Field(default=8.0, gt=0)
    """Where no limit is set, such a label gives up at this size, GB."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = sum(self.shares().values())
        if total > 1:
            raise ValueError(f"the shares of failing structures must not add up to more than 1; they give {total:g}")
        return self

    def shares(self) -> dict[str, float]:
        """Return the share of each kind of failure, in a fixed order."""
        names = ("hang", "crash", "not_converged", "nan", "outlier", "error", "eat_memory")
        return {name: float(getattr(self, f"{name}_share")) for name in names}


class SleepKind(EngineKind[SleepSettings]):
    """Labels that take a given time, some of which fail in given ways."""

    settings = SleepSettings

    def make(self, settings: SleepSettings) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.sleep import SleepEngine  # noqa: PLC0415 - heavy

        return SleepEngine(settings)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.sleep",)


KIND = SleepKind()
