"""A campaign that takes seconds."""

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
