"""What several test folders share: a campaign that takes seconds, and the command line in this process."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

TINY = """
name = "tiny"
iterations = 2

[system]
carbons = [2]

[labels]
engine = "ase"
[labels.settings]
calculator = "ase.calculators.emt.EMT"

[first_data]
segment_steps = 20
[first_data.md]
temperature_k = 300.0
steps = 40

[split]
members = 2

[potential.ani.hidden_layers]
H = [16, 12]
C = [16, 12]

[potential.ani]
other_layers = [16, 12]

[training]
epochs = 4

[sampling.relax]
langevin_steps = 20
berendsen_steps = 20

[sampling.pull]
steps = 60
segment_steps = 20
rate_angstrom_per_ps = 20.0

[selection]
first_steps = 20
cap = 4
windows = 3
similarity_energy_ev = 0.0
"""
"""EMT is no model of ethane, but it is smooth, and takes well under a millisecond."""


@pytest.fixture
def tiny_file(tmp_path) -> Path:
    """Return the campaign file of a campaign that takes seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def alflow(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line in this process and gives exit code, stdout, stderr."""
    from alflow.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alflow", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
