"""The plan of a campaign and its cost, as commands print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alflow.campaign.forecast import Forecast
from alflow.display.tables import Sheet
from alflow.execution.sites import Capacity


def forecast_table(found: Forecast, capacity: Mapping[str, Capacity]) -> Sheet:
    """Return the plan and its cost on a site as a table.

    Args:
        found: the forecast.
        capacity: workers and nodes of the executors "cpu" and "gpu".
    """
    wall = found.wall_seconds(capacity["cpu"].workers, capacity["gpu"].workers)
    table = Sheet(
        ("stage", "executor"),
        ("tasks", "an iteration", "amount", "worker-seconds", "node-hours"),
        title=f"Plan of {found.campaign}: {found.iterations} iterations",
        caption=(
            f"probe: {found.label_seconds * 1e3:.1f} ms a label, {found.step_seconds * 1e3:.2f} ms a pull step, "
            f"{found.frame_epoch_seconds * 1e6:.0f} µs a frame and epoch (ensemble).\n"
            f"Wall time about {wall / 60:.1f} min with {capacity['cpu'].workers} cpu and {capacity['gpu'].workers} gpu "
            "workers like this one. Nothing was submitted."
        ),
    )
    for stage in found.stages:
        once = stage.name.startswith(("first", "reference", "relaxation"))
        each = "once" if once else f"{stage.tasks / found.iterations:.0f}"
        hours = capacity[stage.executor].node_hours(stage.seconds)
        table.add(
            stage.name,
            stage.executor,
            str(stage.tasks),
            each,
            str(stage.units),
            f"{stage.seconds:.0f}",
            f"{hours:.3g}",
        )
    return table


def sum_table(found: Sequence[Forecast], capacity: Mapping[str, Capacity]) -> Sheet:
    """Return what several campaigns cost that share a site.

    Args:
        found: the forecast of each.
        capacity: workers and nodes of the executors "cpu" and "gpu".
    """
    workers = {label: capacity[label].workers for label in ("cpu", "gpu")}
    alone = [one.wall_seconds(workers["cpu"], workers["gpu"]) for one in found]
    together = {label: sum(one.seconds(label) for one in found) for label in workers}
    wall = max([*alone, *(together[label] / workers[label] for label in workers)])
    table = Sheet(
        ("campaign",),
        ("iterations", "cpu worker-s", "gpu worker-s", "node-hours", "alone / min"),
        title=f"{len(found)} campaigns together",
        caption=(
            f"Wall time at least {wall / 60:.1f} min together, {sum(alone) / 60:.1f} min one after another, with "
            f"{workers['cpu']} cpu and {workers['gpu']} gpu workers like this one. Nothing was submitted."
        ),
    )
    for one, seconds in zip(found, alone, strict=True):
        table.add(one.campaign, str(one.iterations), *_sums([one], capacity), f"{seconds / 60:.1f}")
    table.add("all", str(sum(one.iterations for one in found)), *_sums(found, capacity), f"{sum(alone) / 60:.1f}")
    return table


def _sums(found: Sequence[Forecast], capacity: Mapping[str, Capacity]) -> list[str]:
    seconds = {label: sum(one.seconds(label) for one in found) for label in ("cpu", "gpu")}
    hours = sum(capacity[label].node_hours(value) for label, value in seconds.items())
    return [f"{seconds['cpu']:.0f}", f"{seconds['gpu']:.0f}", f"{hours:.3g}"]
