"""Figures of a run: drawn from arrays, written to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.types import FloatArray


@dataclass(frozen=True)
class WorkCurve:
    """Work of the spring along one pull."""

    label: str
    distance: FloatArray
    """(F,) Å between the pulled atoms, or the spring's target."""
    work: FloatArray
    """(F,) eV."""


def draw_work_curves(axes: Axes, curves: Sequence[WorkCurve], references: Sequence[WorkCurve]) -> None:
    """Draw pulls by iteration, from light to dark, and the references in black."""
    colours = mpl.colormaps["viridis"](np.linspace(0.92, 0.1, max(len(curves), 1)))
    for curve, colour in zip(curves, colours, strict=False):
        axes.plot(curve.distance, curve.work, color=colour, lw=1.3, label=curve.label)
    for reference in references:
        axes.plot(reference.distance, reference.work, color="black", lw=1.6, ls="--", label=reference.label)
    axes.set_xlabel("spring distance (Å)")
    axes.set_ylabel("work of the spring (eV)")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    top = max([float(np.nanmax(r.work)) for r in references if len(r.work)], default=0.0)
    highest = max([float(np.nanmax(c.work)) for c in curves if len(c.work)], default=1.0)
    axes.set_ylim(-0.1, 1.15 * min(highest, 2.0 * top) if top and highest > 2.0 * top else None)


def draw_barriers(axes: Axes, iterations: Sequence[int], barriers: FloatArray, reference: FloatArray | None) -> None:
    """Draw barriers by iteration, a dot a replica, and the mean reference with its range.

    Args:
        axes: Where to draw.
        iterations: (I,).
        barriers: (I, R) eV.
        reference: (R,) eV, or None.
    """
    for column in barriers.T:
        axes.plot(iterations, column, "o", ms=4, color="tab:blue", alpha=0.6)
    axes.plot(iterations, barriers.mean(axis=1), "-", color="tab:blue", label="pull (mean over replicas)")
    if reference is not None and np.isfinite(reference).any():
        axes.axhline(float(np.nanmean(reference)), color="black", ls="--", label="reference")
        axes.axhspan(float(np.nanmin(reference)), float(np.nanmax(reference)), color="black", alpha=0.08)
    axes.set_xlabel("iteration")
    axes.set_ylabel("barrier (eV)")
    axes.legend(fontsize=8, frameon=False)


def work_figure(
    path: Path,
    curves: Sequence[WorkCurve],
    references: Sequence[WorkCurve],
    iterations: Sequence[int],
    barriers: FloatArray,
    reference_barriers: FloatArray | None,
) -> None:
    """Write the figure of a campaign: work curves, and barriers by iteration."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    draw_work_curves(left, curves, references)
    draw_barriers(right, iterations, barriers, reference_barriers)
    figure.savefig(path, dpi=150)
