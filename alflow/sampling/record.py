"""Evaluates the force model at every step of a run, and records the frames that are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alflow.errors import InputError, LabelError
from alflow.sampling.lammps import Simulation
from alflow.sampling.sanity import evaluation_fault, motion_fault
from alflow.sampling.steering import Observing, Steering
from alflow.sampling.thermostat import Thermostat
from alflow.sampling.velocities import EV_PER_AMU_ANGSTROM2_PER_FS2, masses_amu, temperature
from alflow.types import Composition, Evaluation, FloatArray, ForceModel, Frames, MDState, Segment
from alflow.units import FS_IN_PS

Stop = Callable[[int, Evaluation], str]
"""(step, evaluation) -> why the trajectory ends after this step (a sentence), or an empty string."""


@dataclass(frozen=True)
class Span:
    """The steps of one run, and which of them are recorded."""

    first: int
    """Number of the step that the run starts from."""
    steps: int
    stride: int
    timestep_fs: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"A stretch of a trajectory has at least one step; {self.steps} were asked for.")

    def keeps(self, step: int) -> bool:
        """Tell whether a step is recorded; the step that a run starts from is the last run's, except the very first."""
        return step % self.stride == 0 and (step > self.first or step == 0)

    @property
    def capacity(self) -> int:
        """Number of frames that the whole run records."""
        last = self.first + self.steps
        return last // self.stride - self.first // self.stride + (self.first == 0)


class Recorder:
    """The callback of one run. It writes into arrays made beforehand, and ends the run on a fault."""

    def __init__(
        self,
        simulation: Simulation,
        force_model: ForceModel,
        composition: Composition,
        span: Span,
        *,
        begin: MDState,
        steering: Steering | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Make the arrays.

        Args:
            simulation: what it is attached to.
            force_model: gives energy, forces and spread.
            composition: of the molecule.
            span: the steps of the run.
            begin: the state that the run starts from.
            steering: what acts in the simulation beside the model, if anything does.
            stop: asked after each recorded step.
        """
        self._simulation, self._model, self._composition, self._span = simulation, force_model, composition, span
        self._steering, self._stop = steering, stop
        self._observing = steering if isinstance(steering, Observing) else None
        self.start = begin.start
        """What the force model's next evaluation starts from."""
        self.thermostat: Thermostat | None = None
        """Of all atoms, where it is none of LAMMPS's fixes."""
        self.stopped = ""
        """Why the run ended early."""
        self.faulty = False
        """Whether it ended at a step that is worth nothing."""
        shape = (span.capacity, len(composition), 3)
        self._positions, self._velocities, self._forces = np.empty(shape), np.empty(shape), np.empty(shape)
        self._model_forces = np.empty(shape)
        self._steps = np.empty(span.capacity, dtype=np.int64)
        self._scalars = np.zeros((4, span.capacity))  # energy, spread, target, work
        self._scalars[2] = np.nan
        observed = 0 if self._observing is None else len(self._observing.observed)
        self._observed = np.full((span.capacity, observed), np.nan)
        self._bias_energy = np.full(span.capacity, np.nan)
        self._rows = 0
        self._sound = (span.first, begin.positions, begin.velocities / FS_IN_PS)

    def __call__(
        self, step: int, positions: FloatArray, velocities: FloatArray, other_forces: FloatArray
    ) -> FloatArray:
        """Return the model's forces (A, 3) eV/Å; zeros, and an end of the run, on a fault."""
        x = positions.copy()
        evaluation = self._evaluate(step, x, velocities)
        if evaluation is None:
            return np.zeros_like(x)
        self.start = evaluation.start
        self._sound = (step, x, velocities.copy())
        bias = self._beside_the_model(step, x, velocities)
        if self._span.keeps(step):
            self._record(step, evaluation, other_forces if bias is None else other_forces + bias)
            if self._stop is not None:
                self._end(self._stop(step, evaluation))
        return evaluation.forces if bias is None else evaluation.forces + bias

    def _beside_the_model(self, step: int, positions: FloatArray, velocities: FloatArray) -> FloatArray | None:
        """Return the forces (A, 3) eV/Å that neither the model nor LAMMPS gives; None for none."""
        bias = None if self._steering is None else self._steering.bias(step, positions)
        if self.thermostat is None:
            return bias
        random = self.thermostat(step, velocities)
        return random if bias is None else bias + random

    def _evaluate(self, step: int, positions: FloatArray, velocities: FloatArray) -> Evaluation | None:
        """Return the model's evaluation, or None after a fault."""
        evaluation = None
        fault = self.stopped if self.faulty else motion_fault(step, positions, velocities)
        if not fault:
            try:
                evaluation = self._model(positions, self.start)
                fault = evaluation_fault(step, evaluation)
            except LabelError as error:
                fault = f"Each step needs forces; at step {step} the force model gave none ({error})."
        if fault:
            self.faulty = True
            self._end(fault)
            return None
        return evaluation

    def _end(self, reason: str) -> None:
        if reason:
            self.stopped = self.stopped or reason
            self._simulation.halt()

    def _record(self, step: int, evaluation: Evaluation, other_forces: FloatArray) -> None:
        row = self._rows
        _, self._positions[row], self._velocities[row] = self._sound
        if step == self._span.first:  # velocities are those of this very step
            self._forces[row] = 0.0
        else:
            np.add(other_forces, evaluation.forces, out=self._forces[row])
        self._model_forces[row] = evaluation.forces
        self._steps[row] = step
        self._scalars[0, row] = evaluation.energy
        self._scalars[1, row] = evaluation.spread
        if self._steering is not None:
            self._scalars[2:, row] = self._steering.read(self._simulation)
        if self._observing is not None:
            self._observed[row], self._bias_energy[row] = self._observing.observe(self._simulation)
        self._rows = row + 1

    def last_sound(self) -> MDState:
        """Return the last step that had forces; its velocities are half a step older."""
        step, positions, velocities = self._sound
        return MDState(step, positions, velocities * FS_IN_PS, start=self.start)

    def segment(self, end: MDState) -> Segment:
        """Return what was recorded.

        Args:
            end: the state after the last step.
        """
        rows = slice(self._rows)
        positions = self._positions[rows].copy()
        energy, spread, target, work = (values[rows].copy() for values in self._scalars)
        coordinate = np.full(self._rows, np.nan)
        if self._observing is not None:
            coordinate = self._observed[rows, 0].copy()
        elif self._steering is not None:
            coordinate = self._steering.value(positions)
        steps = self._steps[rows].copy()
        return Segment(
            frames=Frames(self._composition, positions),
            steps=steps,
            time=steps.astype(np.float64) * self._span.timestep_fs,
            target=target,
            coordinate=coordinate,
            energy=energy,
            work=work,
            spread=spread,
            temperature=self._temperature(rows),
            end=end,
            stopped=self.stopped,
            forces=self._model_forces[rows].copy(),
            variables=None if self._observing is None else self._observed[rows].copy(),
            bias_energy=None if self._observing is None else self._bias_energy[rows].copy(),
        )

    def _temperature(self, rows: slice) -> FloatArray:
        """Return (F,) K at full steps, before the thermostat acts: v(t) = v(t - dt/2) + dt/2 · F(t)/m."""
        inverse_mass = 1.0 / (masses_amu(self._composition.numbers) * EV_PER_AMU_ANGSTROM2_PER_FS2)
        kick = 0.5 * self._span.timestep_fs * self._forces[rows] * inverse_mass[:, None]
        return temperature(self._composition.numbers, self._velocities[rows] * FS_IN_PS + kick)
