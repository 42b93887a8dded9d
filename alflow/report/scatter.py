"""Predicted against reference energies and forces, in one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.potentials.evaluation import Predictions
from alflow.report.saving import save_figure
from alflow.types import FloatArray

MOST_POINTS = 20_000
"""More points than this are thinned out evenly."""


def scatter_figure(predictions: Predictions, path: Path | None = None, title: str = "") -> Figure:
    """Draw energies (less the mean reference) and force components; write the figure if a path is given."""
    errors = predictions.errors()
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    offset = predictions.reference_energies.mean()
    _scatter(left, predictions.reference_energies - offset, predictions.energies - offset, "Energy (eV)")
    left.set_title(f"MAE {1e3 * errors.energy_mae_ev:.1f} meV, RMSE {1e3 * errors.energy_rmse_ev:.1f} meV")
    _scatter(right, predictions.reference_forces.ravel(), predictions.forces.ravel(), "Force component (eV/Å)")
    right.set_title(
        f"MAE {errors.force_mae_ev_per_angstrom:.4f} eV/Å, RMSE {errors.force_rmse_ev_per_angstrom:.4f} eV/Å"
    )
    if title:
        figure.suptitle(title)
    if path is not None:
        save_figure(figure, path)
    return figure


def _scatter(axes: Axes, reference: FloatArray, predicted: FloatArray, name: str) -> None:
    step = -(-len(reference) // MOST_POINTS)
    axes.plot(reference[::step], predicted[::step], ".", markersize=3, alpha=0.5, rasterized=True)
    ends = [float(np.nanmin(reference)), float(np.nanmax(reference))]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.set_xlabel(f"{name}, reference")
    axes.set_ylabel(f"{name}, predicted")
