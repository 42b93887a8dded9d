"""Colvars inside a LAMMPS instance, driven by its script commands. Only one instance of a process can have it."""

from __future__ import annotations

import ctypes

import numpy as np

from alflow.errors import AlflowError
from alflow.sampling.lammps import Simulation
from alflow.types import FloatArray

FIX = "colvars"
OUTPUT = "out"
NOISE = 900_000_000
"""LAMMPS's random generators take seeds from 1 to this."""


def add_colvars(simulation: Simulation, *, seed: int = 0, temperature_k: float = 0.0) -> None:
    """Add Colvars to an instance; what it writes goes where the instance keeps its temporary files.

    Args:
        simulation: that it is added to; one that was made from a restart record has its state.
        seed: of the noise of extended variables.
        temperature_k: that some biases go by, K.
    """
    place = simulation.scratch / OUTPUT
    simulation.command(f'fix {FIX} all colvars none output "{place}" seed {seed % NOISE + 1}')
    if temperature_k:
        script(simulation, "targettemperature", repr(float(temperature_k)))


def script(simulation: Simulation, *words: str) -> str:
    """Run a script command of Colvars and return its result.

    Raises:
        AlflowError: it fails, with Colvars' words.
    """
    run, result = simulation.library.run_colvarscript_command, simulation.library.get_colvarscript_result
    result.restype = ctypes.c_char_p
    given = (ctypes.c_char_p * (len(words) + 1))(b"cv", *(word.encode() for word in words))
    failed = run(len(words) + 1, given)
    found = (result() or b"").decode(errors="replace")
    if failed:
        raise AlflowError(f"Colvars refuses the command {' '.join(words)[:80]!r}: {found.strip()}")
    return found


def configure(simulation: Simulation, text: str) -> None:
    """Give a configuration; Colvars reads it when the instance is set up next."""
    script(simulation, "config", text)


def values(simulation: Simulation, names: tuple[str, ...]) -> FloatArray:
    """Return the variables at the present step, (V,); one that is no number is not-a-number.

    Of extended variables, Colvars shows itself what moves (`r_` and the name) beside the variable.
    """
    if not any(name.startswith("r_") for name in names):
        return np.array([_number(script(simulation, "colvar", name, "value")) for name in names])
    frame = dict(zip(_labels(simulation), script(simulation, "printframe").split(), strict=True))
    return np.array([_number(frame[name]) for name in names])


def _labels(simulation: Simulation) -> list[str]:
    return script(simulation, "printframelabels").removeprefix("#").split()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def bias_energy(simulation: Simulation) -> float:
    """Return the energy of all biases at the present step, eV."""
    return simulation.fix_energy(FIX.encode())


def accumulated_work(simulation: Simulation) -> float:
    """Return the work of all moving restraints so far, eV; not-a-number where Colvars sums none."""
    labels = _labels(simulation)
    columns = [place for place, label in enumerate(labels) if label.startswith("W_")]
    if not columns:
        return float("nan")
    found = script(simulation, "printframe").split()
    return float(sum(_number(found[place]) for place in columns)) if len(found) == len(labels) else float("nan")
