"""Section of the report on how far the stated uncertainty is to be trusted: the audits."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.acquisition.audit import AuditRow, Calibration, calibrate, columns_of, expected_errors
from alflow.report import figures, page
from alflow.report.rundata import RunData
from alflow.runs.audits import load_audits
from alflow.runs.records import AuditRecord, IterationRecord

WINDOWS = 8
"""Of the progress, over which errors are drawn."""
NONE = "-"


def audits(data: RunData) -> str:
    """Draw errors of audited frames against what was expected of them, and along the way; list them by iteration."""
    records = [(record, record.audit) for record in data.records if record.audit is not None]
    if not records:
        return page.paragraph("No frame was audited (selection.audit).", "soft")
    found = load_audits(data.run, len(data.records))
    checked = [(calibrate(found[:number]), rows) for number, rows in enumerate(found)]
    judged = [(model, rows) for model, rows in checked if model is not None and rows]

    def draw(figure: Figure) -> None:
        left, middle, right = figure.subplots(1, 3)
        draw_reliability(left, judged, "energy_error", "eV")
        draw_reliability(middle, judged, "force_error", "eV/Å")
        draw_along_the_way(right, found[records[-1][0].iteration])

    caption = (
        "Frames of each iteration's own pulls, drawn at random over their progress and predicted before they were "
        "learnt from. Left and middle: error of the energy, and of the force on the worst atom, against the standard "
        "deviation that the audits before made one expect; darker: later; line: equal; dashed: the interval that is "
        "to hold 95 %. Right: root mean square errors of the last audit by windows of progress, with the number of "
        "frames; the bars are 95 % intervals if errors are normal."
    )
    headings = (
        "iteration",
        "audited",
        "energy RMSE (meV)",
        "largest force RMSE (meV/Å)",
        "energy: rank, ratio, in 68 %, in 95 %",
        "largest force: the same",
    )
    return page.figure(draw, caption, (11.5, 3.6)) + page.table(headings, [_row(*pair) for pair in records])


def draw_reliability(axes: Axes, judged: list[tuple[Calibration, tuple[AuditRow, ...]]], name: str, unit: str) -> None:
    """Draw absolute errors against expected ones; `name` is a field of `AuditRow`."""
    place = 0 if name == "energy_error" else 1
    factor = float("nan")
    smallest, largest = np.inf, 0.0
    for (model, rows), colour in zip(judged, figures.shades(len(judged)), strict=False):
        expected, errors = expected_errors(model, rows)[place], np.abs(columns_of(rows)[name])
        errors = np.maximum(errors, 1e-6)
        axes.plot(expected, errors, "o", ms=3, color=colour, alpha=0.8)
        smallest, largest = min(smallest, float(expected.min())), max(largest, float(expected.max()))
        factor = (model.energy, model.force)[place].factor_95
    if judged:
        line = np.array([smallest, largest])
        axes.plot(line, line, color="black", lw=0.9)
        if np.isfinite(factor):
            axes.plot(line, factor * line, color="black", lw=0.9, ls="--")
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel(f"expected ({unit})")
    axes.set_ylabel(f"{'energy' if place == 0 else 'largest force'}: error ({unit})")


def draw_along_the_way(axes: Axes, rows: tuple[AuditRow, ...]) -> None:
    """Draw root mean square errors by windows of progress."""
    columns = columns_of(rows)
    edges = np.linspace(0.0, max(float(columns["progress"].max()), 1e-6), WINDOWS + 1)
    window = np.clip(np.searchsorted(edges, columns["progress"], side="right") - 1, 0, WINDOWS - 1)
    kinds = (("energy_error", "energy (eV)", "tab:blue"), ("force_error", "largest force (eV/Å)", "tab:red"))
    for shift, (name, label, colour) in zip((-0.02, 0.02), kinds, strict=True):
        parts = [columns[name][window == number] for number in np.unique(window)]
        places = (edges[:-1] + edges[1:])[np.unique(window)] / 2.0 + shift
        values = np.array([max(float(np.sqrt(np.mean(part**2))), 1e-6) for part in parts])
        factors = np.array([_interval(len(part)) for part in parts])
        span = np.abs(factors.T - 1.0) * values
        if name == "energy_error":
            for x, y, part in zip(places, values, parts, strict=True):
                axes.annotate(str(len(part)), (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
        axes.errorbar(places, values, yerr=span, fmt="o-", ms=3.5, lw=1.0, color=colour, capsize=2, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("progress (Å)")
    axes.set_ylabel("root mean square error")
    axes.legend(**figures.LEGEND)


def _interval(n: int) -> tuple[float, float]:
    """Return by what to multiply a root mean square of n normal errors for its 95 % interval (chi-squared)."""
    from scipy import stats  # noqa: PLC0415 - it takes a while

    low, high = stats.chi2.ppf(0.025, n), stats.chi2.ppf(0.975, n)
    return float(np.sqrt(n / high)), float(np.sqrt(n / low))


def _row(record: IterationRecord, audit: AuditRecord) -> tuple[str, ...]:
    checks = []
    for check in (audit.energy_checked, audit.force_checked):
        if check is None:
            checks.append(NONE)
            continue
        rank = NONE if check.rank is None else f"{check.rank:.2f}"
        checks.append(f"{rank}, {check.ratio:.2g}, {check.covered_68:.0%}, {check.covered_95:.0%}")
    energy, force = f"{1e3 * audit.energy_rmse_ev:.3g}", f"{1e3 * audit.force_rmse_ev_per_angstrom:.3g}"
    return str(record.iteration), str(audit.frames), energy, force, *checks
