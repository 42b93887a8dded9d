"""Records of iterations, each a line in ``iterations.jsonl``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from alflow.acquisition.audit import Verdict
from alflow.acquisition.calibration import ErrorModel

if TYPE_CHECKING:
    from alflow.acquisition.correction import CorrectedBarrier


@dataclass(frozen=True)
class Estimate:
    """Values over pulls, their mean, and half the width of its 95 % confidence interval (Student t).

    A value that is not finite (a pull that gave no barrier) has no part in the mean and the interval.
    """

    values: tuple[float, ...]
    mean: float
    """Not-a-number where the values are of unlike quantities: barriers of several molecules or rates."""
    ci95: float | None
    """None with fewer than two values, or unlike ones."""

    @staticmethod
    def of(values: Sequence[float], *, alike: bool = True) -> Estimate:
        """Summarise values; `alike`: they are of one molecule and one rate."""
        array = np.asarray(values, dtype=float)
        if not alike:
            return Estimate(tuple(array.tolist()), float("nan"), None)
        from alflow.acquisition.stopping import confidence_interval  # noqa: PLC0415 - it brings SciPy

        interval = confidence_interval(array)
        half = interval.half_width if math.isfinite(interval.half_width) else None
        return Estimate(tuple(array.tolist()), interval.mean, half)


def estimate_text(estimate: Estimate | None, sign: str = "") -> str:
    """Return a mean with its interval, of how many values where some have no part in it; "–" of none."""
    if estimate is None or math.isnan(estimate.mean):
        return "–"
    found, number = sum(map(math.isfinite, estimate.values)), len(estimate.values)
    interval = f" ± {estimate.ci95:.3f}" if estimate.ci95 is not None else ""
    part = f" ({found} of {number})" if found < number else ""
    return f"{estimate.mean:{sign}.3f}{interval}{part}"


@dataclass(frozen=True)
class AuditRecord:
    """Audit of an iteration: frames of its own pulls at random, predicted before they were learnt from."""

    frames: int
    """Audited frames that got a label."""
    energy_rmse_ev: float
    """Root mean square of the error of the energy."""
    force_rmse_ev_per_angstrom: float
    """Root mean square of the error of the force on the worst atom, by its length."""
    energy: ErrorModel | None
    """Calibration of the energy's uncertainty, by this audit and as many before it as count; None: too few frames."""
    force: ErrorModel | None
    """The same of the force on the worst atom."""
    energy_checked: Verdict | None
    """How the calibration of the iterations before did on the frames of this audit; None if there was none."""
    force_checked: Verdict | None

    @staticmethod
    def of(data: Mapping[str, Any]) -> AuditRecord:
        """Read what `dataclasses.asdict` wrote."""
        models = {name: _model(data[name]) for name in ("energy", "force")}
        checks = {name: Verdict(**data[name]) if data[name] else None for name in ("energy_checked", "force_checked")}
        return AuditRecord(**{**data, **models, **checks})


def _model(data: Mapping[str, Any] | None) -> ErrorModel | None:
    return ErrorModel(**{**data, "slopes": tuple(data["slopes"])}) if data else None


@dataclass(frozen=True)
class BarrierCorrection:
    """What labels around the break say of a molecule's barrier at one rate: see `alflow.acquisition.correction`, eV.

    Half-widths of 95 % intervals; None where the labels cannot tell.
    """

    error: float
    """Of the potential's mean barrier: potential minus label engine. Not-a-number without labels in all windows."""
    error_ci95: float | None
    barrier: float
    """Mean barrier under the label engine."""
    barrier_ci95: float | None
    single_ci95: float | None
    """Of the barrier of one more trajectory of the label engine."""
    up_to_break: float
    """Part of the error."""
    after_break: float
    """Part of the error."""
    shift: float
    """Work of the shifted breaking point, a standard uncertainty."""

    @staticmethod
    def of(found: CorrectedBarrier) -> BarrierCorrection:
        """Take over what was found."""
        half_widths = [one.half_width if found.told else None for one in (found.error, found.barrier, found.single)]
        error, barrier, single = half_widths
        parts = found.up_to_break, found.after_break, found.shift
        return BarrierCorrection(found.error.mean, error, found.barrier.mean, barrier, single, *parts)

    def within(self, tolerance: float) -> bool:
        """Say whether the whole interval of the error lies in [-tolerance, tolerance]."""
        return self.error_ci95 is not None and abs(self.error) + self.error_ci95 <= tolerance

    def may_be_within(self, tolerance: float) -> bool:
        """Say whether some of the interval of the error lies there."""
        return self.error_ci95 is not None and abs(self.error) - self.error_ci95 <= tolerance


@dataclass(frozen=True)
class IterationRecord:
    """One committed iteration.

    Lists over pulls are of the pulls of this iteration, in the order of the plan; lists over members in theirs.
    """

    iteration: int
    labels: int
    """Labels that the members of this iteration learnt from."""
    selected: int
    """Frames selected from the pulls of this iteration."""
    new_labels: int
    """Labels added by this iteration: selected frames and their jittered copies."""
    failures: Mapping[str, int]
    """Labels that could not be had, by reason."""
    best_member: int
    threshold: tuple[float, ...]
    """What a pull was judged by; eV/Å where `selection.spread_of` is "forces"."""
    largest_spread_ev: tuple[float, ...]
    """Largest spread of the energy along a pull."""
    energy_mae_ev: tuple[float, ...]
    """On the validation rows, a member each, per molecule."""
    energy_rmse_ev: tuple[float, ...]
    force_mae_ev_per_angstrom: tuple[float, ...]
    """On the validation rows, a member each, per component."""
    barrier_ev: Estimate
    """Work of the spring at the end of the pull; of one that ended early (`stopped`), at its last record."""
    barrier_max_ev: Estimate
    """Largest work on the way."""
    reference_barrier_ev: Estimate | None
    barrier_error_ev: Estimate | None
    """Pull minus reference, pair by pair; not-a-number where one of the two ended early."""
    unseen_energy_mae_ev: float | None
    """Along the reference pulls, of the relative energy (mean of the ensemble)."""
    unseen_force_mae_ev_per_angstrom: float | None
    stopped: tuple[str, ...]
    """Why a pull ended early; empty where it did not."""
    tasks: Mapping[str, int]
    seconds: Mapping[str, float]
    """Wall time a stage; `pull`, `select` and `label` overlap."""
    replicas: int | None = None
    """Pulls of each molecule and rate, its first replicas; None in records of earlier versions: all of the plan."""
    notes: tuple[str, ...] = field(default=())
    audit: AuditRecord | None = None
    barrier_corrected_ev: tuple[BarrierCorrection, ...] = ()
    """Of each molecule and rate, where pulls are audited around the break (`stop.audited_pulls`)."""
    late: int = 0
    """Labels that the iteration went on without (`labels.wait_share`)."""
    labels_spent: int | None = None
    """Labels asked for up to here, where there is a budget of them."""
    last_of_budget: bool = False
    """Whether the budget left nothing for another iteration to learn from."""

    @property
    def cut_short(self) -> str:
        """Say how many pulls ended early, whose work is not that of the barrier; empty if none did."""
        number = sum(map(bool, self.stopped))
        return f" ({number} of {len(self.stopped)} cut short)" if number else ""

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> IterationRecord:
        """Read one line of JSON."""
        data = json.loads(line)
        if "threshold_ev" in data:  # its name once; where frames are picked by forces it was eV/Å all the same
            data["threshold"] = data.pop("threshold_ev")
        for key in ("barrier_ev", "barrier_max_ev", "reference_barrier_ev", "barrier_error_ev"):
            if data[key] is not None:
                data[key] = Estimate(**{**data[key], "values": tuple(data[key]["values"])})
        if data.get("audit") is not None:
            data["audit"] = AuditRecord.of(data["audit"])
        data["barrier_corrected_ev"] = [BarrierCorrection(**one) for one in data.get("barrier_corrected_ev", ())]
        for key, value in data.items():
            if isinstance(value, list):
                data[key] = tuple(value)
        return IterationRecord(**data)
