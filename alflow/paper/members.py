"""Members of a stored ensemble on frames that none of them was shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from alflow.config.campaign import CampaignSettings
from alflow.errors import RunError
from alflow.potentials import load_potential
from alflow.report.curves import column, in_order, reference_folders
from alflow.runs.directory import RunDirectory, composition_in, load_members
from alflow.types import FloatArray, Frames, Member

STRIDE = 5
"""Steps of the reference pull per step that is looked at."""


@dataclass(frozen=True)
class Unseen:
    """Energies along a reference pull, relative to its first frame."""

    labelled: FloatArray
    """(F,) eV."""
    predicted: FloatArray
    """(F,) eV, of the best member."""

    @property
    def mae(self) -> float:
        """Mean absolute error, eV."""
        return float(np.abs(self.predicted - self.labelled).mean())


def best_member(ensemble: Path) -> tuple[int, Member]:
    """Return place and record of the member with the lowest force error on all its data."""
    members = load_members(ensemble.with_name("members.json"))
    place = min(range(len(members)), key=lambda index: members[index].all_errors.force_mae_ev_per_angstrom)
    return place, members[place]


def driver_of(settings: CampaignSettings, ensemble: Path) -> int | Literal["mean"]:
    """Return who drives a pull with this ensemble."""
    return best_member(ensemble)[0] if settings.potential.driver == "best-member" else "mean"


def unseen(run: RunDirectory, iteration: int) -> Unseen:
    """Compare the best member of an iteration with the label engine along the first reference pull.

    Raises:
        RunError: there is no reference pull.
    """
    folder = next(iter(reference_folders(run)), None)
    if folder is None:
        raise RunError(f"Errors on unseen data need a reference pull; {run.path} has none (sampling.reference).")
    settings, ensemble = run.settings(), run.iteration(iteration) / "ensemble.pt"
    rows = slice(None, None, max(1, STRIDE // settings.sampling.pull.record_stride))
    labelled = column(folder, "energy")[rows]
    with np.load(in_order(folder.glob("segment-*.npz"))[0], allow_pickle=False) as data:
        composition = composition_in(data)
    frames = Frames(composition, np.ascontiguousarray(column(folder, "positions")[rows]))
    energies, _ = load_potential(ensemble).evaluate(frames)
    predicted = energies[best_member(ensemble)[0]]
    return Unseen(labelled - labelled[0], predicted - predicted[0])
