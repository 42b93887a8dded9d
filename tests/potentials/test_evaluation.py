"""Errors of a potential whose errors are known."""

import numpy as np
import pytest

from alflow.potentials.evaluation import predict
from alflow.report.scatter import scatter_figure
from alflow.types import Dataset, Frames, Group, Labels


class Shifted:
    """Two members: one 0.1 eV and 0.2 eV/Å too high, one as much and 0.1 more."""

    members = 2

    def evaluate(self, frames):
        energies = np.array([[0.1] * len(frames), [0.2] * len(frames)])
        forces = np.full((2, *frames.positions.shape), 0.2)
        return energies, forces


def dataset():
    groups = []
    for frames, atoms in ((3, 2), (2, 4)):
        positions = np.zeros((frames, atoms, 3))
        groups.append(
            Group(Frames.of(np.ones(atoms, int), positions), Labels(np.zeros(frames), np.zeros_like(positions)))
        )
    return Dataset(tuple(groups))


@pytest.mark.parametrize(("member", "energy"), [(0, 0.1), (1, 0.2), (None, 0.15)])
def test_errors_are_those_that_were_put_in(member, energy):
    errors = predict(Shifted(), dataset(), member).errors()
    assert errors.energy_mae_ev == pytest.approx(energy)
    assert errors.energy_rmse_ev == pytest.approx(energy)
    assert errors.force_mae_ev_per_angstrom == pytest.approx(0.2)


def test_figure_shows_every_frame_and_component(tmp_path):
    found = predict(Shifted(), dataset())
    assert found.spread == pytest.approx([0.05] * 5)
    figure = scatter_figure(found, tmp_path / "scatter.png", "toy")
    energies, forces = figure.axes
    assert len(energies.lines[0].get_xdata()) == 5
    assert len(forces.lines[0].get_xdata()) == 3 * (3 * 2 + 2 * 4)
    assert "MAE 150.0 meV" in energies.get_title()
    assert (tmp_path / "scatter.png").stat().st_size > 1000
