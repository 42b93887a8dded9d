"""Figures of a run: drawn from arrays on axes that are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from alflow.report.saving import save_figure
from alflow.structures import bonds
from alflow.types import FloatArray, IntArray
from alflow.units import KCAL_PER_MOL_IN_EV

SPRING, WORK = "spring distance (Å)", "work of the spring (eV)"
LEGEND = {"fontsize": 8, "frameon": False}
POINTS = 500
"""Points that a curve is drawn with at most."""
MOST_NAMED = 24
"""Curves that a legend has room for."""


@dataclass(frozen=True)
class WorkCurve:
    """Work of the spring along one pull."""

    label: str
    distance: FloatArray
    """(F,) Å between the pulled atoms, or the spring's target; of a bias, its centre or the variable."""
    work: FloatArray
    """(F,) eV."""
    stopped: str = ""
    """Why the pull was cut short, if it was."""
    along: str = SPRING
    """What the distance is, with its unit."""
    what: str = WORK
    """What the work is, with its unit."""

    @property
    def barrier(self) -> float:
        """Work at the end, eV; not-a-number where the pull was cut short."""
        return float("nan") if self.stopped else float(self.work[-1])


@dataclass(frozen=True)
class SpreadCurve:
    """Spread of the ensemble along one pull, and what was selected from it."""

    label: str
    distance: FloatArray
    """(F,) Å, the spring's target."""
    spread: FloatArray
    """(F,) eV."""
    threshold: float
    """eV; NaN where none applies to the energy."""
    chosen_distance: FloatArray
    """(S,) Å."""
    chosen_spread: FloatArray
    """(S,) eV."""
    along: str = SPRING
    """What the distance is, with its unit."""


def _first(words: Iterable[str], otherwise: str) -> str:
    return next(iter(words), otherwise)


def thinned(array: FloatArray) -> FloatArray:
    """Return at most about `POINTS` values of a curve, the last one included."""
    stride = max(1, len(array) // POINTS)
    rows = np.arange(0, len(array), stride)
    return array[np.append(rows, len(array) - 1)] if len(array) else array


def shades(count: int) -> FloatArray:
    """Return colours from light to dark: (count, 4)."""
    return np.asarray(mpl.colormaps["viridis"](np.linspace(0.92, 0.1, max(count, 1))))


def draw_work_curves(axes: Axes, curves: Sequence[WorkCurve], references: Sequence[WorkCurve]) -> None:
    """Draw pulls from light to dark, and the references in black; more than `MOST_NAMED` are counted, not named."""
    crowd = max(len(curves), len(references)) > MOST_NAMED
    width = 0.6 if crowd else 1.4
    for curve, colour in zip(curves, shades(len(curves)), strict=False):
        axes.plot(thinned(curve.distance), thinned(curve.work), color=colour, lw=width, label=curve.label)
    for reference in references:
        distance, work = thinned(reference.distance), thinned(reference.work)
        axes.plot(distance, work, color="black", lw=width, ls="--", zorder=1.5 if crowd else 2.0, label=reference.label)
    axes.set_xlabel(_first((curve.along for curve in (*curves, *references)), SPRING))
    axes.set_ylabel(_first((curve.what for curve in (*curves, *references)), WORK))
    if crowd:
        words = f"{len(curves)} pulls, {len(references)} references"
        axes.legend(handles=[], title=words, title_fontsize=8, loc="upper left", **LEGEND)
    else:
        axes.legend(loc="upper left", ncols=1 + len(curves) // 9, **LEGEND)
    top = max([float(np.nanmax(r.work)) for r in references if len(r.work)], default=0.0)
    highest = max([float(np.nanmax(c.work)) for c in curves if len(c.work)], default=1.0)
    if top and highest > 2.0 * top:
        axes.set_ylim(-0.1, 2.3 * top)


def draw_barriers(
    axes: Axes,
    iterations: Sequence[int],
    barriers: FloatArray,
    reference: FloatArray | None,
    systems: Sequence[str] = (),
) -> None:
    """Draw barriers by iteration, a dot a replica, and the mean reference; for one system with its range.

    Args:
        axes: Where to draw.
        iterations: (I,).
        barriers: (I, S · R) eV, those of a system side by side; NaN where there is none.
        reference: (S · R,) eV, or None.
        systems: (S,) names of molecules and rates, whose barriers are not averaged; may be left out for one.
    """
    alone = len(systems) < 2
    names = ["pull (mean over replicas)"] if alone else systems
    colours = ["tab:blue"] if alone else shades(len(names))
    columns = np.array_split(np.arange(barriers.shape[1]), len(names))
    for name, colour, mine in zip(names, colours, columns, strict=True):
        for column in barriers[:, mine].T:
            axes.plot(iterations, column, "o", ms=4, color=colour, alpha=0.6)
        axes.plot(iterations, _mean_of_known(barriers[:, mine]), "-", color=colour, label=name)
        if reference is not None and np.isfinite(reference[mine]).any():
            mean, label = float(np.nanmean(reference[mine])), "reference" if mine[0] == 0 else None
            axes.axhline(mean, color="black" if alone else colour, ls="--", label=label)
            if alone:
                axes.axhspan(float(np.nanmin(reference)), float(np.nanmax(reference)), color="black", alpha=0.08)
    iteration_axis(axes, iterations)
    axes.set_ylabel("barrier (eV)")
    axes.legend(**LEGEND)


def _mean_of_known(values: FloatArray) -> FloatArray:
    """Return (I,) the mean of the finite values of each row of (I, R); NaN where there is none."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    means: FloatArray = np.where(known, values, 0.0).sum(axis=1) / np.where(count, count, np.nan)
    return means


def draw_barrier_errors(
    axes: Axes, iterations: Sequence[int], errors: FloatArray, mean: FloatArray, half_width: FloatArray
) -> None:
    """Draw paired barrier errors by iteration with 95 % intervals, and the band of ±1 kcal/mol.

    Args:
        axes: Where to draw.
        iterations: (I,).
        errors: (I, R) eV, barrier minus reference; NaN where there is none.
        mean: (I,) eV.
        half_width: (I,) eV of the interval; NaN where there is none.
    """
    axes.axhspan(-KCAL_PER_MOL_IN_EV, KCAL_PER_MOL_IN_EV, color="tab:green", alpha=0.2, label="±1 kcal/mol")
    for column in errors.T:
        axes.plot(iterations, column, "o", ms=3, color="tab:blue", alpha=0.5)
    known = np.where(np.isfinite(half_width), half_width, 0.0)
    axes.errorbar(iterations, mean, yerr=known, color="tab:blue", capsize=3, lw=1.3, label="mean, 95 % interval")
    axes.set_yscale("symlog", linthresh=0.1)
    iteration_axis(axes, iterations)
    axes.set_ylabel("barrier error (eV)")
    axes.legend(**LEGEND)


def draw_errors(axes: Axes, iterations: Sequence[int], lines: Sequence[tuple[str, FloatArray, str]], unit: str) -> None:
    """Draw errors by iteration on a logarithmic axis; lines are (label, (I,) or (I, M) values, colour)."""
    for label, values, colour in lines:
        columns = values.reshape(len(iterations), -1)
        if columns.shape[1] > 1:
            axes.fill_between(iterations, columns.min(axis=1), columns.max(axis=1), color=colour, alpha=0.2, lw=0)
        axes.plot(iterations, columns.mean(axis=1), "o-", ms=3.5, color=colour, label=label)
    axes.set_yscale("log")
    iteration_axis(axes, iterations)
    axes.set_ylabel(unit)
    axes.legend(**LEGEND)


def draw_spreads(axes: Axes, curves: Sequence[SpreadCurve]) -> None:
    """Draw the spread along pulls, their thresholds dashed, the chosen frames as dots."""
    for curve, colour in zip(curves, shades(len(curves)), strict=False):
        axes.plot(thinned(curve.distance), thinned(curve.spread), color=colour, lw=1.0, label=curve.label)
        if np.isfinite(curve.threshold):
            axes.axhline(curve.threshold, color=colour, ls="--", lw=0.9)
        axes.plot(curve.chosen_distance, curve.chosen_spread, "o", ms=4, mec="black", mew=0.4, color=colour)
    if any((curve.spread > 0).any() for curve in curves):
        axes.set_yscale("log")
    axes.set_xlabel(_first((curve.along for curve in curves), SPRING))
    axes.set_ylabel("spread of the members (eV)")
    axes.legend(**LEGEND)


def draw_stage_seconds(axes: Axes, iterations: Sequence[int], stages: Sequence[tuple[str, FloatArray]]) -> None:
    """Draw stacked bars of wall time by iteration; stages are (label, (I,) s)."""
    base = np.zeros(len(iterations))
    for label, seconds in stages:
        axes.bar(iterations, seconds, bottom=base, width=0.7, label=label)
        base = base + seconds
    iteration_axis(axes, iterations)
    axes.set_ylabel("wall time (s)")
    axes.legend(**LEGEND)


def draw_workers(axes: Axes, edges: FloatArray, busy: FloatArray, held: FloatArray, label: str) -> None:
    """Draw busy workers as an area under the line of those held, over B bins of time with edges (B + 1,) in s."""
    axes.stairs(busy, edges, fill=True, color="tab:blue", alpha=0.5, label="busy")
    axes.stairs(held, edges, color="black", lw=1.2, label="held", baseline=None)
    axes.set_ylim(0, max(1.0, float(held.max(initial=0.0)) * 1.15))
    axes.set_xlabel("time since the start (s)")
    axes.set_ylabel(f"workers, {label}")
    axes.legend(loc="upper right", **LEGEND)


def draw_molecule(axes: Axes, numbers: IntArray, positions: FloatArray, steered: tuple[int, ...], title: str) -> None:
    """Draw a molecule with the pulled atoms along the horizontal axis: (A,) atomic numbers, (A, 3) Å."""
    flat = _laid_out(positions, steered)
    lines = [(flat[left, :2], flat[right, :2]) for left, right in bonds(numbers, positions)]
    axes.add_collection(LineCollection(lines, colors="0.35", linewidths=2.2, zorder=1))
    for atom in np.argsort(flat[:, 2]):
        colour = jmol_colors[numbers[atom]]
        radius = 0.55 * covalent_radii[numbers[atom]]
        axes.add_patch(Circle(flat[atom, :2].tolist(), radius, fc=colour, ec="0.2", lw=0.6, zorder=2))
    axes.set_xlim(flat[:, 0].min() - 0.8, flat[:, 0].max() + 0.8)
    axes.set_ylim(-2.4, 2.4)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8)


def _laid_out(positions: FloatArray, steered: tuple[int, ...]) -> FloatArray:
    """Turn a molecule: the first and the last steered atom along x, the rest as wide as it can be along y."""
    ends = [steered[0], steered[-1]] if len(steered) > 1 else [0, len(positions) - 1]
    centred = positions - positions[ends].mean(axis=0)
    first = centred[ends[1]] - centred[ends[0]]
    first = first / np.linalg.norm(first)
    across = centred - np.outer(centred @ first, first)
    second = np.linalg.svd(across, full_matrices=False)[2][0]
    second = second - (second @ first) * first
    second = second / np.linalg.norm(second)
    return np.asarray(centred @ np.stack([first, second, np.cross(first, second)]).T)


def iteration_axis(axes: Axes, iterations: Sequence[int]) -> None:
    """Name the horizontal axis and give it whole numbers."""
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if iterations:
        axes.set_xlim(min(iterations) - 0.5, max(iterations) + 0.5)


def work_figure(
    path: Path,
    curves: Sequence[WorkCurve],
    references: Sequence[WorkCurve],
    iterations: Sequence[int],
    barriers: FloatArray,
    reference_barriers: FloatArray | None,
    systems: Sequence[str],
) -> None:
    """Write the figure of a campaign: work curves, and barriers by iteration."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    draw_work_curves(left, curves, references)
    draw_barriers(right, iterations, barriers, reference_barriers, systems)
    save_figure(figure, path)
