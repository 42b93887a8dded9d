"""``alflow evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    example = "Example: alflow evaluate runs/quickstart/iteration-003/ensemble.pt labelled.xyz"
    app.command(epilog=example)(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="File of weights that alflow wrote.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="Labelled frames: extended XYZ.", show_default=False)],
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Figure to write; DATA with the ending .png if not given.")
    ] = None,
) -> None:
    """Print the errors of a potential on labelled frames, member by member, and draw predictions against labels."""
    from rich.console import Console
    from rich.table import Table

    from alflow.analysis.scatter import scatter_figure
    from alflow.labelrun import read_labelled
    from alflow.potentials import load_potential
    from alflow.potentials.evaluation import predict

    potential = load_potential(model)
    dataset = read_labelled(data)
    table = Table(title=f"{model.name} on {len(dataset)} frames", caption="energies a molecule, forces a component")
    for heading in ("", "E MAE eV", "E RMSE eV", "F MAE eV/Å", "F RMSE eV/Å"):
        table.add_column(heading, justify="right")
    for member in (None, *range(potential.members)):
        errors = predict(potential, dataset, member).errors()
        values = (
            errors.energy_mae_ev,
            errors.energy_rmse_ev,
            errors.force_mae_ev_per_angstrom,
            errors.force_rmse_ev_per_angstrom,
        )
        table.add_row("mean" if member is None else f"member {member}", *(f"{value:.4f}" for value in values))
    target = figure or data.with_suffix(".png")
    scatter_figure(predict(potential, dataset), target, f"{model.name} on {data.name}")
    console = Console()
    console.print(table)
    console.print(f"  figure: {target}", soft_wrap=True)
