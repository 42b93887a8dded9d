"""Steering of trajectories: the protocol of what acts in a run, the kinds that make it, and how a task names one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

from alflow.config.base import Settings
from alflow.config.colvars import ByColvarsSettings
from alflow.config.plugins import COORDINATES, Kind, find_installed
from alflow.config.sampling import PullSettings
from alflow.sampling.lammps import Simulation
from alflow.types import FloatArray, Frames, SteeringState

SettingsT = TypeVar("SettingsT", bound=Settings)


class Steering(Protocol):
    """Acts on one molecule along one coordinate ξ, whose target moves.

    A segment of a trajectory is a LAMMPS instance of its own. It calls, in this order: `restart_record`, `attach`,
    `restore` if the state is not that of step 0, then in each step `bias` and, where the step is recorded, `read`; and
    `save` at its end. A cut must not change a bit.
    """

    @property
    def unit(self) -> str:
        """Unit of ξ, such as "Å", "°" or "1"."""
        ...

    @property
    def atoms(self) -> tuple[int, ...]:
        """The atoms that define ξ: the thermostat leaves them alone."""
        ...

    def planned_change(self, steps: int) -> float:
        """Return by how much the target moves in so many steps, in the unit of ξ; negative where ξ falls."""
        ...

    def value(self, positions: FloatArray) -> FloatArray:
        """Return ξ, (F,), of (F, A, 3) Å."""
        ...

    def start(self, positions: FloatArray) -> SteeringState:
        """Return the state at step 0, at (A, 3) Å: at rest, no work done."""
        ...

    def restart_record(self, state: SteeringState) -> bytes:
        """Return LAMMPS's own restart record if the state holds one: the instance is then made from it."""
        ...

    def attach(self, simulation: Simulation) -> None:
        """Add the fixes that act, if any, to a new instance."""
        ...

    def restore(self, simulation: Simulation, state: SteeringState) -> None:
        """Put the steering into a state that `save` returned, and set the instance up (`run 0`) to go on from it.

        Positions, velocities and forces are set afterwards.
        """
        ...

    def bias(self, step: int, positions: FloatArray) -> FloatArray | None:
        """Return the forces (A, 3) eV/Å of this step at (A, 3) Å; None where fixes of LAMMPS give them."""
        ...

    def read(self, simulation: Simulation) -> tuple[float, float]:
        """Return the target, and the work done so far in eV, at the present step."""
        ...

    def save(self, simulation: Simulation) -> SteeringState:
        """Return the state after a run. Nothing can be run after this."""
        ...


@runtime_checkable
class Observing(Protocol):
    """A steering that has more to record than one coordinate. Its `value` cannot be asked for during a run."""

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of what is recorded; ξ is the first."""
        ...

    def observe(self, simulation: Simulation) -> tuple[FloatArray, float]:
        """Return what is recorded, (V,), and the energy of the bias in eV, at the present step."""
        ...


class CoordinateKind(Kind[SettingsT]):
    """A kind of coordinate: makes the steering of a molecule."""

    def bind(
        self, molecule: Frames, settings: SettingsT, pull: PullSettings, atoms: tuple[int, ...] | None = None
    ) -> Steering:
        """Return what steers this molecule.

        Args:
            molecule: one frame, the starting structure.
            settings: of the kind.
            pull: length, time step and rate of the trajectory.
            atoms: the atoms that the campaign names (`system.pulled_atoms`); None if it names none.

        Raises:
            StructureError: the molecule does not have what the coordinate needs.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SteeringReference:
    """Names a steering, for a task that makes it where it runs."""

    kind: str
    """Of coordinate, as in the campaign file."""
    settings: Settings
    molecule: Frames
    """One frame: the starting structure."""
    atoms: tuple[int, ...] | None = None
    """See `CoordinateKind.bind`."""

    def in_window(self, window: int) -> SteeringReference:
        """Return the same of another window, where there are several."""
        if not isinstance(self.settings, ByColvarsSettings) or self.settings.window == window:
            return self
        return replace(self, settings=self.settings.model_copy(update={"window": window}))

    def bind(self, pull: PullSettings) -> Steering:
        """Return the steering."""
        kind: CoordinateKind[Settings] = find_installed(COORDINATES, self.kind)
        return kind.bind(self.molecule, self.settings, pull, self.atoms)
