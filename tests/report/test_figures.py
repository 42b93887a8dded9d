"""Figures drawn from arrays."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from alflow.report.figures import MOST_NAMED, WorkCurve, draw_work_curves


def test_a_pull_cut_short_has_no_barrier():
    distance = np.linspace(6.4, 9.6, 5)
    assert WorkCurve("whole", distance, distance).barrier == 9.6
    assert np.isnan(WorkCurve("cut", distance, distance, "Each atom must have another within 10 Å").barrier)


@pytest.mark.parametrize("count", [3, MOST_NAMED, MOST_NAMED + 1, 256])
def test_work_curves_have_room_beside_their_legend(count):
    distance = np.linspace(6.4, 9.6, 50)
    curves = [WorkCurve(f"C6 replica {i} at 1 Å/ps", distance, distance**2 + i) for i in range(count)]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes in figure.subplots(1, 2):
        draw_work_curves(axes, curves, curves[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="svg")
    legend = figure.axes[1].get_legend()
    named = len(legend.get_texts())
    assert named == (count + 2 if count <= MOST_NAMED else 0)
    if not named:
        assert legend.get_title().get_text() == f"{count} pulls, 2 references"
