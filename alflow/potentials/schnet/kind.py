"""The kind of potential `schnet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from alflow.potentials.protocol import Ensemble, PotentialKind, Training
from alflow.potentials.schnet.settings import SchNetSettings
from alflow.types import Dataset, Member, Split


class SchNetKind(PotentialKind[SchNetSettings]):
    """SchNet potentials."""

    settings = SchNetSettings
    format: ClassVar[str] = "alflow-schnet-1"
    example: ClassVar[Mapping[str, Any]] = {
        "features": 8,
        "gaussians": 6,
        "interactions": 2,
        "epochs": 4,
        "checkpoint_every_s": 0.0,
    }
    transfers: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "torch_geometric", "numba")
    modules: ClassVar[tuple[str, ...]] = ("torch_geometric",)
    extra: ClassVar[str] = "alflow[schnet]"

    def references(self, settings: SchNetSettings) -> tuple[str, ...]:  # noqa: ARG002 - always the same
        """Return what to cite."""
        return ("SchNet: K. T. Schütt, P. Kessel, M. Gastegger et al., J. Chem. Theory Comput. 2019, 15, 448-455",)

    def train(
        self, dataset: Dataset, splits: Sequence[Split], settings: SchNetSettings, training: Training
    ) -> tuple[Ensemble, tuple[Member, ...]]:
        """Train members: see `alflow.potentials.schnet.training.train_schnet_ensemble`."""
        from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415 - heavy
        from alflow.potentials.schnet.training import train_schnet_ensemble  # noqa: PLC0415

        return train_schnet_ensemble(
            dataset,
            splits,
            settings,
            seed=training.seed,
            members=training.members,
            initial=SchNetEnsemble.load(training.initial) if training.initial else None,
            checkpoint=training.checkpoint,
            threads=training.threads,
            progress=training.progress,
        )

    def load(self, path: Path) -> Ensemble:
        """Read an ensemble."""
        from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415

        return SchNetEnsemble.load(path)

    def join(self, parts: Sequence[Ensemble]) -> Ensemble:
        """Return one ensemble of the members of several."""
        from alflow.potentials.schnet.ensemble import SchNetEnsemble, join  # noqa: PLC0415

        return join([cast("SchNetEnsemble", part) for part in parts])

    def starts_from(self, settings: SchNetSettings) -> Literal["fresh", "carried-over"]:
        """Return what the preset says."""
        return "fresh" if settings.preset == "paper" else "carried-over"

    def epochs(self, settings: SchNetSettings, *, carried_over: bool) -> int:
        """Return the epochs of a training."""
        return settings.for_start(carried_over=carried_over)[0]

    def with_epochs(self, settings: SchNetSettings, epochs: int) -> SchNetSettings:
        """Return the settings with so many epochs."""
        return settings.model_copy(update={"epochs": epochs})


KIND = SchNetKind()
