"""The kind of potential `mace`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from alflow.potentials.mace.settings import MACESettings
from alflow.potentials.protocol import Ensemble, PotentialKind, Training
from alflow.types import Dataset, Member, Split

PAPER = (
    "MACE: I. Batatia, D. P. Kovács, G. N. C. Simm, C. Ortner, G. Csányi, Advances in Neural Information Processing "
    "Systems 2022, 35, 11423-11436"
)


class MACEKind(PotentialKind[MACESettings]):
    """MACE potentials."""

    settings = MACESettings
    format: ClassVar[str] = "alflow-mace-1"
    batched: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {
        "channels": 4,
        "max_l": 0,
        "correlation": 2,
        "spherical_l": 1,
        "radial_functions": 4,
        "radial_layers": [8],
        "epochs": 4,
        "checkpoint_every_s": 0.0,
    }
    packages: ClassVar[tuple[str, ...]] = ("torch", "mace-torch", "e3nn")
    modules: ClassVar[tuple[str, ...]] = ("mace",)
    extra: ClassVar[str] = "alflow[mace]"

    def references(self, settings: MACESettings) -> tuple[str, ...]:
        """Return what to cite."""
        if settings.foundation is None:
            return (PAPER,)
        return (PAPER, f"The foundation model: as its authors ask for {settings.foundation}")

    def check(self, settings: MACESettings, elements: Sequence[int]) -> None:
        """Read the foundation model, if there is one.

        Raises:
            InputError: it cannot be fine-tuned for these elements.
        """
        if settings.foundation is None:
            return
        from alflow.potentials.mace.foundation import check_foundation  # noqa: PLC0415 - heavy

        check_foundation(Path(settings.foundation), settings.foundation_head, elements)

    def train(
        self, dataset: Dataset, splits: Sequence[Split], settings: MACESettings, training: Training
    ) -> tuple[Ensemble, tuple[Member, ...]]:
        """Train members: see `alflow.potentials.mace.training.train_mace_ensemble`."""
        from alflow.potentials.mace.ensemble import MACEEnsemble  # noqa: PLC0415
        from alflow.potentials.mace.training import train_mace_ensemble  # noqa: PLC0415

        return train_mace_ensemble(
            dataset,
            splits,
            settings,
            seed=training.seed,
            members=training.members,
            initial=MACEEnsemble.load(training.initial) if training.initial else None,
            checkpoint=training.checkpoint,
            threads=training.threads,
            progress=training.progress,
        )

    def load(self, path: Path) -> Ensemble:
        """Read an ensemble."""
        from alflow.potentials.mace.ensemble import MACEEnsemble  # noqa: PLC0415

        return MACEEnsemble.load(path)

    def join(self, parts: Sequence[Ensemble]) -> Ensemble:
        """Return one ensemble of the members of several."""
        from alflow.potentials.mace.ensemble import MACEEnsemble, join  # noqa: PLC0415

        return join([cast("MACEEnsemble", part) for part in parts])

    def epochs(self, settings: MACESettings, *, carried_over: bool) -> int:
        """Return the epochs of a training."""
        return settings.for_start(carried_over=carried_over)[0]

    def with_epochs(self, settings: MACESettings, epochs: int) -> MACESettings:
        """Return the settings with so many epochs."""
        return settings.model_copy(update={"epochs": epochs})


KIND = MACEKind()
