"""Any differentiable coordinate, taken along by a harmonic restraint that moves at a constant rate.

For a coordinate ξ(x) with target R(t) = ξ(0) + v t and force constant k, the restraint adds the energy and the forces

    V(x, t) = k/2 (ξ(x) - R(t))²,     F = -k (ξ(x) - R(t)) ∂ξ/∂x,

and does the work W = ∫ ∂V/∂t dt = -∫ k (ξ - R) v dt (Park, Schulten, J. Chem. Phys. 2004, 120, 5946), summed step by
step. Here ξ is `Coordinate`, ∂ξ/∂x its gradient, R `target`, v `rate`, k `force_constant`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Protocol

from alflow.sampling.lammps import Simulation
from alflow.types import FloatArray, SteeringState

STATE = struct.Struct("<d")
"""What a restraint needs beside target and work: the coordinate at step 0."""


class Coordinate(Protocol):
    """A function of the positions."""

    @property
    def unit(self) -> str:
        """Unit of its values."""
        ...

    @property
    def atoms(self) -> tuple[int, ...]:
        """The atoms that it depends on."""
        ...

    def value(self, positions: FloatArray) -> FloatArray:
        """Return its values, (F,), at (F, A, 3) Å."""
        ...

    def gradient(self, positions: FloatArray) -> FloatArray:
        """Return its gradient, (A, 3) in its unit/Å, at (A, 3) Å."""
        ...


@dataclass
class MovingRestraint:
    """Acts on a coordinate; one instance serves one run."""

    coordinate: Coordinate
    rate_per_ps: float
    """Unit of the coordinate per ps; negative where it is to fall."""
    force_constant: float
    """eV per squared unit of the coordinate."""
    timestep_fs: float
    """fs."""
    _first: float = field(default=0.0, init=False)
    _target: float = field(default=0.0, init=False)
    _work: float = field(default=0.0, init=False)
    _entered: bool = field(default=False, init=False)
    """Whether the step that the run starts from has been counted."""

    @property
    def unit(self) -> str:
        """Unit of the coordinate."""
        return self.coordinate.unit

    @property
    def atoms(self) -> tuple[int, ...]:
        """The atoms that the coordinate depends on."""
        return self.coordinate.atoms

    def planned_change(self, steps: int) -> float:
        """Return by how much the target moves in so many steps."""
        return self.rate_per_ps * 1e-3 * self.timestep_fs * steps

    def value(self, positions: FloatArray) -> FloatArray:
        """Return the coordinate, (F,), of (F, A, 3) Å."""
        return self.coordinate.value(positions)

    def start(self, positions: FloatArray) -> SteeringState:
        """Return the state at step 0: the target is the coordinate as it is."""
        first = float(self.coordinate.value(positions[None])[0])
        return SteeringState(first, 0.0, b"")

    def restart_record(self, state: SteeringState) -> bytes:
        """Return nothing: LAMMPS keeps nothing of it."""
        del state
        return b""

    def attach(self, simulation: Simulation) -> None:
        """Add nothing to LAMMPS; forget what an earlier run left."""
        del simulation
        self._first = self._target = self._work = 0.0
        self._entered = False

    def restore(self, simulation: Simulation, state: SteeringState) -> None:
        """Go on from a state that `save` returned; positions, velocities and forces are set afterwards."""
        simulation.run(0)
        (self._first,) = STATE.unpack(state.opaque)
        self._target, self._work, self._entered = state.target, state.work, True

    def bias(self, step: int, positions: FloatArray) -> FloatArray:
        """Move the target, sum the work, and return the forces (A, 3) eV/Å."""
        before = float(self.coordinate.value(positions[None])[0])
        if not self._entered:
            self._first, self._target, self._entered = before, before, True
        else:
            self._target = self._first + self.planned_change(step)
        stretched = before - self._target
        self._work -= self.force_constant * stretched * self.planned_change(1) if step else 0.0
        return -self.force_constant * stretched * self.coordinate.gradient(positions)

    def read(self, simulation: Simulation) -> tuple[float, float]:
        """Return target and work (eV) at the present step."""
        del simulation
        return self._target, self._work

    def save(self, simulation: Simulation) -> SteeringState:
        """Return the state after a run."""
        del simulation
        return SteeringState(self._target, self._work, STATE.pack(self._first))
