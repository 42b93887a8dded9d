"""Figures made from pulls outside a campaign: 7 (other chain lengths), S7 (other rates), and all chains together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alflow.acquisition.stopping import confidence_interval
from alflow.campaign.plan import Molecule, PullSpec, make_plan
from alflow.config.campaign import CampaignSettings
from alflow.config.sampling import PullSettings
from alflow.paper.result import Drawn, Row
from alflow.paper.runs import UNSEEN_START, Runs, file_name
from alflow.report import curves as summary
from alflow.report import figures
from alflow.report.breaking import bond_lengths, first_break
from alflow.report.figures import WorkCurve
from alflow.runs.directory import RunDirectory
from alflow.structures import heavy_bonds
from alflow.units import KCAL_PER_MOL_IN_EV

STRETCH_A_BOND_ANGSTROM = 0.65
"""Growth of the spring's target a C-C bond: that of the paper's pull of hexane."""
LEAST_STRETCH_ANGSTROM = 2.6
"""Short chains: the bond and the spring, of which the last gives by 0.5 Å, both have to be passed."""
STRIDE = 10
STARTS, QUICK_STARTS = 8, 1
CHAINS, QUICK_CHAINS = tuple(range(2, 12)), (4, 6, 8)
RATES, QUICK_RATES = (0.5, 1.0, 2.0, 5.0), (2.5, 5.0, 10.0)
PAIRED = "Network and DFTB3 start from the same relaxed structure with the same velocities."


def figure_7(runs: Runs) -> Drawn:
    """Bond lengths near the break, and pulls of other chains by the ensemble that was trained on hexane."""
    name = _hexane(runs)
    curves = {n: starts[0] for n, starts in _chain_pulls(runs, {"network": _last_ensemble(runs, name)}).items()}
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3, 6))
    top, rest = parts
    bonds, errors = top.subplots(1, 2)
    _draw_bonds(bonds, runs.campaign(name))
    chains = list(curves)
    error = np.array([_error(curves[n][1], curves[n][0]) for n in chains])
    errors.bar(chains, np.abs(error), color=["tab:red" if n in (6, 7, 8) else "0.6" for n in chains])
    errors.axhline(KCAL_PER_MOL_IN_EV, color="tab:green", lw=1.0)
    errors.set_yscale("log")
    errors.set_xticks(chains)
    errors.set_xlabel("carbon atoms (red: those that the paper describes well)")
    errors.set_ylabel("|barrier error| (eV)")
    errors.set_title("c", loc="left", fontsize=10)
    columns = min(5, len(chains))
    for axes, n in zip(rest.subplots(-(-len(chains) // columns), columns, squeeze=False).ravel(), chains, strict=False):
        _draw_pair(axes, f"C{n}", curves[n])
    rest.suptitle("b", x=0.01, ha="left", fontsize=10)
    rows = tuple(
        row
        for n in chains
        for row in (
            Row(f"C{n}: barrier, DFTB", "eV", None, curves[n][0].barrier),
            Row(f"C{n}: barrier error of the hexane network", "eV", None, _error(curves[n][1], curves[n][0])),
        )
    )
    good = [n for n, value in zip(chains, error, strict=True) if abs(value) < 0.1]
    words = (
        f"The paper finds that the hexane network holds for C7 and C8 only; ours is within 0.1 eV for "
        f"{', '.join(f'C{n}' for n in good) or 'none'}. {PAIRED} The paper's Fig. 7c is a sketch; in its place stand "
        "the barrier errors. Longer chains are stretched in proportion to their number of bonds."
    )
    return Drawn("transfer of the hexane network to other chains", figure, rows, words)


def figure_s7(runs: Runs) -> Drawn:
    """Pulls of hexane at several rates by the ensemble that was trained at one."""
    ensemble = _last_ensemble(runs, _hexane(runs))
    settings = runs.settings(_hexane(runs))
    pull, molecule = settings.sampling.pull, make_plan(settings).molecules[0]
    stretch = pull.rate_angstrom_per_ps * pull.timestep_fs * 1e-3 * pull.steps
    rates = QUICK_RATES if runs.quick else RATES
    specs = [PullSpec(i, molecule, 0, _pull(settings, stretch, rate)) for i, rate in enumerate(rates)]
    curves = _pairs(runs, f"rates-{settings.name}", settings, specs, {"network": ensemble})
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    for axes, rate, spec in zip(figure.subplots(1, len(rates)), rates, specs, strict=True):
        _draw_pair(axes, f"{rate:g} Å/ps", curves[file_name(spec)])
    found = [curves[file_name(spec)] for spec in specs]
    rows = tuple(
        row
        for rate, (reference, network) in zip(rates, found, strict=True)
        for row in (
            Row(f"{rate:g} Å/ps: barrier, DFTB", "eV", None, reference.barrier),
            Row(f"{rate:g} Å/ps: barrier error of the network", "eV", None, _error(network, reference)),
        )
    )
    up = [reference.barrier for reference, _ in found] == sorted(reference.barrier for reference, _ in found)
    follows = [network.barrier for _, network in found] == sorted(network.barrier for _, network in found)
    words = (
        "The paper says that a higher rate costs more work and that the network follows. Rises with every rate here: "
        f"the DFTB barrier {'yes' if up else 'no'}, the network's {'yes' if follows else 'no'}. The paper's rates are "
        f"not in its text; these are ours. {PAIRED}"
    )
    return Drawn("hexane at several pulling rates", figure, rows, words)


def figure_alkanes(runs: Runs) -> Drawn:
    """Barrier errors of the hexane-only ensemble beside those of the one that learnt from several chains."""
    overrides = ("system.carbons=[4, 6]",) if runs.quick else ()
    sources = {
        "hexane only": _last_ensemble(runs, "hexane"),
        "all chains": _last_ensemble(runs, "alkanes", overrides),
    }
    starts = QUICK_STARTS if runs.quick else STARTS
    curves = _chain_pulls(runs, sources, starts)
    chains = list(curves)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-KCAL_PER_MOL_IN_EV, KCAL_PER_MOL_IN_EV, color="tab:green", alpha=0.15, label="±1 kcal/mol")
    rows, cut_short = [], 0
    for place, (name, colour) in enumerate(zip(sources, ("0.4", "tab:blue"), strict=True)):
        paired = [np.array([_error(pulls[1 + place], pulls[0]) for pulls in curves[n]]) for n in chains]
        cut_short += sum(int(np.isnan(each).sum()) for each in paired)
        errors = [confidence_interval(each) for each in paired]
        widths = np.array([error.half_width for error in errors])
        at, means = np.array(chains) + 0.2 * (place - 0.5), [error.mean for error in errors]
        axes.errorbar(at, means, widths if np.isfinite(widths).all() else None, fmt="o", ms=4, color=colour, label=name)
        for n, error in zip(chains, errors, strict=True):
            rows.append(Row(f"C{n}: barrier error, {name}", "eV", None, error.mean))
            if starts > 1:
                rows.append(Row(f"C{n}: 95 % interval, {name}, ±", "eV", None, error.half_width))
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_xticks(chains)
    axes.set_xlabel("carbon atoms")
    axes.set_ylabel("paired barrier error (eV), mean and 95 %")
    axes.legend(**figures.LEGEND)
    words = (
        f"The paper has no such network; it leaves transfer beyond C7 and C8 open. Starts a chain: {starts}"
        f"{', which neither network has learnt from' if starts > 1 else ''}. {PAIRED} "
        f"Pairs left out because a pull was cut short: {cut_short}."
    )
    return Drawn("barrier errors of other chains", figure, tuple(rows), words)


def _hexane(runs: Runs) -> str:
    """Name the campaign whose last ensemble is carried over: the paper's best one, the smallest where it is quick."""
    return "paper/fig3" if runs.quick else "paper/fig5-7"


def _last_ensemble(runs: Runs, name: str, overrides: Sequence[str] = ()) -> Path:
    """Return the weights of the last iteration that a campaign plans; it is run if it has not been."""
    last = runs.settings(name, overrides).iterations - 1
    return runs.campaign(name, overrides).iteration(last) / "ensemble.pt"


def _chain_pulls(runs: Runs, sources: Mapping[str, Path], starts: int = 1) -> dict[int, list[tuple[WorkCurve, ...]]]:
    """Pull all chains from some starts with the label engine and with the last ensemble of each campaign.

    A single start is the first one of the campaigns; several are none of theirs.
    """
    settings = runs.settings("hexane" if len(sources) > 1 else _hexane(runs))
    chains = QUICK_CHAINS if runs.quick else CHAINS
    system = settings.system.model_copy(update={"carbons": chains})
    built = make_plan(settings.model_copy(update={"system": system})).molecules
    rate = settings.sampling.pull.rate_angstrom_per_ps
    first = 0 if starts == 1 else UNSEEN_START
    specs = {
        n: [PullSpec(i, each, first + i, _pull(settings, _stretch(each), rate)) for i in range(starts)]
        for n, each in zip(chains, built, strict=True)
    }
    curves = _pairs(
        runs, f"chains-{settings.name}", settings, [spec for some in specs.values() for spec in some], sources
    )
    return {n: [curves[file_name(spec)] for spec in some] for n, some in specs.items()}


def _pairs(
    runs: Runs, name: str, settings: CampaignSettings, specs: Sequence[PullSpec], sources: Mapping[str, Path]
) -> dict[str, tuple[WorkCurve, ...]]:
    """Return the work curves of each pull: label engine, then one a campaign, by the name of the pull's folder."""
    runs.engine_pulls(f"{name}-reference", settings, specs)
    folders = {"DFTB": runs.folder / f"{name}-reference"}
    for title, ensemble in sources.items():
        run = RunDirectory(ensemble.parent.parent)
        target = f"{name}-{run.path.name}-{ensemble.parent.name}"
        runs.ensemble_pulls(target, run.settings(), specs, ensemble, f"{name}-reference")
        folders[title] = runs.folder / target
    return {
        file_name(spec): tuple(summary.work_curve(folder / file_name(spec), title) for title, folder in folders.items())
        for spec in specs
    }


def _pull(settings: CampaignSettings, stretch: float, rate: float) -> PullSettings:
    """Return the pull of a campaign at another rate and to another length, Å."""
    pull = settings.sampling.pull
    steps = round(stretch / (rate * pull.timestep_fs * 1e-3))
    changed = {"rate_angstrom_per_ps": rate, "steps": steps, "record_stride": STRIDE, "segment_steps": 500}
    return pull.model_copy(update=changed)


def _stretch(molecule: Molecule) -> float:
    carbons = int((molecule.numbers > 1).sum())
    return max(LEAST_STRETCH_ANGSTROM, STRETCH_A_BOND_ANGSTROM * (carbons - 1))


def _draw_bonds(axes: Axes, run: RunDirectory) -> None:
    """Draw the lengths of the C-C bonds along the reference pull, outer bonds red, inner ones blue."""
    folder = summary.reference_folders(run)[0]
    numbers = make_plan(run.settings()).molecules[0].numbers
    positions, distance = summary.column(folder, "positions"), summary.column(folder, "coordinate")
    pairs = heavy_bonds(numbers, positions[0])
    lengths = bond_lengths(positions, pairs)
    broken = first_break(numbers, positions)
    end = len(positions) if broken is None else min(len(positions), broken.row + 1)
    neighbours = np.bincount(pairs.ravel())
    for column, pair in enumerate(pairs):
        outer = neighbours[pair].min() == 1
        axes.plot(distance[:end], lengths[:end, column], lw=1.1, color="tab:red" if outer else "tab:blue")
    axes.plot([], [], color="tab:red", label="CH3-CH2")
    axes.plot([], [], color="tab:blue", label="CH2-CH2")
    axes.set_xlabel("distance of the pulled atoms (Å)")
    axes.set_ylabel("C-C bond length (Å), DFTB")
    axes.legend(**figures.LEGEND)
    axes.set_title("a", loc="left", fontsize=10)


def _draw_pair(axes: Axes, title: str, curves: Sequence[WorkCurve]) -> None:
    reference, network = curves
    axes.plot(figures.thinned(reference.distance), figures.thinned(reference.work), "k:", lw=1.6, label="DFTB")
    axes.plot(
        figures.thinned(network.distance), figures.thinned(network.work), color="tab:red", lw=1.1, label="network"
    )
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("spring distance (Å)")
    axes.set_ylabel("work (eV)")
    axes.set_ylim(-0.2, max(1.0, 2.0 * float(reference.work.max())))
    axes.legend(**figures.LEGEND)


def _error(network: WorkCurve, reference: WorkCurve) -> float:
    return network.barrier - reference.barrier
