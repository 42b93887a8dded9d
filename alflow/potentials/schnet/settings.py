"""Settings of a SchNet potential: its network and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from alflow.config.base import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "paper": {
        "epochs": 300,
        "batch_size": 64,
        "learning_rate": 5e-4,
        "schedule": "plateau",
        "rho": 0.1,
        "averaging": 0.0,
        "criterion": "loss",
        "smooth_cutoff": False,
        "short_range_repulsion": False,
    },
}
"""What a preset fills in."""


class SchNetSettings(Settings):
    """A SchNet potential (Schütt et al., J. Chem. Theory Comput. 2019, 15, 448). What is not given is the preset's."""

    preset: Literal["fast", "paper"] = "fast"
    """`fast`: few epochs and a cosine schedule; `paper`: Digital Discovery 2024, 3, 514, section 2.3.5."""
    features: int = Field(default=128, ge=2)
    """Length of the vector that stands for an atom, and number of filters."""
    gaussians: int = Field(default=25, ge=2)
    """Gaussians in which a distance is expanded, spread evenly from 0 to the cutoff."""
    interactions: int = Field(default=3, ge=1)
    """Interaction blocks."""
    cutoff_angstrom: float = Field(default=5.0, gt=0)
    """Atoms further apart do not see each other directly, Å."""
    smooth_cutoff: bool = True
    """End filters at the cutoff with a polynomial whose curvature is continuous, instead of SchNet's cosine."""
    short_range_repulsion: bool = True
    """Add the screened nuclear repulsion of Ziegler, Biersack and Littmark between atoms that are nearer than a share
    of the sum of their covalent radii, where no data is; the network learns the rest. Without it the hot fragments of a
    broken chain may find a hole in the potential, and two of their atoms fall into each other."""
    repulsion_reach: float = Field(default=0.85, gt=0)
    """That share."""
    rho: float = Field(default=0.01, ge=0, lt=1)
    """Share of the energy in the loss, rho · MSE(energies, eV) + (1 - rho) · MSE(forces, eV/Å) (the paper's
    eq. 4, with 0.1). After 30 epochs on 500 frames of hexane, 0.01 gave the same energies and better forces."""
    epochs: int = Field(default=100, ge=1)
    """Epochs of a training from fresh weights."""
    epochs_carried_over: int | None = Field(default=None, ge=1)
    """Epochs when weights are carried over; two thirds of `epochs` if not given."""
    batch_size: int = Field(default=16, ge=1)
    """Frames a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Of Adam at the start of a training from fresh weights."""
    learning_rate_carried_over: float | None = Field(default=None, gt=0)
    """Of Adam at the start when weights are carried over; `learning_rate` if not given."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """Cosine to the least learning rate, or its multiplication by `plateau_factor` whenever the validation loss has not
    fallen for `plateau_patience` epochs, with an end of training at the least learning rate."""
    plateau_factor: float = Field(default=0.8, gt=0, lt=1)
    """See `schedule`."""
    plateau_patience: int = Field(default=5, ge=0)
    """See `schedule`; epochs."""
    least_learning_rate: float = Field(default=1e-6, ge=0)
    """Where the schedule ends."""
    averaging: float = Field(default=0.998, ge=0, lt=1)
    """Decay per step of the running average of the weights that is validated and returned; 0 for none."""
    criterion: Literal["last", "loss"] = "loss"
    """Which epoch is returned: the last, or that of the least validation loss."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints."""

    @model_validator(mode="before")
    @classmethod
    def fill_from_preset(cls, values: Any) -> Any:
        """Take from the preset what is not given."""
        if not isinstance(values, Mapping):
            return values
        return {**PRESETS.get(str(values.get("preset", "fast")), {}), **values}

    def for_start(self, *, carried_over: bool) -> tuple[int, float]:
        """Return epochs and learning rate of a training."""
        if not carried_over:
            return self.epochs, self.learning_rate
        epochs = self.epochs_carried_over or max(1, round(self.epochs * 2 / 3))
        return epochs, self.learning_rate_carried_over or self.learning_rate
