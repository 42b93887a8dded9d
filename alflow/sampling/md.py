"""Molecular dynamics at a temperature, and the relaxation before a pull."""

from __future__ import annotations

import numpy as np

from alflow.config.sampling import MDSettings, RelaxSettings
from alflow.errors import RelaxationError, StructureError
from alflow.sampling.lammps import Simulation
from alflow.sampling.record import Recorder, Span
from alflow.sampling.velocities import thermal_velocities
from alflow.types import Composition, FloatArray, ForceModel, Frames, IntArray, MDState, Segment
from alflow.units import FS_IN_PS

LARGEST_SEED = 900_000_000
"""LAMMPS's random generators take seeds from 1 to this."""


def initial_state(frames: Frames, temperature_k: float, rng: np.random.Generator) -> MDState:
    """Return the first frame with Maxwell-Boltzmann velocities and neither net momentum nor rotation.

    Args:
        frames: one frame or more; the first is taken.
        temperature_k: K.
        rng: draws the velocities.
    """
    positions = frames.positions[0]
    return MDState(0, positions.copy(), thermal_velocities(frames.numbers, positions, temperature_k, rng))


def run_md(
    force_model: ForceModel,
    composition: Composition,
    state: MDState,
    settings: MDSettings,
    *,
    steps: int,
    seed: int,
) -> Segment:
    """Run Langevin dynamics from a state.

    The frame that the state holds is recorded if it is step 0: a stretch that follows another starts one step later.

    Args:
        force_model: gives energy and forces.
        composition: of the molecule.
        state: where it starts.
        settings: temperature, time step, stride, damping.
        steps: number of steps.
        seed: of the thermostat's noise, any non-negative number. A stretch that follows another draws noise of its own.
    """
    if state.step:
        seed = int(np.random.SeedSequence([seed, state.step]).generate_state(1)[0])
    span = Span(state.step, steps, settings.stride, settings.timestep_fs)
    with Simulation(composition.numbers, settings.timestep_fs, step=state.step) as simulation:
        simulation.command(langevin("all", settings.temperature_k, settings.damping_fs, seed))
        recorder = Recorder(simulation, force_model, composition, span, begin=state)
        simulation.attach(recorder)
        simulation.place(state.positions, state.velocities / FS_IN_PS)
        simulation.run(steps)
        return recorder.segment(end_state(simulation, recorder))


def relax(
    force_model: ForceModel,
    composition: Composition,
    positions: FloatArray,
    settings: RelaxSettings,
    rng: np.random.Generator,
    *,
    steered: tuple[int, ...] = (),
    forgiving: bool = True,
) -> MDState:
    """Relax a molecule at low temperature: Langevin, then Berendsen; the atoms to be steered feel neither.

    A force model under which the molecule flies apart gives back the unrelaxed start with its thermal velocities:
    the pull from there ends early and says why. That is for potentials that still learn; a label engine that fails once
    would leave a start that is not relaxed, and a pull that does not say so.

    Args:
        force_model: gives energy and forces.
        composition: of the molecule.
        positions: (A, 3) Å.
        settings: temperature, time step, steps of both stages, damping.
        rng: draws the velocities and the seed of the noise.
        steered: the atoms to be steered, which feel no thermostat.
        forgiving: give back the unrelaxed start where the force model fails.

    Raises:
        RelaxationError: the force model fails, and `forgiving` is not set.
    """
    begin = initial_state(Frames(composition, positions[None]), settings.temperature_k, rng)
    seed = int(rng.integers(LARGEST_SEED))
    others = thermostatted_atoms(composition.numbers, steered)
    stages = [
        (settings.langevin_steps, langevin("others", settings.temperature_k, settings.damping_fs, seed)),
        (settings.berendsen_steps, berendsen("others", settings.temperature_k, settings.damping_fs)),
    ]
    state = begin
    for steps, thermostat in stages:
        if steps:
            args = (force_model, composition, state, settings.timestep_fs, steps, others, thermostat)
            state, fault = _relaxation_stage(*args)
            if fault and forgiving:
                return begin
            if fault:
                raise RelaxationError(f"A relaxation has to reach its end: {fault}")
    return MDState(0, state.positions, state.velocities, start=state.start)


def _relaxation_stage(
    force_model: ForceModel,
    composition: Composition,
    state: MDState,
    timestep_fs: float,
    steps: int,
    others: IntArray,
    thermostat: str,
) -> tuple[MDState, str]:
    """Return the state after the steps, and why the trajectory had to end before, if it had to."""
    with Simulation(composition.numbers, timestep_fs, step=state.step) as simulation:
        if len(others):
            simulation.group("others", others)
            simulation.command(thermostat)
        span = Span(state.step, steps, steps, timestep_fs)
        recorder = Recorder(simulation, force_model, composition, span, begin=state)
        simulation.attach(recorder)
        simulation.place(state.positions, state.velocities / FS_IN_PS)
        simulation.run(steps)
        return end_state(simulation, recorder), recorder.stopped if recorder.faulty else ""


def end_state(simulation: Simulation, recorder: Recorder) -> MDState:
    """Return the state after a run; after a fault, the last that was sound."""
    if recorder.faulty:
        return recorder.last_sound()
    positions, velocities, _ = simulation.arrays()
    return MDState(simulation.step, positions.copy(), velocities * FS_IN_PS, start=recorder.start)


def thermostatted_atoms(numbers: IntArray, steered: tuple[int, ...]) -> IntArray:
    """Return (N,) the atoms that feel the thermostat: all that are not steered, and none if fewer than two are left.

    Raises:
        StructureError: a steered atom is named twice, or is no atom of the molecule.
    """
    atoms = np.arange(len(numbers), dtype=np.int64)
    if len(set(steered)) < len(steered) or not all(0 <= atom < len(numbers) for atom in steered):
        raise StructureError(
            f"The steered atoms must be different atoms of the molecule, counted from 0 to {len(numbers) - 1}; "
            f"found {', '.join(map(str, steered))}."
        )
    if not steered:
        return atoms
    others = np.delete(atoms, steered)
    return others if len(others) > 1 else others[:0]


def langevin(group: str, temperature_k: float, damping_fs: float, seed: int) -> str:
    """Return the LAMMPS command of a Langevin thermostat."""
    temperature, damping = float(temperature_k), damping_fs * FS_IN_PS
    return f"fix thermostat {group} langevin {temperature!r} {temperature!r} {damping!r} {seed % LARGEST_SEED + 1}"


def berendsen(group: str, temperature_k: float, damping_fs: float) -> str:
    """Return the LAMMPS command of a Berendsen thermostat."""
    temperature, damping = float(temperature_k), damping_fs * FS_IN_PS
    return f"fix thermostat {group} temp/berendsen {temperature!r} {temperature!r} {damping!r}"
