"""Settings of the decisions: what is picked, jittered, trained on, and when to stop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alflow.config.base import Settings
from alflow.units import KCAL_PER_MOL_IN_EV


class SelectionSettings(Settings):
    """Which frames of the pulls are labelled."""

    threshold: Literal["first-steps", "validation", "lower", "conformal", "calibrated"] = "lower"
    """Above which spread a frame counts as new: mean + sigmas · standard deviation of the spread over the first steps
    of the pull (the paper), or over the validation frames; the lower of these two; or calibrated on validation frames,
    so that frames below it are wrong by more than `tolerance_ev` at most at the `miss_rate`. `calibrated`: where the
    expected error, calibrated by the audits, is above `tolerance_ev` or `tolerance_ev_per_angstrom`; frames are chosen
    once all pulls have ended, and nothing is asked for where nothing is above."""
    first_steps: int = Field(default=1000, gt=0)
    """Steps of the beginning of the pull that give a threshold."""
    sigmas: float = Field(default=3.0, ge=0)
    """Standard deviations above the mean."""
    tolerance_ev: float = Field(default=KCAL_PER_MOL_IN_EV, gt=0)
    """Conformal threshold: largest error that is accepted; eV, or eV/Å where the spread is on forces. Calibrated
    threshold: error of the energy that is accepted, eV, one standard deviation."""
    tolerance_ev_per_angstrom: float = Field(default=0.05, gt=0)
    """Calibrated threshold: error of the force on the worst atom that is accepted, eV/Å, one standard deviation."""
    miss_rate: float = Field(default=0.05, gt=0, lt=1)
    """Conformal threshold: accepted share of frames that are trusted and yet wrong by more than the tolerance."""
    spread_of: Literal["energy", "forces"] = "energy"
    """Spread over the members: of the energy (eV), or of the force on the least certain atom (eV/Å)."""
    similarity_distance_angstrom: float = Field(default=0.01, ge=0)
    """A frame is kept only if the distance of the pulled atoms differs by more from the last frame that was kept."""
    similarity_energy_ev: float = Field(default=KCAL_PER_MOL_IN_EV, ge=0)
    """A frame is kept only if the energy, too, differs by more from the last frame that was kept."""
    cap: int = Field(default=50, ge=0)
    """Frames picked in one iteration at most, shared by all replicas."""
    cap_order: Literal["first", "spread", "progress", "most-uncertain", "diverse", "random"] = "spread"
    """Which frames are picked when more qualify than the cap: the first in time (the paper's scripts), spread evenly
    over the steps of the pull, or over its progress (growth of the pulled distance, and of the bond that grows most:
    what passes quickly, such as the break, is covered too), or those of the largest spread. `diverse`, with the
    calibrated threshold: of all pulls together, in each window of the progress, those that differ most, in the last
    hidden layer, from each other and from what was learnt from; `random`, with that threshold too: at random over their
    progress, to compare with."""
    audit: float = Field(default=0.1, ge=0, le=1)
    """Share of the labels that `cap` and the jittered copies allow which is spent, beside them, on frames drawn at
    random over the progress of all pulls: what calibrates the uncertainty, and checks it."""
    windows: int = Field(default=10, gt=0)
    """Orders `spread`, `progress` and `diverse`: equal windows of the pull's steps or progress, each with an equal
    share of the cap."""
    largest_nearest_angstrom: float = Field(default=3.0, gt=0)
    """A frame in which an atom has no neighbour this near is implausible and dropped."""
    smallest_nearest_angstrom: float = Field(default=0.6, ge=0)
    """A frame in which two atoms are nearer than this is implausible and dropped."""


class AugmentationSettings(Settings):
    """Jittered copies of the selected frames."""

    copies: int = Field(default=2, ge=0)
    """Copies of each selected frame that are labelled as well."""
    amplitude_angstrom: float = Field(default=0.05, ge=0)
    """Largest displacement of an atom along each axis; uniform."""


class SplitSettings(Settings):
    """Members of the ensemble, their training and validation rows."""

    kind: Literal["inherited", "random"] = "inherited"
    """Carry the best member's split forward and draw for new rows only, or draw for all rows in each iteration."""
    train_fraction: float = Field(default=0.8, gt=0, lt=1)
    """Share of the rows to train on; the others validate."""
    members: int = Field(default=3, ge=1)
    """Members of the ensemble."""


class StopSettings(Settings):
    """When a pull, and when the campaign, ends early."""

    pull_spread_factor: float | None = Field(default=None, gt=1)
    """A pull ends when its energy spread is above this many times mean + `selection.sigmas` · standard deviation of the
    energy spread over the validation frames, for `pull_frames` recorded frames in a row: it has left all that the
    ensemble knows. Not given: it goes on to its last step."""
    pull_frames: int = Field(default=50, gt=0)
    """Recorded frames in a row that end a pull."""
    stop_when: Literal["never", "error", "change", "audit"] = "never"
    """The campaign ends when the 95 % confidence interval over the replicas of the barrier's error against the
    reference (`error`), of its change from one iteration to the next (`change`, needs no reference), or of its error by
    labels around the break of the pulls themselves (`audit`, needs no reference), lies within the tolerance, for each
    molecule and rate. An iteration with a pull that ended early does not count, nor one that pulled only the replicas
    of a search."""
    tolerance_ev: float = Field(default=KCAL_PER_MOL_IN_EV, gt=0)
    """Tolerance for `stop_when`."""
    audited_pulls: int = Field(default=0, ge=0)
    """Pulls of each molecule and rate, in each iteration, of which five frames around the break are labelled to
    estimate the barrier under the label engine. `stop_when = "audit"` needs 2 or more; 8 serve."""
    iterations: int = Field(default=2, ge=1)
    """Iterations in a row that have to lie within the tolerance."""
