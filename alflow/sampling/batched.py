"""Many pulls of one molecule that advance together, with one batched evaluation of the force model a step.

A step is that of `steered.pull_segment` with the coordinate `distance`, in torch on one device: velocity Verlet, the
spring of LAMMPS's `fix smd cvel`, and its Berendsen thermostat on all atoms but the pulled ones,

    v ← v + (Δt/2) F/m,   r ← r + Δt v,   F ← F_model(r) ± k (R - d) along the line,   v ← v + (Δt/2) F/m,
    v ← v sqrt(1 + (Δt/τ) (T₀/T - 1)),   R ← R + Ṙ Δt,   work ← work + k (R - d) Ṙ Δt,

with positions and velocities in double precision. Nothing is asked back from the device within a step, so that a step
is one launch of a CUDA graph. A replica that has gone wrong stays as it was at its last sound step; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from alflow.config.sampling import PullSettings
from alflow.cudagraph import captured
from alflow.errors import InputError
from alflow.sampling.batchedstate import Constants, Replicas, Tried, too_far
from alflow.sampling.coordinates.distance import Distance
from alflow.sampling.record import Span
from alflow.sampling.sanity import DISTANCES_EVERY, evaluation_fault, motion_fault
from alflow.types import Composition, Evaluation, FloatArray, Frames, IntArray, MDState, Segment, SteeringState
from alflow.units import FS_IN_PS

STRETCH = 50
"""Steps between two looks at the device: were lists of neighbours long enough, and are replicas left."""


class BatchedForceModel(Protocol):
    """What drives R replicas of one composition."""

    device: torch.device

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies (R,) eV, forces (R, A, 3) eV/Å and spreads (R,) eV at (R, A, 3) Å, in double precision."""
        ...

    def fits(self) -> bool:
        """Say whether all calls so far were right: a model with lists of fixed length may have met longer ones."""
        ...

    def make_room(self, positions: FloatArray | None = None) -> None:
        """Lengthen the lists: for what was met, or for structures (R, A, 3) Å."""
        ...


class Batchable(Protocol):
    """An ensemble that evaluates many structures at once."""

    def batched_force_model(
        self, composition: Composition, driver: int | Literal["mean"], device: torch.device
    ) -> BatchedForceModel:
        """Return what drives many trajectories of one composition together.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        ...


@dataclass(frozen=True)
class BatchedPull:
    """What a batch of pulls gave."""

    segments: tuple[Segment, ...]
    """One for each replica; its end is where the next batch may go on."""
    eager: str
    """Why steps were no CUDA graphs; empty if they were."""


def pull_together(
    model: BatchedForceModel,
    composition: Composition,
    states: Sequence[MDState],
    spring: Distance,
    settings: PullSettings,
    *,
    steps: int,
    alive: Callable[[], None] = lambda: None,
) -> BatchedPull:
    """Pull R replicas of one molecule for a number of steps, from where `start_pull` or the last batch ended.

    A replica whose geometry, energy or forces make no sense ends with a sentence in `stopped`, at its last sound state.

    Args:
        model: gives energies, forces and spreads.
        composition: of the molecule.
        states: of the replicas, all at the same step.
        spring: pulls; the thermostat leaves its atoms alone.
        settings: of the pull.
        steps: number of steps.
        alive: called before each stretch of steps, and before a step is recorded as a graph.

    Raises:
        InputError: there are no states, they are at different steps, or one has ended before.
    """
    runner = BatchedRunner(model, composition, states, spring, settings, steps=steps, alive=alive)
    runner.begin()
    runner.advance()
    return BatchedPull(runner.segments(), runner.eager)


class BatchedRunner:
    """Replicas on their device, what is recorded of them, and the step."""

    def __init__(
        self,
        model: BatchedForceModel,
        composition: Composition,
        states: Sequence[MDState],
        spring: Distance,
        settings: PullSettings,
        *,
        steps: int,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """See `pull_together`."""
        _check(states)
        self._alive = alive
        self._model, self._composition, self._spring, self._settings = model, composition, spring, settings
        self._span = Span(states[0].step, steps, settings.record_stride, settings.timestep_fs)
        self._constants = Constants.of(composition, spring, settings, model.device)
        self._now = Replicas.of(states, spring, model.device)
        self._tried = Tried.like(self._now)
        self._kept: list[Tensor] = [self._rows(value) for value in self._now.recorded()]
        self._steps: list[int] = []
        self.eager = ""
        model.make_room(self._now.positions.cpu().numpy())

    def _rows(self, value: Tensor) -> Tensor:
        return torch.empty((self._span.capacity, *value.shape), dtype=value.dtype, device=value.device)

    def begin(self) -> None:
        """Evaluate the state that the run starts from, and record the step as a graph."""
        self._first()
        self._capture()

    def advance(self) -> None:
        """Run all steps."""
        step, last = self._span.first, self._span.first + self._span.steps
        while step < last:
            stop = min(last, step + STRETCH)
            self._alive()
            before, rows = self._now.copy(), len(self._steps)
            for number in range(step + 1, stop + 1):
                self._looking() if number % DISTANCES_EVERY == 0 else self._plain()
                self._record(number)
            if not self._model.fits():
                self._now.restore(before)
                del self._steps[rows:]
                self._model.make_room()
                self._capture()
                continue
            step = stop
            if not bool(self._now.sound.any()):
                return

    def _first(self) -> None:
        """Evaluate the state that the run starts from, as `setup` of LAMMPS does; the very first step is recorded."""
        if self._span.first:  # a state holds the target of the step that follows it
            self._now.targets.sub_(self._constants.growth)
        before = self._now.copy()
        self._evaluate(self._now.positions, self._now.velocities)
        while not self._model.fits():
            self._now.restore(before)
            self._model.make_room()
            self._evaluate(self._now.positions, self._now.velocities)
        self._record(self._span.first)

    def _capture(self) -> None:
        """Record the step, with and without a look at the distances."""
        self._alive()
        before = self._now.copy()
        self._plain, self.eager = captured(partial(self._step, look=False), self._model.device)
        self._looking, eager = captured(partial(self._step, look=True), self._model.device)
        self.eager = self.eager or eager
        self._now.restore(before)

    def _step(self, *, look: bool) -> None:
        now, constants, dt = self._now, self._constants, self._settings.timestep_fs
        half = now.velocities + 0.5 * dt * now.forces * constants.inverse_masses
        now.step.add_(1)
        self._evaluate(now.positions + dt * half, half, look=look, kick=0.5 * dt)

    @torch.no_grad()
    def _evaluate(self, positions: Tensor, velocities: Tensor, *, look: bool = True, kick: float = 0.0) -> None:
        """Evaluate model and spring, finish the step, and take it over for the replicas that are sound.

        Args:
            positions: (R, A, 3) Å.
            velocities: (R, A, 3) Å/fs, half a step behind.
            look: whether atoms that have left or collapsed end a replica.
            kick: fs for which the forces act on the velocities; 0 for the state that a run starts from.
        """
        now, constants = self._now, self._constants
        sound = now.sound & (velocities.square().sum(-1) < constants.fastest**2).all(-1)
        if look:
            sound = sound & ~too_far(positions)
        energies, forces, spreads = self._model(positions)
        sound = sound & energies.isfinite() & forces.isfinite().flatten(1).all(-1)
        ending = now.sound & ~sound
        self._tried.keep(ending, positions, velocities, energies, forces)
        now.ended.copy_(torch.where(ending, now.step, now.ended))
        pulls, lines = constants.spring(positions, now.targets)
        total = forces + pulls[:, None, None] * lines
        velocities = velocities + kick * total * constants.inverse_masses
        now.take(
            sound,
            positions=positions,
            velocities=velocities * constants.damping(velocities)[..., None] if kick else velocities,
            forces=total,
            model_forces=forces,
            energies=energies,
            spreads=spreads,
            targets=now.targets + constants.growth,
            work=now.work + pulls * constants.growth if kick else now.work,
            temperatures=constants.temperatures(velocities),
        )

    def _record(self, step: int) -> None:
        if not self._span.keeps(step):
            return
        for rows, value in zip(self._kept, self._now.recorded(), strict=True):
            rows[len(self._steps)].copy_(value)
        self._steps.append(step)

    def segments(self) -> tuple[Segment, ...]:
        """Return what was recorded, one segment a replica."""
        steps = np.array(self._steps, dtype=np.int64)
        kept = [rows[: len(steps)].cpu().numpy() for rows in self._kept]
        ended = self._now.ended.cpu().numpy()
        last = self._span.first + self._span.steps
        return tuple(
            self._segment(r, steps[steps < end] if end >= 0 else steps, kept, int(end), last)
            for r, end in enumerate(ended.tolist())
        )

    def _segment(self, r: int, steps: IntArray, kept: list[FloatArray], ended: int, last: int) -> Segment:
        positions, forces, energy, spread, target, work, temperature = (
            np.ascontiguousarray(rows[: len(steps), r]) for rows in kept
        )
        now = self._now
        place, speed = (value[r].cpu().numpy() for value in (now.positions, now.velocities))
        steering = SteeringState(float(now.targets[r]), float(now.work[r]))
        return Segment(
            frames=Frames(self._composition, positions),
            steps=steps,
            time=steps.astype(np.float64) * self._span.timestep_fs,
            target=target,
            coordinate=self._spring.value(positions),
            energy=energy,
            work=work,
            spread=spread,
            temperature=temperature,
            end=MDState(max(ended - 1, self._span.first) if ended >= 0 else last, place, speed, steering),
            stopped=self._fault(r, ended) if ended >= 0 else "",
            forces=forces,
        )

    def _fault(self, r: int, step: int) -> str:
        """Return what was wrong with a replica at a step: the sentence of a single pull."""
        tried = self._tried
        place, speed, forces = (value[r].cpu().numpy() for value in (tried.positions, tried.velocities, tried.forces))
        found = motion_fault(step, place, speed / FS_IN_PS)
        return found or evaluation_fault(step, Evaluation(float(tried.energies[r]), forces))


def _check(states: Sequence[MDState]) -> None:
    """Refuse what cannot advance together."""
    if not states:
        raise InputError("A batch of pulls has at least one replica; none was given.")
    steps = sorted({state.step for state in states})
    if len(steps) > 1:
        raise InputError(f"Replicas advance together from one step; these are at {steps}. Pull them in batches of one.")
    without = [r for r, state in enumerate(states) if state.steering is None or state.steering.opaque]
    if without:
        raise InputError(
            f"A batch of pulls goes on from `start_pull` or from the end of a batch; replica {without[0]} comes from "
            "elsewhere. A pull that LAMMPS began goes on in LAMMPS."
        )
