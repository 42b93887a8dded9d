"""Sections of the report about the science: barrier, work, molecule, errors, spread, selection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from alflow.report import curves as summary
from alflow.report import figures, page
from alflow.report.breaking import bonds_formed, first_break, fragments, telling_rows
from alflow.report.rundata import RunData
from alflow.runs.records import IterationRecord, estimate_text
from alflow.types import FloatArray, IntArray
from alflow.units import KCAL_PER_MOL_IN_EV

SHOWN_ITERATIONS = 3
"""Spread is drawn for so many iterations: the first, one between, the last."""
LISTED_FRAMES = 60
LISTED_THRESHOLDS = 4
NONE = "-"
THRESHOLDS = {
    "first-steps": "mean + {sigmas:g} standard deviations of the spread over the first {first_steps} steps of the pull",
    "validation": "mean + {sigmas:g} standard deviations of the spread over the validation frames",
    "lower": (
        "mean + {sigmas:g} standard deviations of the spread, over the first {first_steps} steps of the pull or over "
        "the validation frames, whichever is lower"
    ),
    "conformal": (
        "calibrated on validation frames: of the frames trusted, at most {miss_rate:.0%} are wrong by more than "
        "{tolerance_ev:.3g} eV (or eV/Å)"
    ),
    "calibrated": (
        "the error that the audits make one expect, {tolerance_ev:.3g} eV for the energy or "
        "{tolerance_ev_per_angstrom:.3g} eV/Å for the force on the worst atom"
    ),
}
PAIRS = {
    "label-engine": "that starts from the same positions and velocities",
    "base": "that starts from the same positions and velocities, of the base",
    "potential": "whose first velocities are the same; each of the two relaxes the molecule itself",
}
ORDERS = {
    "first": "the first in time",
    "spread": "spread evenly over the steps of the pull",
    "progress": "spread evenly over the progress of the pull (growth of distance and of the bond that grows most)",
    "most-uncertain": "those of the largest spread",
    "random": "of all pulls together, at random over their progress",
    "diverse": "of all pulls together, in each window of the progress, those that differ most",
}


def overview(data: RunData) -> str:
    """Return the numbers that tell most."""
    shown = [(f"{len(data.records)} / {data.settings.iterations}", "iterations")]
    if data.records:
        last = data.last
        shown.append((f"{last.labels + last.new_labels}", "labels to learn from"))
        if last.labels_spent is not None and data.settings.labels.budget is not None:
            shown.append((f"{last.labels_spent} / {data.settings.labels.budget}", "labels of the budget spent"))
        if not math.isnan(last.barrier_ev.mean):
            shown.append((f"{estimate_text(last.barrier_ev)} eV", "barrier, last iteration"))
        if last.barrier_error_ev is not None and not math.isnan(last.barrier_error_ev.mean):
            error = last.barrier_error_ev.mean / KCAL_PER_MOL_IN_EV
            words = f"its error against the reference pulls; {error:+.2f} kcal/mol"
            shown.append((f"{estimate_text(last.barrier_error_ev, '+')} eV", words))
    shown += [(f"{u.share:.0%}", f"of {u.executor} worker time used") for u in data.utilisation if u.held.seconds]
    return page.tiles(shown)


def barrier(data: RunData) -> str:
    """Draw barrier and paired error by iteration, and list them."""
    if not data.records:
        return page.paragraph("No iteration is committed yet.", "soft")
    barriers, reference = summary.barriers_of(data.plan, data.records)
    pairs = summary.by_pull(data.plan, data.records, [record.barrier_error_ev for record in data.records])
    names = data.plan.systems

    def draw(figure: Figure) -> None:
        if reference is None:
            figures.draw_barriers(figure.subplots(), data.iterations, barriers, None, names)
            return
        left, right = figure.subplots(1, 2)
        figures.draw_barriers(left, data.iterations, barriers, reference, names)
        errors = [record.barrier_error_ev for record in data.records]
        mean = np.array([e.mean if e is not None else np.nan for e in errors])
        half = np.array([e.ci95 if e is not None and e.ci95 is not None else np.nan for e in errors])
        figures.draw_barrier_errors(right, data.iterations, pairs, mean, half)

    width = len(data.plan.pulls)
    caption = (
        f"Work of the spring at the end of the pull by iteration, {_pulls_words(data)} an iteration. Errors are "
        f"taken pair by pair with a reference pull of the label engine {PAIRS[data.settings.sampling.relax_with]}; "
        "the interval is Student's, over pairs."
    )
    if len(names) > 1:
        caption += f" Barriers of {', '.join(names)} are not averaged with each other; their errors are."
    if width == 1 and reference is not None:
        caption += " A single pair has no interval: more replicas give one."
    headings = (
        "iteration",
        "labels",
        "pulls",
        "barrier (eV)",
        "largest work (eV)",
        "reference (eV)",
        "error (eV)",
        "(kcal/mol)",
    )
    table = page.table(headings, [_barrier_row(record) for record in data.records])
    return page.figure(draw, caption) + table + _corrections(data)


def _corrections(data: RunData) -> str:
    """List what labels around the break say of the barriers; nothing where none were asked for."""
    rows = [
        (
            str(record.iteration),
            name,
            _with_interval(found.error, found.error_ci95, "+"),
            _with_interval(found.barrier, found.barrier_ci95),
            f"{found.up_to_break:+.3f}",
            f"{found.after_break:+.3f}",
            f"{found.shift:.3f}",
        )
        for record in data.records
        for name, found in zip(data.plan.systems, record.barrier_corrected_ev, strict=False)
    ]
    if not rows:
        return ""
    headings = ("iteration", "of", "error (eV)", "barrier (eV)", "up to the break", "after it", "shift of the break")
    words = (
        "Barrier under the label engine, estimated from labels of a few frames around the break of the pulls; no "
        "trajectory of the label engine. An error without an interval is one that first order does not reach."
    )
    return page.paragraph(words) + page.table(headings, rows)


def _with_interval(value: float, half_width: float | None, sign: str = "") -> str:
    if half_width is None:
        return "cannot tell" if math.isnan(value) else f"{value:{sign}.3f}, cannot tell how far off"
    return f"{value:{sign}.3f} ± {half_width:.3f}"


def _pulls_words(data: RunData) -> str:
    """Return how many pulls an iteration has: of one that searches, and of one that certifies."""
    replicas = data.settings.sampling.replicas
    few, all_of_them = len(data.plan.pulls_of(replicas.search)), len(data.plan.pulls)
    if replicas.differ:
        return f"{few} or, where the barrier may be certified, {all_of_them} pulls"
    return "one pull" if all_of_them == 1 else f"{all_of_them} pulls"


def _barrier_row(record: IterationRecord) -> tuple[str, ...]:
    error = record.barrier_error_ev
    kcal = NONE if error is None or math.isnan(error.mean) else f"{error.mean / KCAL_PER_MOL_IN_EV:+.2f}"
    return (
        str(record.iteration),
        str(record.labels),
        str(len(record.barrier_ev.values)),
        estimate_text(record.barrier_ev) + record.cut_short,
        estimate_text(record.barrier_max_ev),
        estimate_text(record.reference_barrier_ev),
        estimate_text(error, "+"),
        kcal,
    )


def work(data: RunData) -> str:
    """Draw the work of the spring by iteration, of the first pull of the plan, and of all pulls of the last one."""
    if not data.records:
        return ""
    several = len(data.pulls) > 1

    def draw(figure: Figure) -> None:
        left, *rest = figure.subplots(1, 2 if several else 1, squeeze=False)[0]
        figures.draw_work_curves(left, summary.work_curves(data.run), summary.reference_curves(data.run))
        left.set_title(data.pulls[0].name, fontsize=9)
        for right in rest:
            folders = [summary.pull_folder(data.run, data.last.iteration, spec.index) for spec in data.pulls]
            named = zip(folders, data.pulls, strict=True)
            along = summary.axis_of(data.settings)
            curves = [summary.work_curve(folder, spec.name, along) for folder, spec in named]
            references = [one for spec in data.pulls for one in summary.reference_curves(data.run, spec.index, "")]
            figures.draw_work_curves(right, curves, references)
            right.set_title(f"all pulls of iteration {data.last.iteration}, references dashed", fontsize=9)

    bias = data.settings.sampling.bias
    words = "Work done by the spring against its rest length"
    if bias is not None:
        words = "Work done by the restraints against the first one's centre"
        words = words if bias.does_work else "Energy of the bias along its first variable"
    return page.figure(draw, f"{words}, light to dark in time; reference in black.")


def snapshots(data: RunData) -> str:
    """Draw the first pull of the last iteration before, at and after the break."""
    if not data.records:
        return ""
    folder = data.run.iteration(data.last.iteration) / "pull-00"
    molecule = data.pulls[0].molecule
    positions, steps = summary.column(folder, "positions"), summary.column(folder, "steps")
    distance = summary.column(folder, "coordinate")
    broken = first_break(molecule.numbers, positions)
    rows = telling_rows(len(positions), broken)

    def draw(figure: Figure) -> None:
        for axes, row in zip(figure.subplots(2, -(-len(rows) // 2)).ravel(), rows, strict=False):
            title = f"step {steps[row]:.0f}, {_place(data, distance[row])}"
            figures.draw_molecule(axes, molecule.numbers, positions[row], molecule.steered, title)
        for axes in figure.axes[len(rows) :]:
            axes.set_axis_off()

    return page.figure(draw, _breaking_words(molecule.numbers, positions, steps, data), (10.0, 3.6))


def _place(data: RunData, value: float) -> str:
    """Return where a frame is on its way, for people."""
    name, unit = data.pulls[0].molecule.variable
    return f"{value:.2f} Å apart" if data.settings.sampling.bias is None else f"{name} {value:.2f} {unit}"


def _breaking_words(numbers: IntArray, positions: FloatArray, steps: FloatArray, data: RunData) -> str:
    name, broken = data.pulls[0].name, first_break(numbers, positions)
    left = " + ".join(fragments(numbers, positions[-1]))
    formed = bonds_formed(numbers, positions)
    if formed:
        left += f" (bonds formed: {', '.join(f'{one} and {other}' for one, other in formed)})"
    where = f"{name}, iteration {data.last.iteration}"
    if broken is None:
        return f"{where}: no bond between heavy atoms broke. At the end: {left}."
    return (
        f"{where}: the bond between atoms {broken.bond[0]} and {broken.bond[1]} is broken from step "
        f"{steps[broken.row]:.0f} on. At the end: {left}."
    )


def errors(data: RunData) -> str:
    """Draw the errors on validation frames and on the reference pulls, which no member was shown."""
    if not data.records:
        return ""
    records = data.records
    valid = np.array([record.energy_mae_ev for record in records])
    force = np.array([record.force_mae_ev_per_angstrom for record in records])
    unseen = np.array([_or_nan(record.unseen_energy_mae_ev) for record in records])
    unseen_force = np.array([_or_nan(record.unseen_force_mae_ev_per_angstrom) for record in records])

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        energy_lines = [("validation, members", valid, "tab:blue")]
        force_lines = [("validation, members", force, "tab:blue")]
        if np.isfinite(unseen).any():
            energy_lines.append(("reference pulls, ensemble mean", unseen, "tab:red"))
            force_lines.append(("reference pulls, ensemble mean", unseen_force, "tab:red"))
        figures.draw_errors(left, data.iterations, energy_lines, "energy MAE (eV a molecule)")
        left.axhline(KCAL_PER_MOL_IN_EV, color="tab:green", lw=0.9)
        figures.draw_errors(right, data.iterations, force_lines, "force MAE (eV/Å a component)")

    caption = (
        "Mean absolute errors. Along the reference pulls energies are relative to the first frame of the pull. "
        "Green: 1 kcal/mol."
    )
    return page.figure(draw, caption)


def spread(data: RunData) -> str:
    """Draw the spread along the first pull of a few iterations, with thresholds and chosen frames."""
    if not data.records:
        return ""
    places = np.unique(np.linspace(0, len(data.records) - 1, SHOWN_ITERATIONS).round().astype(int))
    by_energy = _spread_of(data) == "energy"
    curves = []
    for place in places:
        record = data.records[place]
        threshold = record.threshold[0] if by_energy and record.threshold else math.nan
        curves.append(summary.spread_curve(data.run, record.iteration, threshold))
    caption = "Standard deviation of the energy over the members; dashed: threshold; dots: frames that were selected."
    if data.settings.selection.threshold == "calibrated":
        caption += " Frames were selected by the errors expected of them, not by this."
    elif not by_energy:
        caption += " Frames were selected by the spread of forces, whose threshold is not drawn here."
    return page.figure(lambda figure: figures.draw_spreads(figure.subplots(), curves), caption, (10.0, 3.4))


def selection(data: RunData) -> str:
    """Say by which rule frames were picked, how many, and list the last ones."""
    chosen, augment = data.settings.selection, data.settings.augmentation
    rule = THRESHOLDS[chosen.threshold].format(**chosen.model_dump())
    if chosen.threshold == "calibrated":
        words = (
            f"A frame is worth a label when more is expected than is accepted: {rule}; all frames are, before there is "
            f"a calibration. No atom may be far from all others or on top of another. At most {chosen.cap} frames an "
            f"iteration: {ORDERS[chosen.cap_order]}."
        )
    else:
        words = (
            f"A frame counts as new when the spread of the {chosen.spread_of} is above a threshold: {rule}. It is kept "
            f"when {data.pulls[0].molecule.variable[0]} and energy differ from the last one kept by more than "
            f"{chosen.similarity_distance_angstrom:g} Å and "
            f"{chosen.similarity_energy_ev:.3g} eV, and when no atom is far from all others or on top of another. At "
            f"most {chosen.cap} frames an iteration: {ORDERS[chosen.cap_order]}."
        )
    if augment.copies:
        words += (
            f" Each is labelled with {augment.copies} copies, moved by up to {augment.amplitude_angstrom:g} Å an axis."
        )
    if chosen.audit:
        words += f" Beside them, {chosen.audit:.0%} as many labels are spent on frames at random (audit)."
    if not data.records:
        return page.paragraph(words)
    unit = "eV" if _spread_of(data) == "energy" else "eV/Å"
    headings = ("iteration", "selected", "new labels", f"threshold ({unit})", "largest spread (eV)", "pull ended early")
    return page.paragraph(words) + page.table(headings, [_selection_row(r) for r in data.records]) + _chosen(data, unit)


def _spread_of(data: RunData) -> str:
    """Return what the spread is of that frames are listed with."""
    chosen = data.settings.selection
    return "forces" if chosen.threshold == "calibrated" else chosen.spread_of


def _selection_row(record: IterationRecord) -> tuple[str, ...]:
    stopped = "; ".join(dict.fromkeys(sentence for sentence in record.stopped if sentence)) or "no"
    largest = f"{max(record.largest_spread_ev, default=math.nan):.2g}"
    thresholds = _listed(record.threshold)
    return str(record.iteration), str(record.selected), str(record.new_labels), thresholds, largest, stopped


def _listed(values: Sequence[float]) -> str:
    """Return a few values one by one, and of many the least and the largest."""
    known = [value for value in values if math.isfinite(value)]
    if len(values) > LISTED_THRESHOLDS and known:
        ends = dict.fromkeys((f"{min(known):.2g}", f"{max(known):.2g}"))
        return " to ".join(ends)
    return ", ".join(f"{value:.2g}" for value in values)


def _chosen(data: RunData, unit: str) -> str:
    last = data.last
    frames = summary.chosen_frames(data.run, last.iteration)
    if not frames:
        return page.paragraph(f"Iteration {last.iteration} selected nothing: no frame was new to its ensemble.", "soft")
    rows, thresholds = [], dict(zip([spec.index for spec in data.pulls], last.threshold, strict=False))
    for frame in frames[:LISTED_FRAMES]:
        threshold = thresholds.get(frame.pull, math.nan)
        by_spread = threshold > 0 and data.settings.selection.threshold != "calibrated"
        ratio = f"{frame.spread / threshold:.1f} x" if by_spread else NONE
        rows.append((frame.pull, frame.step, f"{frame.coordinate:.3f}", f"{frame.spread:.2g}", ratio))
    more = f" The first {LISTED_FRAMES} of {len(frames)}." if len(frames) > LISTED_FRAMES else ""
    words = page.paragraph(f"Selected in iteration {last.iteration}.{more}")
    return words + page.table(
        ("pull", "step", "{} ({})".format(*data.pulls[0].molecule.variable), f"spread ({unit})", "of the threshold"),
        rows,
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
