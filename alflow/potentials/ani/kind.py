"""The kind of potential `ani`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from alflow.potentials.ani.settings import ANIPotentialSettings
from alflow.potentials.protocol import Ensemble, PotentialKind, Training
from alflow.types import Dataset, Member, Split


class ANIKind(PotentialKind[ANIPotentialSettings]):
    """ANI potentials with the symmetry functions of ANI-2x."""

    settings = ANIPotentialSettings
    format: ClassVar[str] = "alflow-ani-1"
    example: ClassVar[Mapping[str, Any]] = {
        "hidden_layers": {"H": (8, 6), "C": (8, 6)},
        "other_layers": (8, 6),
        "training": {"epochs": 4, "checkpoint_every_s": 0.0},
    }
    batched: ClassVar[bool] = True
    transfers: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "torchani", "numba")

    def references(self, settings: ANIPotentialSettings) -> tuple[str, ...]:  # noqa: ARG002 - always the same
        """Return what to cite."""
        return (
            "ANI-2x: C. Devereux, J. S. Smith, K. K. Huddleston et al., J. Chem. Theory Comput. 2020, 16, 4192-4202",
            "TorchANI: X. Gao, F. Ramezanghorbani, O. Isayev et al., J. Chem. Inf. Model. 2020, 60, 3408-3415",
        )

    def train(
        self, dataset: Dataset, splits: Sequence[Split], settings: ANIPotentialSettings, training: Training
    ) -> tuple[Ensemble, tuple[Member, ...]]:
        """Train members: see `alflow.potentials.ani.training.trainer.train_ensemble`."""
        from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415 - heavy
        from alflow.potentials.ani.training.trainer import train_ensemble  # noqa: PLC0415

        return train_ensemble(
            dataset,
            splits,
            settings.training,
            settings,
            seed=training.seed,
            members=training.members,
            initial=ANIEnsemble.load(training.initial) if training.initial else None,
            checkpoint=training.checkpoint,
            threads=training.threads,
            progress=training.progress,
        )

    def load(self, path: Path) -> Ensemble:
        """Read an ensemble."""
        from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415

        return ANIEnsemble.load(path)

    def pretrained(self, path: Path, elements: Sequence[int]) -> Ensemble:
        """Read an ensemble, or a published model as TorchANI keeps it, for some of its elements."""
        from alflow.potentials import is_alflows  # noqa: PLC0415 - heavy
        from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415
        from alflow.potentials.ani.interop import read_torchani  # noqa: PLC0415

        found = ANIEnsemble.load(path) if is_alflows(path) else read_torchani(path)
        return found.of_elements(elements)

    def join(self, parts: Sequence[Ensemble]) -> Ensemble:
        """Return one ensemble of the members of several."""
        from alflow.potentials.ani.ensemble import ANIEnsemble, join  # noqa: PLC0415

        return join([cast("ANIEnsemble", part) for part in parts])

    def starts_from(self, settings: ANIPotentialSettings) -> Literal["fresh", "carried-over"]:
        """Return what the preset says."""
        return settings.training.starts_from

    def epochs(self, settings: ANIPotentialSettings, *, carried_over: bool) -> int:
        """Return the epochs of a training."""
        return settings.training.for_start(carried_over=carried_over)[0]

    def with_epochs(self, settings: ANIPotentialSettings, epochs: int) -> ANIPotentialSettings:
        """Return the settings with so many epochs."""
        training = settings.training.model_copy(update={"epochs": epochs})
        return settings.model_copy(update={"training": training})


KIND = ANIKind()
