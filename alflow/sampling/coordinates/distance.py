"""The distance of two atoms, pulled by LAMMPS's `fix smd`.

The spring pulls two atoms with F = k (R(t) - r) along their line, and R grows by v·dt a step. LAMMPS sums the work as
-Σ F v dt (`fix smd`, potential of mean force; `cvel ... couple`).

A cut must not change a bit, and two facts stand against it: every `run` that sets up its fixes takes R from the present
distance of the two atoms, and evaluates the spring once more. So a segment that goes on reads LAMMPS's restart record
(which holds the work), sets up with the two atoms put exactly R - v·dt apart, where the spring is at rest and adds no
work, and ends that set-up with R.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alflow.config.base import Settings
from alflow.config.sampling import PullSettings
from alflow.errors import AlflowError, StructureError
from alflow.sampling.lammps import SPRING_POTENTIAL_OF_MEAN_FORCE, SPRING_TARGET, Simulation
from alflow.sampling.steering import CoordinateKind
from alflow.sampling.velocities import masses_amu
from alflow.structures import end_carbons
from alflow.types import FloatArray, Frames, IntArray, SteeringState
from alflow.units import FS_IN_PS

SPRING = "spring"
ULPS_TRIED = 8


class DistanceSettings(Settings):
    """The distance of two atoms: those of `system.pulled_atoms`, or the end carbons. `sampling.pull` has the rest."""


@dataclass(frozen=True)
class Distance:
    """A spring between two atoms whose rest length grows."""

    numbers: IntArray
    """(A,) atomic numbers."""
    pair: tuple[int, int]
    """The two atoms, counted from 0."""
    pull: PullSettings

    @property
    def unit(self) -> str:
        """Unit of the coordinate."""
        return "Å"

    @property
    def atoms(self) -> tuple[int, ...]:
        """The two atoms."""
        return self.pair

    @property
    def growth(self) -> float:
        """Growth of the target in one step, Å."""
        return self.pull.rate_angstrom_per_ps * (self.pull.timestep_fs * FS_IN_PS)

    def planned_change(self, steps: int) -> float:
        """Return the growth of the target in so many steps, Å."""
        return self.pull.rate_angstrom_per_ps * 1e-3 * self.pull.timestep_fs * steps

    def value(self, positions: FloatArray) -> FloatArray:
        """Return the distances (F,) Å of (F, A, 3) Å."""
        return np.asarray(np.linalg.norm(positions[:, self.pair[1]] - positions[:, self.pair[0]], axis=1))

    def start(self, positions: FloatArray) -> SteeringState:
        """Return the spring at rest, its target the distance at (A, 3) Å."""
        return SteeringState(float(np.linalg.norm(positions[self.pair[1]] - positions[self.pair[0]])), 0.0)

    def restart_record(self, state: SteeringState) -> bytes:
        """Return LAMMPS's record, which holds the work."""
        return state.opaque

    def attach(self, simulation: Simulation) -> None:
        """Add the spring."""
        for name, atom in zip(("left", "right"), self.pair, strict=True):
            simulation.group(name, np.array([atom]))
        stiffness, rate = float(self.pull.spring_ev_per_angstrom2), float(self.pull.rate_angstrom_per_ps)
        simulation.command(f"fix {SPRING} left smd cvel {stiffness!r} {rate!r} couple right auto auto auto 0.0")

    def restore(self, simulation: Simulation, state: SteeringState) -> None:
        """Set up the fixes such that the spring has the target and the work that the state carries, to the last bit.

        Raises:
            AlflowError: it has not: another version of LAMMPS may do its sums in another order.
        """
        previous = _previous_target(state.target, self.growth)
        left, right = masses_amu(self.numbers)[list(self.pair)]
        positions = np.zeros((len(self.numbers), 3))
        positions[self.pair[0], 0], positions[self.pair[1], 0] = _places_apart(previous, float(left), float(right))
        simulation.place(positions, np.zeros_like(positions))
        simulation.run(0)
        target, work = self.read(simulation)
        if (target, work) != (state.target, state.work):
            raise AlflowError(
                f"A segment must start with the spring that the last one left (target {state.target!r} Å, work "
                f"{state.work!r} eV); LAMMPS restored {target!r} Å and {work!r} eV at step {simulation.step}."
            )

    def bias(self, step: int, positions: FloatArray) -> None:
        """Return nothing: the fix gives the forces."""

    def read(self, simulation: Simulation) -> tuple[float, float]:
        """Return target (Å) and work (eV), LAMMPS's own: the target is already that of the next step."""
        target = simulation.fix_value(SPRING.encode(), SPRING_TARGET)
        return target, 0.0 - simulation.fix_value(SPRING.encode(), SPRING_POTENTIAL_OF_MEAN_FORCE)

    def save(self, simulation: Simulation) -> SteeringState:
        """Return target, work and LAMMPS's restart record."""
        target, work = self.read(simulation)
        return SteeringState(target, work, simulation.restart_record())


class DistanceKind(CoordinateKind[DistanceSettings]):
    """The coordinate `distance`."""

    settings = DistanceSettings

    def bind(
        self,
        molecule: Frames,
        settings: DistanceSettings,  # noqa: ARG002 - there are none
        pull: PullSettings,
        atoms: tuple[int, ...] | None = None,
    ) -> Distance:
        """Return the spring between two atoms, the end carbons if none are named.

        Raises:
            StructureError: they are not two atoms of the molecule.
        """
        pair = atoms or end_carbons(molecule.numbers)
        size = len(molecule.numbers)
        if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= atom < size for atom in pair):
            raise StructureError(
                f"The pulled atoms must be two atoms of the molecule, counted from 0 to {size - 1}; found {list(pair)}."
            )
        return Distance(molecule.numbers, (int(pair[0]), int(pair[1])), pull)


KIND = DistanceKind()


def _previous_target(target: float, growth: float) -> float:
    """Return the number to which adding `growth` gives `target` to the last bit."""
    return next((value for value in _neighbours(target - growth) if value + growth == target), target - growth)


def _places_apart(distance: float, left_mass: float, right_mass: float) -> tuple[float, float]:
    """Return x of two atoms whose centres of mass, as LAMMPS computes them (x·m/m), differ by exactly `distance`."""
    for right in _neighbours(distance):
        centre = right * right_mass / right_mass
        left = centre - distance
        if centre - left * left_mass / left_mass == distance:
            return left, right
    return 0.0, distance


def _neighbours(value: float) -> list[float]:
    """Return the floating-point numbers around a value, nearest first."""
    found = [value]
    up = down = value
    for _ in range(ULPS_TRIED):
        up, down = math.nextafter(up, math.inf), math.nextafter(down, -math.inf)
        found += [up, down]
    return found
