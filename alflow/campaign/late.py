"""Late labels: those that an iteration goes on without, written down, so that a run that is gone on with does as well.

The decision is taken once an iteration, when enough of its labels have come, and lies in `late.json` from then on. The
next training leaves out exactly those, even where they have come since; they count for the iteration after.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alflow.campaign.campaign import Campaign
from alflow.farm.farm import Asked
from alflow.files.whole import write_atomically
from alflow.ledger import Origin, structure_keys
from alflow.runs.damage import COPY, whole
from alflow.runs.directory import RunDirectory
from alflow.types import Frames

NAME = "late.json"
CURE = (
    f"{COPY}; without one, remove it: the next `alflow run` decides anew, and trainings that went without late labels "
    "are not repeated"
)


@dataclass(frozen=True)
class Came:
    """What an iteration had got when it went on."""

    labels: int
    late: int
    failures: dict[str, int]
    """By reason, the most frequent first."""


def late_labels(run: RunDirectory, iteration: int) -> list[Asked]:
    """Return what an iteration went on without; nothing where all had come, or before there is an iteration."""
    path = run.iteration(iteration) / NAME if iteration >= 0 else None
    if path is None or not path.exists():
        return []
    with whole(path, CURE):
        return [_asked(one) for one in json.loads(path.read_text(encoding="utf-8"))["late"]]


def late_keys(run: RunDirectory, iteration: int, theory: str) -> set[bytes]:
    """Return the keys of the structures whose labels an iteration went on without."""
    return {structure_keys(theory, one.frame)[0] for one in late_labels(run, iteration)}


def ask_for_late_labels(campaign: Campaign, iteration: int) -> None:
    """Open the account of an iteration, and ask for the labels that the one before went on without.

    Those still in flight are waited for; those whose tasks went with an earlier driver are submitted again.
    """
    run, farm = campaign.run, campaign.farm
    farm.new_account(late_keys(run, iteration, farm.theory))
    for one in late_labels(run, iteration - 1):
        for origin in one.origins:
            farm.request(one.frame, [origin])


def wait_for_labels(campaign: Campaign, iteration: int) -> Came:
    """Wait until an iteration may go on, and write down what it goes on without.

    All labels are waited for in the last planned iteration, which no training follows, and where an earlier run has
    decided already. The audit is waited for whole in any case: what comes late may be what is hard, and an audit
    without it would be too good.
    """
    run, farm, share = campaign.run, campaign.farm, campaign.settings.labels.wait_share
    path = run.iteration(iteration) / NAME
    decides = share < 1.0 and not path.exists()
    if not decides or iteration == campaign.settings.iterations - 1:
        share = 1.0
    campaign.graph.run_until(lambda: farm.enough(share))
    labels = farm.done - farm.failed
    campaign.ledger.commit()  # before the decision: what counts as come must not be lost
    if decides:
        _write(path, farm.in_flight().values())
    late = late_labels(run, iteration)
    if late:
        campaign.say(
            f"Iteration {iteration} goes on without {len(late)} of {farm.wanted} labels (labels.wait_share); they are "
            "learnt from once they have come."
        )
    return Came(labels, len(late), _failures(campaign, iteration))


def _failures(campaign: Campaign, iteration: int) -> dict[str, int]:
    """Count the failures that came in an iteration: those it asked for, and earlier late ones."""
    ledger, theory, run = campaign.ledger, campaign.farm.theory, campaign.run
    late, before = late_keys(run, iteration, theory), late_labels(run, iteration - 1)
    asked_in = {origin.iteration for one in before for origin in one.origins} - {iteration}
    awaited = {structure_keys(theory, one.frame)[0] for one in before}
    found = ledger.failures(theory, iteration)
    for earlier in asked_in:
        found |= {key: reason for key, reason in ledger.failures(theory, earlier).items() if key in awaited}
    counted = Counter(reason for key, reason in found.items() if key not in late)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _write(path: Path, late: Iterable[Asked]) -> None:
    ordered = sorted(late, key=lambda one: repr(one.origins[0]))
    text = json.dumps({"late": [_plain(one) for one in ordered]}, indent=0)
    write_atomically(path, text.encode())


def _plain(one: Asked) -> dict[str, Any]:
    composition = one.frame.composition
    return {
        "origins": [asdict(origin) for origin in one.origins],
        "numbers": composition.numbers.tolist(),
        "charge": composition.charge,
        "multiplicity": composition.multiplicity,
        "positions": one.frame.positions[0].tolist(),
    }


def _asked(data: dict[str, Any]) -> Asked:
    numbers, positions = np.array(data["numbers"], dtype=np.int64), np.array([data["positions"]], dtype=np.float64)
    frame = Frames.of(numbers, positions, data["charge"], data["multiplicity"])
    return Asked(frame, [Origin(**origin) for origin in data["origins"]])
