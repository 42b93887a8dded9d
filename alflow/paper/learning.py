"""Figures made from campaigns: 3, 5, 6, S1, S2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.paper import numbers as paper
from alflow.paper.members import Unseen, best_member, unseen
from alflow.paper.result import PAPER_COLOUR, Drawn, Row, scatter
from alflow.paper.runs import Runs
from alflow.report import curves as summary
from alflow.report import figures
from alflow.runs.directory import RunDirectory
from alflow.runs.records import IterationRecord
from alflow.units import KCAL_PER_MOL_IN_EV

PANEL = {"loc": "left", "fontsize": 10}
ONE_PULL = (
    "One pull an iteration, compared with one DFTB3 pull of other relaxed coordinates: the network relaxes the "
    "molecule itself, as in the paper. Random numbers (velocities, rows, weights, noise) are not the paper's."
)


def figure_3(runs: Runs) -> Drawn:
    """Work curves, barrier errors and energy errors of the random split with three members."""
    run = runs.campaign("paper/fig3")
    records = run.records()[: runs.settings("paper/fig3").iterations]
    errors = barrier_errors(records)
    found = [unseen(run, record.iteration) for record in records]
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    (a, b), (c, d) = figure.subplots(2, 2)
    figures.draw_work_curves(a, summary.work_curves(run)[: len(records)], summary.reference_curves(run))
    a.axhline(paper.DFTB_BARRIER_EV, color=PAPER_COLOUR, lw=0.9)
    _error_bars(b, records, errors)
    b.plot(records[-1].iteration, paper.FIG3_LAST_ERROR_EV, "*", ms=12, color=PAPER_COLOUR, label="paper, last")
    b.legend(loc="upper right", ncols=3, **figures.LEGEND)
    _training_errors(c, run, records)
    mae = np.array([each.mae for each in found])
    figures.draw_errors(d, _numbers(records), [("best member, reference pull", mae, "tab:red")], "energy MAE (eV)")
    d.axhline(paper.FIG3_UNSEEN_MAE_EV, color=PAPER_COLOUR, ls="--", lw=1.0, label="paper, about")
    d.legend(**figures.LEGEND)
    for axes, letter in ((a, "a"), (b, "b"), (c, "c"), (d, "d")):
        axes.set_title(letter, **PANEL)
    rows = (
        Row("barrier of the reference", "eV", paper.DFTB_BARRIER_EV, _reference(records)),
        Row("barrier error, last iteration", "eV", paper.FIG3_LAST_ERROR_EV, errors[-1]),
        Row("smallest barrier error", "eV", None, min(_known(errors))),
        Row("labels learnt from in the last iteration", "1", paper.FIG3_LABELS, float(records[-1].labels)),
        Row("unseen energy MAE, last iteration", "eV", None, float(mae[-1])),
        Row("scatter of the error in the second half", "eV", None, scatter(signed_errors(records))),
    )
    below = [record.iteration for record, error in zip(records, errors, strict=True) if error < KCAL_PER_MOL_IN_EV]
    words = f"Iterations below 1 kcal/mol: {', '.join(map(str, below)) or 'none'}. {ONE_PULL}"
    return Drawn("random split, three members", figure, rows, words)


def figure_s2(runs: Runs) -> Drawn:
    """The campaign of Fig. 3 continued to twenty iterations."""
    settings = runs.settings("paper/s2")
    iterations = 2 * settings.iterations if runs.quick else settings.iterations
    run = runs.campaign("paper/fig3", (f"iterations={iterations}",))
    records = run.records()[:iterations]
    errors = barrier_errors(records)
    figure = Figure(figsize=(10, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    later = len(records) // 2 - 1
    figures.draw_work_curves(left, summary.work_curves(run)[later : len(records)], summary.reference_curves(run))
    _error_bars(right, records, errors)
    later_errors = errors[later:]
    rows = (
        Row("largest barrier error in the second half", "eV", None, max(_known(later_errors))),
        Row("smallest barrier error in the second half", "eV", None, min(_known(later_errors))),
        Row("scatter of the error in the second half", "eV", None, scatter(signed_errors(records))),
    )
    held = "held" if max(_known(later_errors)) > KCAL_PER_MOL_IN_EV else "did not hold"
    words = (
        f"The paper's claim that the error does not settle below 1 kcal/mol with the random split {held}. {ONE_PULL}"
    )
    return Drawn("random split, three members, continued", figure, rows, words)


def figure_5(runs: Runs) -> Drawn:
    """Barrier errors: random split; inherited rows with three, five and seven members."""
    panels = (("random, 3 members", "fig3"), *((f"inherited, {m} members", f"fig5-{m}") for m in (3, 5, 7)))
    figure = Figure(figsize=(10, 7.0), layout="constrained")
    rows, spread = [], []
    for axes, letter, (title, name) in zip(figure.subplots(2, 2).ravel(), "abcd", panels, strict=True):
        run, wanted = runs.campaign(f"paper/{name}"), runs.settings(f"paper/{name}").iterations
        records = run.records()[:wanted]
        errors = barrier_errors(records)
        _error_bars(axes, records, errors)
        axes.set_title(f"{letter}  {title}", **PANEL)
        marked = paper.INHERITED_THREE_ERROR_EV if name == "fig5-3" else None
        if marked is not None:
            axes.axhline(marked, color=PAPER_COLOUR, ls="--", lw=1.0, label="paper, converged")
            axes.legend(loc="upper right", ncols=3, **figures.LEGEND)
        later = _known(errors[len(errors) // 2 :])
        rows.append(Row(f"{title}: mean error in the second half", "eV", marked, sum(later) / len(later)))
        rows.append(
            Row(f"{title}: scatter of the error in the second half", "eV", None, scatter(signed_errors(records)))
        )
        spread.append(scatter(signed_errors(records)))
    held = "held" if spread[3] < spread[0] else "did not hold"
    words = (
        f"That seven members with inherited rows fluctuate less than three with random ones {held}: "
        f"{spread[3]:.3f} against {spread[0]:.3f} eV. The paper claims 'very high accuracy' for seven "
        f"members, without a number. {ONE_PULL}"
    )
    return Drawn("barrier error by split and number of members", figure, tuple(rows), words)


def figure_6(runs: Runs) -> Drawn:
    """Barriers, and energies of unseen frames against the label engine's: random with three, inherited with seven."""
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    rows = []
    axes = figure.subplots(2, 2)
    for line, (title, name) in enumerate((("random, 3 members", "fig3"), ("inherited, 7 members", "fig5-7"))):
        run, wanted = runs.campaign(f"paper/{name}"), runs.settings(f"paper/{name}").iterations
        records = run.records()[:wanted]
        left, right = axes[line]
        barriers = np.array([record.barrier_ev.values for record in records])
        reference = records[-1].reference_barrier_ev
        values = None if reference is None else np.array(reference.values)
        figures.draw_barriers(left, _numbers(records), barriers, values)
        left.axhline(paper.DFTB_BARRIER_EV, color=PAPER_COLOUR, lw=0.9)
        left.set_title(f"{'ab'[line]}  {title}", **PANEL)
        shown = sorted({0, min(1, len(records) - 1), len(records) - 1})
        found = [unseen(run, records[place].iteration) for place in shown]
        _scatter(right, [f"iteration {place}" for place in shown], found)
        for place, each in zip(shown, found, strict=True):
            rows.append(Row(f"{title}, iteration {place}: unseen energy MAE", "eV", None, each.mae))
    first, other = (next(row for row in rows if row.quantity.startswith(word)) for word in ("random", "inherited"))
    held = "held" if first.ours < other.ours else "did not hold"
    words = (
        f"That the first random network describes the unseen data better than the first one of seven {held}. Both "
        f"learn from the same first data here, so this is the luck of weights and rows. {ONE_PULL}"
    )
    return Drawn("barriers and unseen energies", figure, tuple(rows), words)


def figure_s1(runs: Runs) -> Drawn:
    """Spread of the members along the pull, by iteration."""
    run = runs.campaign("paper/fig3")
    records = run.records()[: runs.settings("paper/fig3").iterations]
    curves = [summary.spread_curve(run, record.iteration, record.threshold[0]) for record in records]
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    figures.draw_spreads(left, curves)
    threshold = np.array([record.threshold[0] for record in records])
    largest = np.array([record.largest_spread_ev[0] for record in records])
    lines = [("threshold", threshold, "tab:blue"), ("largest on the path", largest, "tab:red")]
    figures.draw_errors(right, _numbers(records), lines, "spread (eV)")
    rows = (
        Row("largest threshold over smallest", "1", None, float(threshold.max() / threshold.min())),
        Row("largest spread, first iteration", "eV", None, float(largest[0])),
        Row("largest spread, last iteration", "eV", None, float(largest[-1])),
    )
    words = (
        "The paper's figure shows that the spread of one region changes from iteration to iteration, which is why its "
        "threshold is relative; its text gives no numbers. Ours moves by the factor in the table."
    )
    return Drawn("spread of the members by iteration", figure, rows, words)


def barrier_errors(records: Sequence[IterationRecord]) -> list[float]:
    """Return the absolute barrier error of each iteration as `signed_errors` does, eV."""
    return [abs(error) for error in signed_errors(records)]


def signed_errors(records: Sequence[IterationRecord]) -> list[float]:
    """Return the barrier error of each iteration, the mean over its pulls, eV; not-a-number if they were cut short."""
    return [record.barrier_error_ev.mean for record in records if record.barrier_error_ev is not None]


def _known(errors: Sequence[float]) -> list[float]:
    """Return the errors of pulls that were not cut short; a single not-a-number if there is none."""
    return [error for error in errors if np.isfinite(error)] or [float("nan")]


def _error_bars(axes: Axes, records: Sequence[IterationRecord], errors: Sequence[float]) -> None:
    axes.bar(_numbers(records), errors, color="tab:blue", width=0.7, label="ours")
    axes.axhline(KCAL_PER_MOL_IN_EV, color="tab:green", lw=1.0, label="1 kcal/mol")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 40.0)
    for number, error in zip(_numbers(records), errors, strict=True):
        if np.isnan(error):
            axes.text(number, 1.3e-3, "cut short", rotation=90, ha="center", va="bottom", fontsize=8)
    figures.iteration_axis(axes, _numbers(records))
    axes.set_ylabel("|barrier error| (eV)")
    axes.legend(loc="upper right", ncols=3, **figures.LEGEND)


def _training_errors(axes: Axes, run: RunDirectory, records: Sequence[IterationRecord]) -> None:
    best = [best_member(run.iteration(record.iteration) / "ensemble.pt")[1] for record in records]
    train = np.array([member.train_errors.energy_mae_ev for member in best])
    valid = np.array([member.valid_errors.energy_mae_ev for member in best])
    lines = [("training rows, best member", train, "tab:blue"), ("validation rows", valid, "tab:purple")]
    figures.draw_errors(axes, _numbers(records), lines, "energy MAE (eV)")


def _scatter(axes: Axes, names: Sequence[str], found: Sequence[Unseen]) -> None:
    for name, each, colour in zip(names, found, figures.shades(len(found)), strict=True):
        axes.plot(each.labelled, each.predicted, ".", ms=2.5, color=colour, label=f"{name}: MAE {each.mae:.3f} eV")
    ends = [min(each.labelled.min() for each in found), max(each.labelled.max() for each in found)]
    axes.plot(ends, ends, color="black", lw=0.8)
    axes.set_xlabel("DFTB energy, unseen pull (eV)")
    axes.set_ylabel("network (eV)")
    axes.legend(markerscale=4, **figures.LEGEND)


def _numbers(records: Sequence[IterationRecord]) -> list[int]:
    return [record.iteration for record in records]


def _reference(records: Sequence[IterationRecord]) -> float:
    reference = records[-1].reference_barrier_ev
    return float("nan") if reference is None else reference.mean
