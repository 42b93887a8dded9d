"""The plan of a campaign and its cost, as commands print it."""

from __future__ import annotations

from collections.abc import Mapping

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
