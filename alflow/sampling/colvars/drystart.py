"""A dry start of variables and bias in a short child process, before anything is submitted.

What Colvars does not like, it ends LAMMPS for, and now and then the process: a child can bear that. It starts one step
from the structure and tells what it found, and this process says in a sentence what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import alflow
from alflow.config.bias import ColvarsSettings, EabfSettings, MetadynamicsSettings, SteeredSettings, UmbrellaSettings
from alflow.config.colvars import ByColvarsSettings
from alflow.config.sampling import PullSettings
from alflow.errors import ConfigError
from alflow.files.scratch import plain_scratch
from alflow.sampling.steering import SteeringReference
from alflow.types import FloatArray

PATIENCE_S = 120.0
DISPLACED_ANGSTROM = 1e-4
CHECKED_ATOMS = 40
"""Of a variable of more atoms, these are moved to see whether it changes."""
LARGEST_FIRST_ENERGY_EV = 1.0
"""A restraint that begins with more is far from the start: 1 eV is 12000 K of one mode."""
LOG, CONFIGURATION = "log", "configuration"
CHILD = "from alflow.sampling.colvars.drystart import main; main()"


@dataclass(frozen=True)
class DryStart:
    """What the child found at the start."""

    values: FloatArray
    """(V,) of the variables."""
    forward: FloatArray
    """(D, V) change for each of D small displacements."""
    backward: FloatArray
    """(D, V) change for the opposite ones."""
    atoms: tuple[int, ...]
    """That Colvars asks for, counted from 0."""


def check_start(reference: SteeringReference, pull: PullSettings) -> None:
    """Start a trajectory dry, and see whether its variables and its bias fit the structure.

    Args:
        reference: variables, bias and structure.
        pull: of the trajectory.

    Raises:
        ConfigError: they do not, or Colvars refuses them: with its words and the line.
    """
    settings = reference.settings
    assert isinstance(settings, ByColvarsSettings)
    found = _in_a_child(reference, pull)
    wrong = [atom for atom in found.atoms if not 0 <= atom < len(reference.molecule.numbers)]
    if wrong:
        raise ConfigError(
            f"sampling.bias: Colvars asks for atoms that the molecule does not have, counted from 0: "
            f"{', '.join(map(str, wrong))} of {len(reference.molecule.numbers)}."
        )
    for number, name in enumerate(settings.names):
        _check_variable(name, found, number)
    _check_range(settings, found.values)


def _check_variable(name: str, found: DryStart, number: int) -> None:
    """Refuse a variable that is no number, constant, or not differentiable at the start."""
    value, forward, backward = found.values[number], found.forward[:, number], found.backward[:, number]
    if not np.isfinite([value, *forward, *backward]).all():
        raise ConfigError(f"sampling.variables: a variable is a finite number at the start; {name!r} is not.")
    forward, backward = _without_turns(forward), _without_turns(backward)
    steepest = float(np.abs([forward, backward]).max(initial=0.0))
    if steepest <= 1e-9 * (1.0 + abs(value)):
        raise ConfigError(
            f"sampling.variables: a variable has to change with the positions of its atoms; {name!r} is {value:.6g} at "
            "the start and stays so however they are moved. Choose other atoms, or another cutoff."
        )
    if float(np.abs(forward + backward).max()) > 0.5 * steepest:
        raise ConfigError(
            f"sampling.variables: a variable has to be differentiable where the trajectory starts; {name!r}, "
            f"{value:.6g} there, is not: an angle or a dihedral of atoms in a straight line, or an RMSD from the very "
            "structure that it starts from. Choose another variable, or start elsewhere."
        )


def _without_turns(change: FloatArray) -> FloatArray:
    """Return changes of an angle without the jump of 360° at the end of its range."""
    return np.where(np.abs(change) > 180.0, change - np.copysign(360.0, change), change)


def _check_range(settings: ByColvarsSettings, values: FloatArray) -> None:
    """Refuse a restraint that is far from the start, and a grid that the start is outside of."""
    bias = settings.bias
    if isinstance(bias, MetadynamicsSettings | EabfSettings):
        for name, value, low, high in zip(settings.names, values, bias.lower, bias.upper, strict=True):
            if not low <= value <= high:
                raise ConfigError(
                    f"sampling.bias: the trajectory has to start inside of the grid; {name!r} is {value:.4g} at the "
                    f"start, and the grid goes from {low:g} to {high:g}."
                )
    starts: tuple[tuple[float, ...], ...] = ()
    if isinstance(bias, SteeredSettings) and bias.from_ is not None:
        starts = (bias.from_,)
    if isinstance(bias, UmbrellaSettings) and not bias.approach_steps:
        starts = bias.centres
    for centres in starts:
        _check_centres(settings, values, centres)


def _check_centres(settings: ByColvarsSettings, values: FloatArray, centres: tuple[float, ...]) -> None:
    bias = settings.bias
    assert isinstance(bias, SteeredSettings | UmbrellaSettings)
    for variable, value, centre, constant in zip(settings.variables, values, centres, bias.force_constant, strict=True):
        gap = centre - value
        if variable.periodic:
            gap -= 360.0 * np.round(gap / 360.0)
        energy = 0.5 * constant * gap**2
        if energy > LARGEST_FIRST_ENERGY_EV:
            cure = "approach_steps" if isinstance(bias, UmbrellaSettings) else "no `from`, which starts where it is"
            raise ConfigError(
                f"sampling.bias: a restraint has to start near the structure; {variable.name!r} is {value:.4g} "
                f"{variable.unit} there, the centre {centre:g}: {energy:.3g} eV, more than "
                f"{LARGEST_FIRST_ENERGY_EV:g} eV. Give a structure that is nearer, or {cure}."
            )


def _in_a_child(reference: SteeringReference, pull: PullSettings) -> DryStart:
    """Return what the child finds.

    Raises:
        ConfigError: Colvars refuses the configuration, or the child does not come back.
    """
    root = str(Path(alflow.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    with tempfile.TemporaryDirectory(dir=plain_scratch()) as folder:
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter
                [sys.executable, "-c", CHILD],
                input=pickle.dumps((reference, pull)),
                capture_output=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"sampling.bias: a trajectory has to start within {PATIENCE_S:g} s; Colvars did not come to its first "
                "step."
            ) from error
        if done.returncode:
            raise ConfigError(_refusal(Path(folder), done.stderr.decode(errors="replace")))
        return _unpacked(json.loads(done.stdout.decode().splitlines()[-1]))


def _unpacked(found: dict[str, Any]) -> DryStart:
    arrays = {name: np.array(found[name], dtype=np.float64) for name in ("values", "forward", "backward")}
    return DryStart(**arrays, atoms=tuple(found["atoms"]))


def _refusal(folder: Path, stderr: str) -> str:
    """Return in a sentence why the child failed: Colvars' own words and the line, as far as it wrote them down."""
    log, configuration = ("", "")
    with contextlib.suppress(OSError):
        log = (folder / LOG).read_text(errors="replace")
        configuration = (folder / CONFIGURATION).read_text(errors="replace")
    words, last = refusal_in(log)
    if not words:
        words = (stderr.strip().splitlines() or ["it ended without a word"])[-1]
    line = line_of(words, last, configuration)
    where = f" (line {line[0]} of its configuration: {line[1]!r})" if line else ""
    return f"sampling.bias: Colvars has to accept its configuration; it says: {words}{where}"


def refusal_in(log: str) -> tuple[str, str]:
    """Return Colvars' own words in LAMMPS's log, and the last keyword that it read before them; empty for none."""
    last = ""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        found = re.match(r"\s*#\s*(\w+)\s*=(?!.*\[default\])", line)
        last = found[1] if found else last
        if re.match(r"\s*(Parse )?error:", line, re.IGNORECASE):
            more = [] if line.rstrip().endswith((".", "!")) else lines[number + 1 : number + 2]
            return " ".join(part.strip() for part in (line, *more)), last
    return "", last


def line_of(words: str, last: str, configuration: str) -> tuple[int, str] | None:
    """Return number and text of the line of a configuration that words of Colvars are about; None if none is found."""
    tokens = [token for token in re.findall(r'"([^"\n]+)"', words) if token.strip()]
    if "no valid components" in words.lower():
        tokens = [last]
    for token in (*tokens, last):
        for number, line in enumerate(configuration.splitlines(), 1):
            if token and re.search(rf"(?<!\w){re.escape(token.strip())}(?!\w)", line):
                return number, line.strip()
    return None


def main() -> None:
    """Start dry in this process: read what from standard input, write what is found to standard output, as JSON."""
    from alflow.sampling.coordinates.colvars import ByColvars  # noqa: PLC0415 - the kind's module imports from here
    from alflow.sampling.lammps import Simulation  # noqa: PLC0415

    reference, pull = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    steering = reference.bind(pull)
    assert isinstance(steering, ByColvars)
    Path(CONFIGURATION).write_text(_shown(steering))
    positions = reference.molecule.positions[0]
    log = Path(LOG).absolute()
    with Simulation(steering.numbers, pull.timestep_fs, log=log) as simulation:
        simulation.place(positions, np.zeros_like(positions))
        steering.attach(simulation)
        simulation.attach(lambda *_: np.zeros_like(positions))
        simulation.run(1)
        atoms = steering.asked_for(simulation)
    moved = [axis for atom in steering.atoms[:CHECKED_ATOMS] for axis in _displacements(atom, len(positions))]
    steps = np.array(moved).reshape(-1, len(positions), 3)
    count = len(steering.settings.names)
    values = steering.values(np.concatenate([positions[None], positions + steps, positions - steps]))[:, :count]
    changes = values[1:] - values[0]
    found = {"values": values[0], "forward": changes[: len(steps)], "backward": changes[len(steps) :]}
    print(json.dumps({**{name: array.tolist() for name, array in found.items()}, "atoms": atoms}))  # noqa: T201


def _shown(steering: Any) -> str:
    """Return the configuration as the user knows it: their own text, or what is made of the settings."""
    bias = steering.settings.bias
    return str(bias.text if isinstance(bias, ColvarsSettings) else steering.configuration())


def _displacements(atom: int, atoms: int) -> FloatArray:
    found = np.zeros((3, atoms, 3))
    found[:, atom] = np.eye(3) * DISPLACED_ANGSTROM
    return found
