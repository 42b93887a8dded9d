"""Steered molecular dynamics by LAMMPS's `fix smd`, in segments that join without a seam.

The spring pulls two atoms with F = k (R(t) - r) along their line, and R grows by v·dt a step. LAMMPS sums the work as
-Σ F v dt (`fix smd`, potential of mean force; `cvel ... couple`).

A segment is a LAMMPS instance of its own, and a cut must not change a bit. Two facts stand against it: every `run` that
sets up its fixes takes R from the present distance of the two atoms, and evaluates the spring once more. So a segment
that goes on reads LAMMPS's restart record (which holds the work), sets up with the two atoms put exactly R - v·dt
apart, where the spring is at rest and adds no work, and ends that set-up with R. Then positions, velocities
and forces of the last step are put back, and the run goes on from them with no further set-up or evaluation.
"""

from __future__ import annotations

import math

import numpy as np

from alflow.config.sampling import PullSettings
from alflow.errors import AlflowError
from alflow.sampling.lammps import SPRING_POTENTIAL_OF_MEAN_FORCE, SPRING_TARGET, Simulation
from alflow.sampling.md import berendsen, end_state, thermostatted_atoms
from alflow.sampling.record import Recorder, Span, Stop
from alflow.sampling.velocities import masses_amu
from alflow.types import FloatArray, ForceModel, IntArray, MDState, Segment, SpringState
from alflow.units import FS_IN_PS

SPRING = "spring"
ULPS_TRIED = 8


def start_pull(state: MDState, pair: tuple[int, int], settings: PullSettings) -> MDState:  # noqa: ARG001 - symmetry
    """Return the state as step 0 of a pull: the spring is at rest, its target the distance of the pair."""
    distance = float(np.linalg.norm(state.positions[pair[1]] - state.positions[pair[0]]))
    return MDState(0, state.positions, state.velocities, SpringState(distance, 0.0), state.start)


def pull_segment(
    force_model: ForceModel,
    numbers: IntArray,
    state: MDState,
    pair: tuple[int, int],
    settings: PullSettings,
    *,
    steps: int,
    stop: Stop | None = None,
    charge: int = 0,
) -> Segment:
    """Pull for a number of steps from where `start_pull` or the last segment ended.

    Target distance and work are LAMMPS's own: at each step, its target is already that of the next step.
    A geometry, energy or force that makes no sense ends the segment with a sentence in `stopped`; its end is then the
    last sound state, from which no segment can go on exactly.

    Args:
        force_model: gives energy, forces and spread. A `LabelError` of it ends the segment too; any other exception
            comes out of this function.
        numbers: (A,) atomic numbers.
        state: of the last step.
        pair: the two pulled atoms, counted from 0; the thermostat leaves them alone.
        settings: of the pull.
        steps: number of steps.
        stop: asked after each recorded step; a sentence ends the segment.
        charge: of the recorded frames.

    Raises:
        StructureError: the pair are not two atoms of the molecule.
    """
    others = thermostatted_atoms(numbers, pair)
    span = Span(state.step, steps, settings.record_stride, settings.timestep_fs)
    velocities, forces, restart = _unpack(state)
    with Simulation(numbers, settings.timestep_fs, step=state.step, restart=restart) as simulation:
        _add_fixes(simulation, others, pair, settings)
        recorder = Recorder(simulation, force_model, numbers, span, begin=state, spring=SPRING.encode(), stop=stop)
        if restart:
            _restore_spring(simulation, state, numbers, pair, settings)
        simulation.place(state.positions, velocities, forces)
        simulation.attach(recorder)
        simulation.run(steps, go_on=bool(restart))
        return recorder.segment(_end(simulation, recorder), charge, pair)


def _add_fixes(simulation: Simulation, others: IntArray, pair: tuple[int, int], settings: PullSettings) -> None:
    """Add the thermostat and the spring, then the forces: their callback reads what the spring did in the same step."""
    if len(others):
        simulation.group("others", others)
        simulation.command(berendsen("others", settings.temperature_k, settings.damping_fs))
    for name, atom in zip(("left", "right"), pair, strict=True):
        simulation.group(name, np.array([atom]))
    stiffness, rate = float(settings.spring_ev_per_angstrom2), float(settings.rate_angstrom_per_ps)
    simulation.command(f"fix {SPRING} left smd cvel {stiffness!r} {rate!r} couple right auto auto auto 0.0")
    simulation.attach(_no_forces)


def _no_forces(_step: int, positions: FloatArray, _velocities: FloatArray, _other: FloatArray) -> FloatArray:
    return np.zeros_like(positions)


def _end(simulation: Simulation, recorder: Recorder) -> MDState:
    """Return the state after the run, with all that the next segment needs."""
    end = end_state(simulation, recorder)
    target = simulation.fix_value(SPRING.encode(), SPRING_TARGET)
    work = 0.0 - simulation.fix_value(SPRING.encode(), SPRING_POTENTIAL_OF_MEAN_FORCE)
    opaque = b""
    if not recorder.faulty:
        _, velocities, forces = simulation.arrays()
        opaque = velocities.tobytes() + forces.tobytes() + simulation.restart_record()
    return MDState(end.step, end.positions, end.velocities, SpringState(target, work, opaque), end.start)


def _unpack(state: MDState) -> tuple[FloatArray, FloatArray | None, bytes]:
    """Return velocities (A, 3) in Å/ps, and forces (A, 3) in eV/Å and restart record if the pull has begun."""
    opaque = state.spring.opaque if state.spring is not None else b""
    if not opaque:
        return state.velocities / FS_IN_PS, None, b""
    size = state.positions.nbytes
    shape = state.positions.shape
    velocities, forces = (np.frombuffer(opaque[i * size : (i + 1) * size]).reshape(shape) for i in (0, 1))
    return velocities, forces, opaque[2 * size :]


def _restore_spring(
    simulation: Simulation, state: MDState, numbers: IntArray, pair: tuple[int, int], settings: PullSettings
) -> None:
    """Set up the fixes such that the spring has the target and the work that the state carries, to the last bit.

    Raises:
        AlflowError: it has not: another version of LAMMPS may do its sums in another order.
    """
    assert state.spring is not None
    growth = settings.rate_angstrom_per_ps * (settings.timestep_fs * FS_IN_PS)
    previous = _previous_target(state.spring.target_distance, growth)
    left, right = masses_amu(numbers)[list(pair)]
    positions = np.zeros_like(state.positions)
    positions[pair[0], 0], positions[pair[1], 0] = _places_apart(previous, float(left), float(right))
    simulation.place(positions, np.zeros_like(positions))
    simulation.run(0)
    target = simulation.fix_value(SPRING.encode(), SPRING_TARGET)
    work = 0.0 - simulation.fix_value(SPRING.encode(), SPRING_POTENTIAL_OF_MEAN_FORCE)
    if (target, work) != (state.spring.target_distance, state.spring.work):
        raise AlflowError(
            f"A segment must start with the spring that the last one left (target {state.spring.target_distance!r} Å, "
            f"work {state.spring.work!r} eV); LAMMPS restored {target!r} Å and {work!r} eV at step {state.step}."
        )


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
