"""Settings of training, and of the networks that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from alflow.config.base import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "epochs": 60,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "force_weight": 5.0,
        "optimizer": "adamw",
        "weight_decay": 1e-5,
        "averaging": 0.0,
        "descriptor_floor": 0.5,
        "criterion": "last",
    },
    "paper": {
        "epochs": 300,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "schedule": "plateau",
        "force_weight": 0.1,
        "optimizer": "adamw-sgd",
        "weight_decay": (0.01, 1e-5, 1e-6, 0.01),
        "averaging": 0.0,
        "descriptor_floor": 0.0,
        "criterion": "energy",
    },
}
"""What a preset fills in; benchmarks/RESULTS.md says how `fast` was found."""


class ANITrainingSettings(Settings):
    """How members are trained. What is not given comes from the preset."""

    preset: Literal["fast", "paper"] = "fast"
    """`fast`: what reaches the paper's validation error soonest; `paper`: as in Digital Discovery 2024, 3, 514."""
    epochs: int = Field(default=60, ge=1)
    """Epochs of a training from fresh weights."""
    batch_size: int = Field(default=8, ge=1)
    """Frames a step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Largest learning rate of a training from fresh weights."""
    schedule: Literal["cosine", "one-cycle", "plateau"] = "cosine"
    """Cosine to zero, a rise and fall, or halving after 100 epochs without a better validation energy."""
    force_weight: float = Field(default=5.0, ge=0)
    """Weight of the forces in the paper's eq. 3; 0 trains on energies alone."""
    optimizer: Literal["adamw", "adamw-sgd"] = "adamw"
    """AdamW for all, or AdamW for weights and plain gradient descent for biases."""
    weight_decay: tuple[float, ...] | float = 1e-5
    """Of the weights: one for all layers, or one a layer."""
    averaging: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the running average of the weights that is validated and returned; 0 for none."""
    descriptor_floor: float = Field(default=0.5, ge=0)
    """Descriptors are centred and divided by their standard deviation, or by this if that is less; 0: as they are."""
    criterion: Literal["last", "energy", "loss"] = "last"
    """Which epoch is returned: the last, or that of the least validation error in energy or in eq. 3."""
    epochs_carried_over: int | None = Field(default=None, ge=1)
    """Epochs when weights are carried over; two thirds of `epochs` if not given."""
    learning_rate_carried_over: float | None = Field(default=None, gt=0)
    """Largest learning rate when weights are carried over; `learning_rate` if not given."""
    memory_limit_gb: float = Field(default=8.0, gt=0)
    """Most memory for cached descriptors and Jacobian; above, batches are worked out anew each time."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where it trains; `auto` takes the GPU that torch sees if there is one."""

    @model_validator(mode="before")
    @classmethod
    def fill_from_preset(cls, values: Any) -> Any:
        """Take from the preset what is not given."""
        if not isinstance(values, Mapping):
            return values
        return {**PRESETS.get(str(values.get("preset", "fast")), {}), **values}

    @property
    def starts_from(self) -> Literal["fresh", "carried-over"]:
        """What a later iteration starts from with this preset, where the campaign does not say."""
        return "fresh" if self.preset == "paper" else "carried-over"

    def for_start(self, *, carried_over: bool) -> tuple[int, float]:
        """Return epochs and learning rate of a training."""
        if not carried_over:
            return self.epochs, self.learning_rate
        epochs = self.epochs_carried_over or max(1, round(self.epochs * 2 / 3))
        return epochs, self.learning_rate_carried_over or self.learning_rate


def _ani_2x_layers() -> dict[str, tuple[int, ...]]:
    wide, narrow = (192, 160, 128), (160, 128, 96)
    return {
        "H": (256, 192, 160),
        "C": (224, 192, 160),
        "N": wide,
        "O": wide,
        "S": narrow,
        "F": narrow,
        "Cl": narrow,
    }


class ANISettings(Settings):
    """The networks. As in ANI-2x, and so in the paper."""

    hidden_layers: dict[str, tuple[int, ...]] = Field(default_factory=_ani_2x_layers)
    """Widths of the hidden layers by element."""
    other_layers: tuple[int, ...] = (160, 128, 96)
    """Widths of the hidden layers of any other element."""
    activation: Literal["gelu", "celu"] = "gelu"
    """Between layers: the paper's GELU, or the CELU of the published ANI models."""

    @model_validator(mode="after")
    def check_depths(self) -> ANISettings:
        """Refuse elements of different depth: all are passed through together."""
        layers = [*self.hidden_layers.values(), self.other_layers]
        if len({len(widths) for widths in layers}) > 1 or not self.other_layers:
            depths = ", ".join(f"{symbol} {len(widths)}" for symbol, widths in self.hidden_layers.items())
            raise ValueError(
                "All elements must have the same number of hidden layers, one at least: "
                f"hidden_layers has {depths}, other_layers {len(self.other_layers)}. Give all the same depth."
            )
        return self

    def layers(self, symbol: str) -> tuple[int, ...]:
        """Return the widths of an element's hidden layers."""
        return self.hidden_layers.get(symbol, self.other_layers)


class ANIPotentialSettings(ANISettings):
    """An ANI potential: its networks and how they are trained."""

    training: ANITrainingSettings = Field(default_factory=ANITrainingSettings)
    """Training. Its keys may also stand in the campaign's own table `training`."""
