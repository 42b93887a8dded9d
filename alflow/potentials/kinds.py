"""The kinds of potentials: which module trains one, and which reads its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alflow.config.campaign import PotentialSettings
from alflow.config.training import TrainingSettings
from alflow.errors import InputError
from alflow.types import Dataset, Member, Split

if TYPE_CHECKING:
    from alflow.potentials.ani.ensemble import ANIEnsemble
    from alflow.potentials.schnet.ensemble import SchNetEnsemble

    Ensemble = ANIEnsemble | SchNetEnsemble


def load_potential(path: Path) -> Ensemble:
    """Read an ensemble from its file of weights: tensors and plain data; nothing in it is executed.

    Raises:
        InputError: the file is not there, or not one that alflow wrote.
    """
    kind = _format(path)
    if kind.startswith("alflow-schnet"):
        from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415

        return SchNetEnsemble.load(path)
    from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415

    return ANIEnsemble.load(path)


def _format(path: Path) -> str:
    import torch  # noqa: PLC0415

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"A file of weights must be one that alflow wrote; {path} is not: {error}.") from error
    return str(content.get("format", "")) if isinstance(content, dict) else ""


def join_files(parts: Sequence[Path], target: Path) -> None:
    """Join ensembles of one kind, in order, into one file."""
    ensembles = [load_potential(part) for part in parts]
    if _format(parts[0]).startswith("alflow-schnet"):
        from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415
        from alflow.potentials.schnet.ensemble import join as join_schnet  # noqa: PLC0415

        join_schnet([found for found in ensembles if isinstance(found, SchNetEnsemble)]).save(target)
    else:
        from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415
        from alflow.potentials.ani.ensemble import join as join_ani  # noqa: PLC0415

        join_ani([found for found in ensembles if isinstance(found, ANIEnsemble)]).save(target)


def train_potential(
    dataset: Dataset,
    splits: Sequence[Split],
    potential: PotentialSettings,
    training: TrainingSettings,
    *,
    seed: Sequence[int],
    members: Sequence[int] | None = None,
    initial: Path | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Ensemble, tuple[Member, ...]]:
    """Train members of the kind that the settings name; the arguments are those of `train_ensemble` of each kind.

    Args:
        dataset: labelled frames.
        splits: for each member of the whole ensemble, its rows.
        potential: kind and network.
        training: how an ANI potential is trained; SchNet's own settings say it for SchNet.
        seed: of the random streams.
        members: which members to train; all if not given.
        initial: file of the whole ensemble to start from; fresh weights if None.
        checkpoint: file to go on from after a kill.
        threads: number of threads.
        progress: called with epochs done and epochs in all.
    """
    if potential.kind == "schnet":
        from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415
        from alflow.potentials.schnet.training import train_schnet_ensemble  # noqa: PLC0415

        return train_schnet_ensemble(
            dataset,
            splits,
            potential.schnet,
            seed=seed,
            members=members,
            initial=SchNetEnsemble.load(initial) if initial else None,
            checkpoint=checkpoint,
            threads=threads,
            progress=progress,
        )
    from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415
    from alflow.potentials.ani.training import train_ensemble  # noqa: PLC0415

    return train_ensemble(
        dataset,
        splits,
        training,
        potential.ani,
        seed=seed,
        members=members,
        initial=ANIEnsemble.load(initial) if initial else None,
        checkpoint=checkpoint,
        threads=threads,
        progress=progress,
    )
