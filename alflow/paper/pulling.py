"""Figures 2 and 4: pulls of networks that were trained without active learning, or after one step of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.campaign.plan import Molecule, make_plan
from alflow.labeling import make_engine
from alflow.ledger import Ledger, Origin, label_rows
from alflow.paper import numbers as paper
from alflow.paper.result import PAPER_COLOUR, Drawn, Row
from alflow.paper.runs import Runs
from alflow.report import curves as summary
from alflow.report import figures
from alflow.report.breaking import first_break, fragments, telling_rows
from alflow.report.figures import WorkCurve
from alflow.runs.directory import RunDirectory
from alflow.types import Frames, LabelBatch, Labels

SMD_TRAINED = "paper-fig2-smd"


def figure_2(runs: Runs) -> Drawn:
    """The DFTB pull, and pulls of networks trained on equilibrium frames alone and on frames of that pull alone."""
    first = runs.campaign("paper/fig3")
    overrides = ("iterations=1", "first_data.md.steps=1", "first_data.md.stride=1", "selection.cap=0")
    second = runs.campaign("paper/fig3", overrides, SMD_TRAINED, lambda run: _learn_from_reference(first, run))
    reference = summary.reference_curves(first)[0]
    curves = {
        "c": summary.work_curve(first.iteration(0) / "pull-00", "network, first data"),
        "d": summary.work_curve(second.iteration(0) / "pull-00", "network, DFTB pull"),
    }
    figure = Figure(figsize=(10, 6.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 3))
    top, rest = parts
    _snapshots(top, first, make_plan(first.settings()).molecules[0])
    b, c, d = rest.subplots(1, 3)
    figures.draw_work_curves(b, [], [reference])
    published = paper.dftb_pull()
    b.plot(published.distance, published.work, color=PAPER_COLOUR, lw=1.2, label=published.label)
    b.legend(**figures.LEGEND)
    for axes, letter, marked in ((c, "c", paper.MD_TRAINED_BARRIER_EV), (d, "d", paper.SMD_TRAINED_BARRIER_EV)):
        figures.draw_work_curves(axes, [curves[letter]], [reference])
        axes.axhline(marked, color=PAPER_COLOUR, lw=1.0, label="paper, barrier")
        axes.legend(**figures.LEGEND)
    for axes, letter in ((b, "b"), (c, "c"), (d, "d")):
        axes.set_title(letter, loc="left", fontsize=10)
    rows = (
        Row("barrier, DFTB", "eV", paper.DFTB_BARRIER_EV, _last(reference)),
        Row("largest work, DFTB", "eV", float(published.work.max()), float(reference.work.max())),
        Row("barrier, trained on first data", "eV", paper.MD_TRAINED_BARRIER_EV, _last(curves["c"])),
        Row("barrier, trained on the DFTB pull", "eV", paper.SMD_TRAINED_BARRIER_EV, _last(curves["d"])),
    )
    return Drawn("DFTB pull, and networks without active learning", figure, rows, _words_2(rows))


def _words_2(rows: tuple[Row, ...]) -> str:
    reference, _, md, smd = (row.ours for row in rows)
    claims = (("equilibrium frames alone", md), ("frames of the pull alone", smd))
    held = ", ".join(f"with {what} it is {abs(value - reference):.2f} eV" for what, value in claims)
    return (
        f"The paper finds errors of 5.4 and 0.9 eV; {held}. Velocities and weights differ, and the work of a "
        "network that has left its data depends on both. Two frames of dynamics stand beside those of the pull. Each "
        "network relaxes the molecule itself."
    )


def _learn_from_reference(source: RunDirectory, target: RunDirectory) -> None:
    """Put the frames of a reference pull, with their labels, into the ledger of a run that has none yet."""
    settings = source.settings()
    theory = make_engine(settings.labels.engine, settings.labels.settings).theory
    ledger = Ledger.open(target.ledger)
    for segment in summary.stored_segments(summary.reference_folders(source)[0]):
        assert segment.forces is not None
        rows = np.arange(len(segment.steps))
        nothing = np.zeros(len(rows))
        batch = LabelBatch(rows, Labels(segment.energy, segment.forces), (), nothing, np.full(len(rows), -1))
        origins = [Origin("import", 0, 0, int(step)) for step in segment.steps]
        frames = Frames(segment.frames.composition, segment.frames.positions)
        ledger.add(label_rows(theory, frames, batch, origins, "", time.time()))
    ledger.commit()
    ledger.close()


def figure_4(runs: Runs) -> Drawn:
    """SchNet before and after the first step of learning, and ANI after it.

    Raises:
        InputError: the campaign did not train SchNet.
    """
    run = runs.campaign("paper/fig4", ("iterations=2",))
    _refuse_other_than_schnet(run)
    other = runs.campaign("paper/fig3")
    panels = (
        ("a  SchNet, first data", run, 0),
        ("b  SchNet, one step of learning", run, 1),
        ("c  ANI, one step", other, 1),
    )
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    parts: Any = figure.subfigures(1, 3)
    rows: list[Row] = []
    left: list[str] = []
    for part, (title, source, iteration) in zip(parts, panels, strict=True):
        curve, what = _draw_end(part, title, source, iteration)
        known = None if rows else paper.SCHNET_FIRST_BARRIER_EV
        rows.append(Row(f"barrier, {title[3:]}", "eV", known, _last(curve)))
        left.append(f"{title[3:]}: {what}")
    words = f"What is left at the end of each pull. {'; '.join(left)}. The paper's SchNet fell into several pieces."
    return Drawn("SchNet and ANI at the start of learning", figure, tuple(rows), words)


def _refuse_other_than_schnet(run: RunDirectory) -> None:
    from alflow.potentials.schnet.ensemble import SchNetEnsemble  # noqa: PLC0415 - torch is heavy

    for iteration in (0, 1):
        SchNetEnsemble.load(run.iteration(iteration) / "ensemble.pt")


def _draw_end(part: Any, title: str, run: RunDirectory, iteration: int) -> tuple[WorkCurve, str]:
    """Draw a pull above snapshots of its break; return its work, and what is left of the molecule."""
    molecule = make_plan(run.settings()).molecules[0]
    folder = run.iteration(iteration) / "pull-00"
    curve, positions = summary.work_curve(folder, "network"), summary.column(folder, "positions")
    chosen = telling_rows(len(positions), first_break(molecule.numbers, positions))[-4:]
    axes, *below = part.subplots(1 + len(chosen), 1, height_ratios=(3, *(1 for _ in chosen)))
    figures.draw_work_curves(axes, [curve], summary.reference_curves(run))
    axes.set_title(title, loc="left", fontsize=10)
    for place, row in zip(below, chosen, strict=True):
        figures.draw_molecule(place, molecule.numbers, positions[row], molecule.steered, f"{curve.distance[row]:.2f} Å")
    return curve, " + ".join(fragments(molecule.numbers, positions[-1]))


def _snapshots(part: Any, run: RunDirectory, molecule: Molecule) -> None:
    """Draw the reference pull at a few telling moments."""
    folder = summary.reference_folders(run)[0]
    positions, distance = summary.column(folder, "positions"), summary.column(folder, "coordinate")
    rows = telling_rows(len(positions), first_break(molecule.numbers, positions))
    places: list[Axes] = part.subplots(1, len(rows), squeeze=False)[0].tolist()
    for axes, row in zip(places, rows, strict=True):
        figures.draw_molecule(axes, molecule.numbers, positions[row], molecule.steered, f"{distance[row]:.2f} Å")
    part.suptitle("a", x=0.01, ha="left", fontsize=10)


def _last(curve: WorkCurve) -> float:
    return float(curve.work[-1])
