"""Collective variables, on which Colvars acts in LAMMPS: restraints, metadynamics, eABF, or its own configuration.

A segment that goes on reads Colvars' state, in full precision, from LAMMPS's restart record, and is set up at the
positions of the last step: Colvars sums and adds nothing at the step that a run starts from, so a cut changes no bit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from alflow.config.bias import ColvarsSettings, EabfSettings, SteeredSettings
from alflow.config.colvars import ByColvarsSettings
from alflow.config.sampling import PullSettings
from alflow.errors import AlflowError, StructureError
from alflow.sampling.colvars import script as colvars
from alflow.sampling.colvars import text
from alflow.sampling.lammps import Simulation
from alflow.sampling.steering import CoordinateKind
from alflow.structures import read_structure
from alflow.types import FloatArray, Frames, IntArray, SteeringState

COUNT = struct.Struct("<q")
"""Of the variables, in the opaque part of a state."""


@dataclass
class ByColvars:
    """Variables and what acts on them; one instance serves one run."""

    numbers: IntArray
    """(A,) atomic numbers."""
    positions: FloatArray = field(repr=False)
    """(A, 3) Å of the starting structure."""
    settings: ByColvarsSettings
    pull: PullSettings
    references: Mapping[str, FloatArray]
    """(A, 3) Å of each structure that an RMSD is taken from, by its file."""
    _first: FloatArray = field(default_factory=lambda: np.empty(0), init=False)
    """(V,) where the centres of restraints start."""
    _saved: tuple[FloatArray, FloatArray] | None = field(default=None, init=False)
    """`_first` and positions of the state that the run goes on from."""
    _simulation: Simulation | None = field(default=None, init=False)
    _work: float = field(default=0.0, init=False)
    """Of restraints whose centres move, eV."""

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the variables, of which the first is the coordinate; of extended ones (r_) behind them."""
        names = self.settings.names
        extended = isinstance(self.settings.bias, EabfSettings)
        return names + tuple(f"r_{name}" for name in names) if extended else names

    @property
    def unit(self) -> str:
        """Unit of the first variable."""
        return self.settings.unit

    @property
    def atoms(self) -> tuple[int, ...]:
        """The atoms that define the variables."""
        return self.settings.atoms

    def planned_change(self, steps: int) -> float:
        """Return by how much the centre of the first variable moves in so many steps; 0 where none moves."""
        bias = self.settings.bias
        if not isinstance(bias, SteeredSettings):
            return 0.0
        first = bias.from_[0] if bias.from_ else self._centres(self.values(self.positions[None])[0])[0]
        return float((bias.to[0] - first) * min(steps, self.pull.steps) / self.pull.steps)

    def value(self, positions: FloatArray) -> FloatArray:
        """Return the first variable, (F,), of (F, A, 3) Å. Not during a run: a process has one Colvars."""
        return np.asarray(self.values(positions)[:, 0])

    def values(self, positions: FloatArray) -> FloatArray:
        """Return all variables, (F, V), of (F, A, 3) Å. Not during a run."""
        found, configuration = [], text.SILENT + self._variables_text()
        with Simulation(self.numbers, self.pull.timestep_fs) as simulation:
            colvars.add_colvars(simulation, temperature_k=self.pull.temperature_k)
            colvars.configure(simulation, configuration)
            for frame in positions:
                simulation.place(frame, np.zeros_like(frame))
                simulation.run(0)
                found.append(colvars.values(simulation, self.observed))
        return np.array(found).reshape(len(positions), len(self.observed))

    def start(self, positions: FloatArray) -> SteeringState:
        """Return the state at step 0, at (A, 3) Å: no work done."""
        self._first = self._centres(self.values(positions[None])[0])
        return SteeringState(self._target(0), 0.0 if self.settings.bias.does_work else np.nan)

    def restart_record(self, state: SteeringState) -> bytes:
        """Return LAMMPS's record, which holds Colvars' state, and keep the rest for `attach`."""
        (count,) = COUNT.unpack_from(state.opaque)
        start = COUNT.size
        middle = start + 8 * count
        end = middle + 24 * len(self.numbers)
        first = np.frombuffer(state.opaque[start:middle])
        self._saved = first, np.frombuffer(state.opaque[middle:end]).reshape(-1, 3)
        return state.opaque[end:]

    def attach(self, simulation: Simulation) -> None:
        """Add Colvars, its variables and its biases."""
        configuration = text.SILENT + self._variables_text()
        self._simulation, self._work = simulation, 0.0
        colvars.add_colvars(simulation, seed=simulation.step, temperature_k=self.pull.temperature_k)
        colvars.configure(simulation, configuration)
        if self._saved is not None:
            self._first = self._saved[0]
        else:
            simulation.run(0)
            self._first = self._centres(colvars.values(simulation, self.observed))
        bias = self._bias_text()
        if bias:
            colvars.configure(simulation, bias)

    def restore(self, simulation: Simulation, state: SteeringState) -> None:
        """Set Colvars up where the last segment ended.

        Raises:
            AlflowError: it is not in the state that the last segment left.
        """
        assert self._saved is not None
        positions, self._saved, self._work = self._saved[1], None, state.work
        simulation.place(positions, np.zeros_like(positions))
        simulation.run(0)
        found = self.read(simulation)
        if not np.array_equal(found, (state.target, state.work), equal_nan=True):
            raise AlflowError(
                f"A segment must start with the bias that the last one left (target {state.target!r}, work "
                f"{state.work!r} eV); Colvars restored {found[0]!r} and {found[1]!r} eV at step {simulation.step}."
            )

    def bias(self, step: int, positions: FloatArray) -> None:
        """Sum the work of this step: Σ -k (ξ - R) ΔR over the restraints. Colvars gives the forces."""
        del positions
        bias = self.settings.bias
        if isinstance(bias, SteeredSettings) and step > 0:
            assert self._simulation is not None
            centres = self._centres_at(step)
            stretched = self._near_centres(colvars.values(self._simulation, self.observed), centres) - centres
            forces = -np.array(bias.force_constant) * stretched
            self._work += float(forces @ (centres - self._centres_at(step - 1)))

    def read(self, simulation: Simulation) -> tuple[float, float]:
        """Return the centre of the first variable, and the work in eV; not-a-number where there is none.

        Colvars' own sum, which its own configuration has, goes from segment to segment with 15 digits.
        """
        target = self._target(simulation.step)
        if isinstance(self.settings.bias, SteeredSettings):
            return target, self._work
        return target, colvars.accumulated_work(simulation) if self.settings.bias.does_work else np.nan

    def observe(self, simulation: Simulation) -> tuple[FloatArray, float]:
        """Return all variables, (V,), and the energy of the biases in eV.

        A dihedral that a restraint takes along is the one next to its centre: it does not jump at 180°.
        """
        found = colvars.values(simulation, self.observed)
        near = self._near_centres(found, self._centres_at(simulation.step))
        return near, colvars.bias_energy(simulation)

    def _near_centres(self, found: FloatArray, centres: FloatArray) -> FloatArray:
        """Return (V,) variables, of which those that come back after 360° are next to the centres that there are."""
        if not self.settings.variables:
            return found
        turns = [
            360.0 * np.round((centre - value) / 360.0) if variable.periodic and np.isfinite(centre) else 0.0
            for variable, value, centre in zip(self.settings.variables, found, centres, strict=False)
        ]
        return np.asarray(found + np.array(turns))

    def save(self, simulation: Simulation) -> SteeringState:
        """Return centre, work and all that Colvars has to go on."""
        target, work = self.read(simulation)
        positions = simulation.arrays()[0].copy()
        head = COUNT.pack(len(self._first)) + self._first.tobytes() + positions.tobytes()
        return SteeringState(target, work, head + simulation.restart_record())

    def asked_for(self, simulation: Simulation) -> tuple[int, ...]:
        """Return the atoms that Colvars asks for, counted from 0, those that do not exist too."""
        found = colvars.script(simulation, "getatomids").replace(",", " ").strip("{} ")
        return tuple(sorted({int(atom) - 1 for atom in found.split()}))

    def configuration(self) -> str:
        """Return the configuration of a trajectory that starts from the structure."""
        if not len(self._first):
            self._first = np.full(len(self.settings.names), np.nan)
        return self._variables_text() + self._bias_text()

    def _centres(self, found: FloatArray) -> FloatArray:
        """Return (V,) where the centres start, of the variables as they are found."""
        bias = self.settings.bias
        if not isinstance(bias, SteeredSettings):
            return found
        if bias.from_ is not None:
            return np.array(bias.from_)
        pairs = zip(self.settings.variables, found, bias.to, strict=True)
        return np.array([next_to(now, last) if variable.periodic else now for variable, now, last in pairs])

    def _centres_at(self, step: int) -> FloatArray:
        return text.centres_at(self.settings.bias, self.settings.window, self._first, step, self.pull.steps)

    def _target(self, step: int) -> float:
        return float(self._centres_at(step)[0])

    def _bias_text(self) -> str:
        return text.bias_text(
            self.settings.names, self.settings.bias, self.settings.window, self._first, self.pull.steps
        )

    def _variables_text(self) -> str:
        bias = self.settings.bias
        clock = ticks_per_fs()
        if isinstance(bias, ColvarsSettings):
            return text.own_text(bias, clock)
        return text.variables_text(self.settings.variables, bias, self.references, clock, self.pull.temperature_k)


def next_to(angle: float, other: float) -> float:
    """Return the angle, plus or minus whole turns of 360°, that is nearest to another."""
    return float(angle + 360.0 * np.round((other - angle) / 360.0))


@cache
def ticks_per_fs() -> float:
    """Return how many units of Colvars' time a femtosecond has: LAMMPS hands it a time step in a unit of its own."""
    with Simulation(np.array([1]), 1.0) as simulation:
        colvars.add_colvars(simulation)
        simulation.run(0)
        return float(colvars.script(simulation, "timestep"))


class ColvarsKind(CoordinateKind[ByColvarsSettings]):
    """The coordinate `colvars`."""

    settings = ByColvarsSettings
    example = {  # noqa: RUF012 - as the class it derives from says
        "variables": [{"name": "d", "distance": [0, 1]}],
        "bias": {"kind": "steered", "to": 2.0, "force_constant": 20.0},
    }

    def references(self, settings: ByColvarsSettings) -> tuple[str, ...]:
        """Return what to cite."""
        del settings
        return ("Fiorin, Klein, Hénin, Mol. Phys. 2013, 111, 3345: Colvars",)

    def bind(
        self, molecule: Frames, settings: ByColvarsSettings, pull: PullSettings, atoms: tuple[int, ...] | None = None
    ) -> ByColvars:
        """Return what acts on the variables.

        Raises:
            StructureError: an atom is none of the molecule, or a reference is another molecule.
        """
        del atoms
        size = len(molecule.numbers)
        wrong = [atom for atom in settings.atoms if not 0 <= atom < size]
        if wrong:
            count = "; a configuration of Colvars counts from 1" if isinstance(settings.bias, ColvarsSettings) else ""
            raise StructureError(
                f"The atoms of variables are atoms of the molecule, counted from 0 to {size - 1}; the variables "
                f"{', '.join(settings.names)} name {', '.join(map(str, wrong))}{count}."
            )
        terms = [term for variable in settings.variables for term in variable.terms]
        files = {term.rmsd.reference for term in terms if term.rmsd is not None}
        references = {file: _reference(file, molecule) for file in files}
        return ByColvars(molecule.numbers, molecule.positions[0], settings, pull, references)


def _reference(file: str, molecule: Frames) -> FloatArray:
    frames, _ = read_structure(Path(file))
    if not np.array_equal(frames.numbers, molecule.numbers):
        raise StructureError(
            f"A reference of an RMSD has the atoms of the molecule in its order; {file} has other ones: "
            f"{len(frames.numbers)} atoms, and the molecule {len(molecule.numbers)}."
        )
    return np.asarray(frames.positions[0])


KIND = ColvarsKind()
