"""``alflow evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli.options import EnergyKey, ForcesKey, Overwrite
from alflow.cli.terminal import busy, terminal, warn


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    example = "Example: alflow evaluate runs/quickstart/iteration-003/ensemble.pt labelled.xyz"
    app.command(epilog=example)(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="File of weights that alflow wrote.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="Labelled frames: any file that ASE reads.", show_default=False)],
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Figure to write; DATA with the ending .png if not given.")
    ] = None,
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "forces",
    overwrite: Overwrite = False,
) -> None:
    """Print the errors of a potential on labelled frames, member by member, and draw predictions against labels."""
    from alflow.display.tables import Sheet
    from alflow.files.targets import check_new
    from alflow.potentials import load_potential
    from alflow.potentials.evaluation import predict
    from alflow.report.saving import check_ending
    from alflow.report.scatter import scatter_figure
    from alflow.structures import LabelKeys, read_dataset

    if figure is not None:
        check_ending(figure)
        check_new(figure, overwrite=overwrite)
    potential = load_potential(model)
    with busy(f"Reading {data}"):
        found = read_dataset(data, LabelKeys(energy_key, forces_key))
    dataset = found.dataset
    warn(found.notes)
    for reason, count in found.left_out.items():
        warn([f"{count} frame{'s' if count > 1 else ''} of {data} left out: {reason}."])
    table = Sheet(
        ("",),
        ("E MAE eV", "E RMSE eV", "F MAE eV/Å", "F RMSE eV/Å"),
        title=f"{model.name} on {len(dataset)} frames",
        caption="energies a molecule, forces a component",
    )
    for member in (None, *range(potential.members)):
        name = "mean" if member is None else f"member {member}"
        with busy(f"Predicting {len(dataset)} frames: {name}"):
            predictions = predict(potential, dataset, member)
        errors = predictions.errors()
        values = (
            errors.energy_mae_ev,
            errors.energy_rmse_ev,
            errors.force_mae_ev_per_angstrom,
            errors.force_rmse_ev_per_angstrom,
        )
        table.add(name, *(f"{value:.4f}" for value in values))
    console = terminal()
    console.print(table)
    target = figure or data.with_suffix(".png")
    scatter_figure(predict(potential, dataset), target, f"{model.name} on {data.name}")
    console.print(f"  figure: {target}")
