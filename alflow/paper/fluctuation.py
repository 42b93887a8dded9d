"""Fluctuation of barriers: of the potential from iteration to iteration, or of the single pull. Not in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from alflow.acquisition.stopping import Interval, confidence_interval
from alflow.campaign.plan import PullSpec, make_plan
from alflow.paper.result import Drawn, Row
from alflow.paper.runs import UNSEEN_START, Runs, file_name
from alflow.report import curves as summary
from alflow.report import figures
from alflow.runs.directory import RunDirectory
from alflow.types import FloatArray
from alflow.units import KCAL_PER_MOL_IN_EV

STARTS, QUICK_STARTS = 16, 2


def figure_fluctuation(runs: Runs) -> Drawn:
    """Random split beside inherited rows, with three members each."""
    return _figure(runs, "three members", {"random split": "paper/fig3", "inherited rows": "paper/fig5-3"})


def figure_members(runs: Runs) -> Drawn:
    """Five members beside seven, with inherited rows each."""
    return _figure(runs, "inherited rows", {"five members": "paper/fig5-5", "seven members": "paper/fig5-7"})


def _figure(runs: Runs, common: str, campaigns: Mapping[str, str]) -> Drawn:
    """Barrier errors of the later iterations of two campaigns: by the campaign's own pull, and over many pairs."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    rows = []
    for axes, (title, name) in zip(figure.subplots(1, 2, sharey=True), campaigns.items(), strict=True):
        run, wanted = runs.campaign(name), runs.settings(name).iterations
        later = run.records()[(wanted - 1) // 2 : wanted]
        single = np.array([np.nan if r.barrier_error_ev is None else r.barrier_error_ev.mean for r in later])
        paired = _paired_errors(runs, run, [record.iteration for record in later])
        intervals = [confidence_interval(errors) for errors in paired]
        at = [record.iteration for record in later]
        axes.axhspan(-KCAL_PER_MOL_IN_EV, KCAL_PER_MOL_IN_EV, color="tab:green", alpha=0.15, label="±1 kcal/mol")
        axes.plot(at, single, "x", color="tab:red", label="one pull, as the paper judges")
        means, widths = [each.mean for each in intervals], [each.half_width for each in intervals]
        axes.errorbar(at, means, widths, fmt="o", ms=4, capsize=3, label=f"{paired.shape[1]} pairs, mean and 95 %")
        for number, mean, errors in zip(at, means, paired, strict=True):
            if np.isnan(errors).any():
                left = np.isfinite(errors).sum()
                axes.annotate(f"{left} pairs", (number, mean), (5, 5), textcoords="offset points", fontsize=8)
        figures.iteration_axis(axes, at)
        axes.set_title(f"{title}, {common}", fontsize=10)
        axes.legend(**figures.LEGEND)
        rows += _rows(title, single, paired, intervals)
    figure.axes[0].set_ylabel("barrier error (eV)")
    words = (
        f"The paper judges each iteration by one pull. Here the same best members are pulled from "
        f"{QUICK_STARTS if runs.quick else STARTS} starts that no campaign has seen, relaxed with DFTB3; each pull has "
        "a DFTB3 pull from the same start with the same velocities beside it. Pairs of which a pull was cut short are "
        "left out; scatter, expectation and probability are of the iterations without such pairs."
    )
    return Drawn(f"{common}: one pull an iteration, and many pairs", figure, tuple(rows), words)


def _rows(title: str, single: FloatArray, paired: FloatArray, intervals: Sequence[Interval]) -> list[Row]:
    nan = float("nan")
    whole = paired[np.isfinite(paired).all(axis=1)]
    moved, (expected, probability) = nan, (nan, nan)
    if len(whole) > 1:
        moved, (expected, probability) = float(whole.mean(axis=1).std(ddof=1)), equal_means(whole)
    known = single[np.isfinite(single)]
    largest = max(abs(interval.mean) for interval in intervals)
    return [
        Row(
            f"{title}: scatter of the one pull's error", "eV", None, float(known.std(ddof=1)) if len(known) > 1 else nan
        ),
        Row(f"{title}: scatter of the mean over the starts", "eV", None, moved),
        Row(f"{title}: the same, expected of equal potentials", "eV", None, expected),
        Row(f"{title}: probability of that much or more then", "1", None, probability),
        Row(f"{title}: largest mean error over the starts", "eV", None, largest),
        Row(f"{title}: widest 95 % interval, ±", "eV", None, max(interval.half_width for interval in intervals)),
        Row(f"{title}: pairs of which a pull was cut short", "1", None, float(np.isnan(paired).sum())),
    ]


def equal_means(errors: FloatArray) -> tuple[float, float]:
    """Compare the scatter of the iterations' means with what single pulls explain.

    Two-way analysis of variance without repetition: what a start shares in all iterations, its reference pull above
    all, is taken out; what is left of a single error, s², scatters the means by s / √n. Assumes independent,
    near-normal residuals.

    Args:
        errors: (I, n) of I ≥ 2 iterations over the same n ≥ 2 starts, eV.

    Returns:
        s / √n in eV, and the probability (F distribution) that equal potentials scatter as much as these or more.
    """
    iterations, starts = errors.shape
    means = errors.mean(axis=1)
    residual = errors - errors.mean(axis=0) - means[:, None] + errors.mean()
    freedom = (iterations - 1) * (starts - 1)
    expected = float(np.sqrt((residual**2).sum() / freedom / starts))
    ratio = float(means.var(ddof=1)) / expected**2
    return expected, float(stats.f.sf(ratio, iterations - 1, freedom))


def _paired_errors(runs: Runs, run: RunDirectory, iterations: Sequence[int]) -> FloatArray:
    """Return (iterations, starts) barrier errors of each iteration's driver, eV; not-a-number for a pull cut short."""
    settings = run.settings()
    pull = settings.sampling.pull.model_copy(update={"record_stride": 10, "segment_steps": 500})
    molecule = make_plan(settings).molecules[0]
    count = QUICK_STARTS if runs.quick else STARTS
    specs = [PullSpec(index, molecule, UNSEEN_START + index, pull) for index in range(count)]
    reference = f"fluctuation-{molecule.name}-reference"
    runs.engine_pulls(reference, settings, specs)
    found = []
    for iteration in iterations:
        target = f"fluctuation-{run.path.name}-{iteration:03d}"
        runs.ensemble_pulls(target, settings, specs, run.iteration(iteration) / "ensemble.pt", reference)
        found.append([_barrier(runs, target, spec) - _barrier(runs, reference, spec) for spec in specs])
    return np.array(found)


def _barrier(runs: Runs, folder: str, spec: PullSpec) -> float:
    return summary.work_curve(runs.folder / folder / file_name(spec), "").barrier
