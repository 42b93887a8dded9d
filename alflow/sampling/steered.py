"""Steered molecular dynamics: a trajectory whose coordinate is taken along, in segments that join without a seam.

What acts is a `Steering`. Each segment is a LAMMPS instance of its own; one that goes on has its steering restored,
then positions, velocities and forces of the last step put back, and runs on with no further set-up or evaluation.
"""

from __future__ import annotations

import numpy as np

from alflow.config.sampling import PullSettings
from alflow.sampling.lammps import Simulation
from alflow.sampling.md import berendsen, end_state, thermostatted_atoms
from alflow.sampling.record import Recorder, Span, Stop
from alflow.sampling.steering import Steering
from alflow.sampling.thermostat import langevin_forces
from alflow.types import Composition, FloatArray, ForceModel, MDState, Segment, SteeringState
from alflow.units import FS_IN_PS


def start_pull(state: MDState, steering: Steering) -> MDState:
    """Return the state as step 0 of a pull: the steering is at rest, its target the coordinate as it is."""
    return MDState(0, state.positions, state.velocities, steering.start(state.positions), state.start)


def pull_segment(
    force_model: ForceModel,
    composition: Composition,
    state: MDState,
    steering: Steering,
    settings: PullSettings,
    *,
    steps: int,
    stop: Stop | None = None,
    noise: int = 0,
) -> Segment:
    """Pull for a number of steps from where `start_pull` or the last segment ended.

    A geometry, energy or force that makes no sense ends the segment with a sentence in `stopped`; its end is then the
    last sound state, from which no segment can go on exactly.

    Args:
        force_model: gives energy, forces and spread. A `LabelError` of it ends the segment too; any other exception
            comes out of this function.
        composition: of the molecule.
        state: of the last step.
        steering: what acts; the thermostat of the paper leaves its atoms alone.
        settings: of the pull.
        steps: number of steps.
        stop: asked after each recorded step; a sentence ends the segment.
        noise: seed of the thermostat `langevin`: the same for all segments of a pull, and for its reference.

    Raises:
        StructureError: an atom of the steering is no atom of the molecule.
    """
    numbers = composition.numbers
    hot = settings.thermostat == "langevin"
    others = thermostatted_atoms(numbers, steering.atoms)
    args = (numbers, settings.temperature_k, settings.damping_fs, settings.timestep_fs, noise)
    thermostat = langevin_forces(*args) if hot else None
    span = Span(state.step, steps, settings.record_stride, settings.timestep_fs)
    velocities, forces, saved = _unpack(state)
    restart = b"" if saved is None else steering.restart_record(saved)
    with Simulation(numbers, settings.timestep_fs, step=state.step, restart=restart) as simulation:
        simulation.place(state.positions, velocities)
        if len(others) and not hot:
            simulation.group("others", others)
            simulation.command(berendsen("others", settings.temperature_k, settings.damping_fs))
        steering.attach(simulation)
        simulation.attach(_no_forces)  # after the fixes: its callback reads what they did in the same step
        recorder = Recorder(simulation, force_model, composition, span, begin=state, steering=steering, stop=stop)
        recorder.thermostat = thermostat
        if saved is not None:
            steering.restore(simulation, saved)
        simulation.place(state.positions, velocities, forces)
        simulation.attach(recorder)
        simulation.run(steps, go_on=saved is not None)
        return recorder.segment(_end(simulation, recorder, steering))


def _no_forces(_step: int, positions: FloatArray, _velocities: FloatArray, _other: FloatArray) -> FloatArray:
    return np.zeros_like(positions)


def _end(simulation: Simulation, recorder: Recorder, steering: Steering) -> MDState:
    """Return the state after the run, with all that the next segment needs."""
    end = end_state(simulation, recorder)
    if recorder.faulty:
        return MDState(end.step, end.positions, end.velocities, SteeringState(*steering.read(simulation)), end.start)
    _, velocities, forces = simulation.arrays()
    kept = velocities.tobytes() + forces.tobytes()
    saved = steering.save(simulation)
    packed = SteeringState(saved.target, saved.work, kept + saved.opaque)
    return MDState(end.step, end.positions, end.velocities, packed, end.start)


def _unpack(state: MDState) -> tuple[FloatArray, FloatArray | None, SteeringState | None]:
    """Return velocities (A, 3) in Å/ps and, if the pull has begun, forces (A, 3) in eV/Å and the steering's state."""
    found = state.steering
    if found is None or not found.opaque:
        return state.velocities / FS_IN_PS, None, None
    size = state.positions.nbytes
    shape = state.positions.shape
    velocities, forces = (np.frombuffer(found.opaque[i * size : (i + 1) * size]).reshape(shape) for i in (0, 1))
    return velocities, forces, SteeringState(found.target, found.work, found.opaque[2 * size :])
