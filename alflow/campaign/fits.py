"""Whether the tasks of a campaign fit into the blocks of a site: one that is longer than a block lives never ends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from alflow.campaign.plan import Plan
from alflow.errors import SiteError
from alflow.execution.monitor import walltime_s
from alflow.workers.models import EngineModel
from alflow.workers.selftest import Canary

QUICKER = 4.0
"""A node may be so many times as quick as the machine that the label was timed on."""


def label_seconds(model: EngineModel) -> float:
    """Return how long the driver took for the known structure, s."""
    return 0.0 if model.canary is None else Canary(*model.canary).seconds


def check_fits(plan: Plan, executors: Iterable[Any], seconds: float, site: str) -> None:
    """Refuse an allocation that is too small for a task of a campaign.

    Args:
        plan: of the campaign.
        executors: of the site.
        seconds: of one label here.
        site: its name.

    Raises:
        SiteError: a task with the label engine takes longer than a block lives, even on a node that is much quicker.
    """
    for executor in executors:
        longest = _lifetime_s(executor) if executor.label == "cpu" else math.inf
        for what, steps, smaller in _tasks(plan):
            if steps * seconds > QUICKER * longest:
                raise SiteError(
                    f"A block must live longer than a task of the campaign takes; {what} takes about "
                    f"{steps * seconds:.0f} s here, and a block of site {site!r} lives {longest:.0f} s. Give the site "
                    f"a longer walltime{smaller}."
                )


def _lifetime_s(executor: Any) -> float:
    """Return how long a block lives, s; infinity where it has no walltime that can be read."""
    walltime = getattr(getattr(executor, "provider", None), "walltime", None)
    try:
        return math.inf if walltime is None else walltime_s(str(walltime))
    except ValueError:  # the scheduler's own way of writing it
        return math.inf


def _tasks(plan: Plan) -> list[tuple[str, int, str]]:
    """Return the tasks that the label engine does: what, how many evaluations, what makes them smaller."""
    settings, sampling = plan.settings, plan.settings.sampling
    md, pull = settings.first_data, sampling.pull
    found = [("a label", 1, "")]
    if settings.starts_from_dynamics:
        steps = min(md.segment_steps, md.md.steps + md.md.equilibration_steps)
        found.append(("a segment of the first data", steps, ", or set a smaller first_data.segment_steps"))
    if sampling.relax_with == "label-engine":
        steps = sampling.relax.langevin_steps + sampling.relax.berendsen_steps
        found.append(("a relaxation", steps, ", or set fewer steps in sampling.relax"))
    if sampling.reference:
        steps = min(pull.segment_steps, pull.steps)
        found.append(("a segment of a reference pull", steps, ", or set a smaller sampling.pull.segment_steps"))
    return [(what, math.ceil(steps), smaller) for what, steps, smaller in found]
