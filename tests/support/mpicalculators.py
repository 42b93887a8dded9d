"""A calculator around a real MPI program, LAMMPS: named by `calculator = "mpicalculators.LennardJones"`."""

import subprocess
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

INPUT = """units metal
atom_style atomic
boundary s s s
region all block {box} units box
create_box 1 all
{atoms}
mass 1 1.0
pair_style lj/cut 8.0
pair_coeff * * 0.01 1.2
thermo_modify format float %.17g
dump forces all custom 1 forces.txt id fx fy fz
dump_modify forces sort id format float %.17g
fix 1 all nve
timestep 1e-9
run {steps}
print "ENERGY $(pe:%.17g)"
"""


class LennardJones(Calculator):
    """Runs LAMMPS in the working directory; writes down what it says of its ranks."""

    implemented_properties = ("energy", "forces")

    def __init__(self, command="lmp", steps=0, notes="", **kwargs):
        """Take the command, with a launch prefix; steps of dynamics, to take long; a file for notes."""
        super().__init__(**kwargs)
        self.command, self.steps, self.notes = command, steps, notes

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Run LAMMPS once."""
        super().calculate(atoms, properties, system_changes)
        Path("in.lj").write_text(input_of(atoms, self.steps))
        command = f"{self.command} -in in.lj -log none"
        ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"lmp: {ended.stdout[-200:]} {ended.stderr[-300:]}")
        lines = ended.stdout.splitlines()
        if self.notes:
            grids = [line.strip() for line in lines if line.endswith("MPI processor grid")]
            with Path(self.notes).open("a") as file:
                file.write("; ".join(grids) + "\n")
        self.results["energy"] = float(next(line for line in lines if line.startswith("ENERGY")).split()[1])
        self.results["forces"] = np.loadtxt("forces.txt", skiprows=9)[:, 1:]


def input_of(atoms, steps=0):
    """Return the input of LAMMPS for a structure."""
    low, high = atoms.positions.min(axis=0) - 1.0, atoms.positions.max(axis=0) + 1.0
    made = "\n".join("create_atoms 1 single {} {} {} units box".format(*map(repr, p.tolist())) for p in atoms.positions)
    box = " ".join(f"{float(a)!r} {float(b)!r}" for a, b in zip(low, high, strict=True))
    return INPUT.format(box=box, atoms=made, steps=steps)
