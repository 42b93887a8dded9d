"""Settings of a MACE potential: its network, or the file that it is fine-tuned from, and how it is trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from alflow.config.base import Settings, absolute_path

NETWORK = (
    "channels",
    "max_l",
    "layers",
    "correlation",
    "spherical_l",
    "cutoff_angstrom",
    "radial_basis",
    "radial_functions",
    "cutoff_power",
    "radial_layers",
    "readout_width",
    "short_range_repulsion",
)
"""Settings of the network, which a foundation model brings itself."""


class MACESettings(Settings):
    """A MACE potential (Batatia et al., NeurIPS 2022), trained from fresh weights or fine-tuned from a file."""

    foundation: str | None = None
    """File of a foundation model that all members are fine-tuned from, as mace-torch saves it; relative to the working
    directory. Such a file can execute anything when it is read: take it from a source that you trust."""
    foundation_head: str | None = None
    """Which head of a foundation model with several is taken."""
    channels: int = Field(default=32, ge=1)
    """Channels of a message."""
    max_l: int = Field(default=1, ge=0, le=3)
    """Largest order of the messages between atoms: 0 invariant, 1 with vectors, ..."""
    layers: int = Field(default=2, ge=1, le=6)
    """Interactions; an atom feels others up to so many cutoffs away."""
    correlation: int = Field(default=3, ge=1, le=4)
    """Neighbours that act together in one layer: its body order less one."""
    spherical_l: int = Field(default=3, ge=0, le=6)
    """Largest order of the spherical harmonics of an edge."""
    cutoff_angstrom: float = Field(default=5.0, gt=0)
    """Atoms further apart do not see each other directly, Å."""
    radial_basis: Literal["bessel", "gaussian", "chebyshev"] = "bessel"
    """Functions in which a distance is expanded."""
    radial_functions: int = Field(default=8, ge=1)
    """How many of them."""
    cutoff_power: int = Field(default=5, ge=2)
    """Power of the polynomial that ends them at the cutoff."""
    radial_layers: tuple[PositiveInt, ...] = Field(default=(64, 64, 64), min_length=1)
    """Widths of the hidden layers that make weights of a distance."""
    readout_width: int = Field(default=16, ge=1)
    """Width of the hidden layer that makes an energy of the last messages."""
    short_range_repulsion: bool = True
    """Add the screened nuclear repulsion of Ziegler, Biersack and Littmark between atoms that are very near."""
    precision: Literal["single", "double"] = "single"
    """Of training and evaluation. Energies of atoms are added in double precision in either case."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where it trains and drives; `auto` takes the GPU that torch sees if there is one."""
    loss: Literal["squares", "l1l2"] = "squares"
    """MACE's weighted loss: of squares, or of absolute energies and lengths of force errors."""
    energy_weight: float = Field(default=1.0, ge=0)
    """Weight of the energy per atom in the loss."""
    force_weight: float = Field(default=100.0, ge=0)
    """Weight of the forces in the loss."""
    stage_two: float = Field(default=0.25, ge=0, lt=1)
    """Share of the epochs, at the end, in which the energy weighs `stage_two_energy_weight`."""
    stage_two_energy_weight: float = Field(default=1000.0, ge=0)
    """See `stage_two`."""
    epochs: int = Field(default=100, ge=1)
    """Epochs of a training from fresh weights, or from the foundation model."""
    epochs_carried_over: int | None = Field(default=None, ge=1)
    """Epochs when weights are carried over; two thirds of `epochs` if not given."""
    batch_size: int = Field(default=8, ge=1)
    """Frames a step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Of Adam at the start; 0.01 if not given, and 0.001 from a foundation model."""
    learning_rate_carried_over: float | None = Field(default=None, gt=0)
    """When weights are carried over; `learning_rate` if not given."""
    least_learning_rate: float = Field(default=1e-5, ge=0)
    """Where the cosine of the learning rate ends."""
    weight_decay: float = Field(default=5e-7, ge=0)
    """Of the weights that MACE lets decay."""
    clip: float | None = Field(default=10.0, gt=0)
    """Largest norm of the gradient of a step."""
    averaging: float = Field(default=0.99, ge=0, lt=1)
    """Decay per step of the running average of the weights that is validated and returned; 0 for none."""
    criterion: Literal["last", "loss"] = "last"
    """Which epoch is returned: the last, or that of the least validation loss among the last loss's epochs."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints."""

    @field_validator("foundation")
    @classmethod
    def _from_anywhere(cls, foundation: str | None) -> str | None:
        return None if foundation is None else absolute_path(foundation)

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        given = [name for name in NETWORK if getattr(self, name) != type(self).model_fields[name].default]
        if self.foundation is not None and given:
            raise ValueError(f"a foundation model brings its own network: leave out {', '.join(given)}, or foundation")
        if self.foundation is None and self.foundation_head is not None:
            raise ValueError("foundation_head is a head of a foundation model: give foundation, the file, too")
        if self.energy_weight == 0 and self.force_weight == 0:
            raise ValueError("energy_weight and force_weight cannot both be 0: nothing would be learnt")
        return self

    def for_start(self, *, carried_over: bool) -> tuple[int, float]:
        """Return epochs and learning rate of a training."""
        rate = self.learning_rate or (0.01 if self.foundation is None else 0.001)
        if not carried_over:
            return self.epochs, rate
        epochs = self.epochs_carried_over or max(1, round(self.epochs * 2 / 3))
        return epochs, self.learning_rate_carried_over or rate

    def energy_weight_at(self, epoch: int, epochs: int) -> float:
        """Return the weight of the energy in an epoch, counted from 0."""
        return self.stage_two_energy_weight if self.in_stage_two(epoch, epochs) else self.energy_weight

    def in_stage_two(self, epoch: int, epochs: int) -> bool:
        """Say whether an epoch, counted from 0, is in the second stage."""
        return epoch >= epochs - int(self.stage_two * epochs)
