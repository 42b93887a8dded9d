"""The configuration of Colvars for variables and biases: one keyword a line, as it wants it.

Units are those of LAMMPS's `metal`: eV, Å; atoms count from 1. Times of extended variables are in Colvars' own time,
of which `clock` a femtosecond has: LAMMPS hands it a time step that is not in fs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from alflow.config.bias import (
    BiasSettings,
    ColvarsSettings,
    EabfSettings,
    MetadynamicsSettings,
    SteeredSettings,
    UmbrellaSettings,
)
from alflow.config.variables import CoordinationSettings, Group, RmsdSettings, TermSettings, VariableSettings
from alflow.types import FloatArray

SILENT = "colvarsTrajFrequency 0\ncolvarsRestartFrequency 0\n"
"""Of what Colvars would write by itself, nothing is needed."""
KEPT = "keepHills on"
"""Otherwise the state of a metadynamics loses the hills that are on no grid."""
DEFAULT_TIME_CONSTANT_FS = 200.0


def block(name: str, lines: Sequence[str]) -> list[str]:
    """Return a block of a configuration."""
    return [f"{name} {{", *(f"  {line}" for line in lines), "}"]


def joined(lines: Sequence[str]) -> str:
    """Return lines as a text."""
    return "".join(f"{line}\n" for line in lines)


def variables_text(
    variables: Sequence[VariableSettings],
    bias: BiasSettings,
    references: Mapping[str, FloatArray],
    clock: float,
    temperature_k: float,
) -> str:
    """Return the blocks that define the variables.

    Args:
        variables: in their order.
        bias: what will act on them: it may want a grid.
        references: (A, 3) Å of each reference structure, by its file.
        clock: see above.
        temperature_k: of extended variables, K.
    """
    lines: list[str] = []
    for number, variable in enumerate(variables):
        terms = [line for term in variable.terms for line in _term(term, references)]
        lines += block("colvar", [f"name {variable.name}", *_grid(bias, number, clock, temperature_k), *terms])
    return joined(lines)


def _term(term: TermSettings, references: Mapping[str, FloatArray]) -> list[str]:
    part = [f"componentCoeff {term.weight!r}", f"componentExp {term.exponent}"]
    if term.coordination is not None:
        return block("coordNum", [*part, *_coordination(term.coordination)])
    if term.rmsd is not None:
        return block("rmsd", [*part, *_rmsd(term.rmsd, references[term.rmsd.reference])])
    groups = term.distance or term.angle or term.dihedral or ()
    places = [line for place, atoms in enumerate(groups, 1) for line in _group(f"group{place}", atoms)]
    return block(term.kind, [*part, *places])


def _group(name: str, atoms: Group) -> list[str]:
    return block(name, [_atoms(atoms)])


def _atoms(atoms: Group) -> str:
    return "atomNumbers " + " ".join(str(atom + 1) for atom in atoms)


def _coordination(settings: CoordinationSettings) -> list[str]:
    low, high = settings.exponents
    numbers = [f"cutoff {settings.cutoff!r}", f"expNumer {low}", f"expDenom {high}"]
    return [*numbers, *_group("group1", settings.group1), *_group("group2", settings.group2)]


def _rmsd(settings: RmsdSettings, reference: FloatArray) -> list[str]:
    atoms = tuple(sorted(settings.atoms))
    places = " ".join("(" + ", ".join(repr(float(x)) for x in reference[atom]) + ")" for atom in atoms)
    return [*_group("atoms", atoms), f"refPositions {places}"]


def _grid(bias: BiasSettings, number: int, clock: float, temperature_k: float) -> Iterator[str]:
    """Return what the grid of a bias, and an extended variable, want in the block of a variable."""
    if not isinstance(bias, MetadynamicsSettings | EabfSettings):
        return
    yield f"width {bias.spacing[number]!r}"
    yield f"lowerBoundary {bias.lower[number]!r}"
    yield f"upperBoundary {bias.upper[number]!r}"
    if isinstance(bias, EabfSettings):
        yield "extendedLagrangian on"
        yield f"extendedTemp {temperature_k!r}"
        yield f"extendedFluctuation {bias.fluctuation[number]!r}"
        yield f"extendedTimeConstant {bias.time_constant_fs * clock!r}"
        yield "extendedLangevinDamping 0"  # its noise has a state that no restart holds


def bias_text(names: Sequence[str], bias: BiasSettings, window: int, first: FloatArray, steps: int) -> str:
    """Return the blocks of the biases.

    Args:
        names: of the variables.
        bias: its settings.
        window: which window of an umbrella bias.
        first: (V,) where the centres of restraints start.
        steps: of the trajectory.
    """
    lines: list[str] = []
    if isinstance(bias, SteeredSettings):
        lines = _restraints(names, bias.force_constant, first, bias.to, steps)
    elif isinstance(bias, UmbrellaSettings):
        centres = bias.centres[window]
        approach = bias.approach_steps
        lines = _restraints(names, bias.force_constant, first if approach else centres, centres, approach)
    elif isinstance(bias, MetadynamicsSettings):
        lines = _metadynamics(names, bias) + _walls(names, bias)
    elif isinstance(bias, EabfSettings):
        lines = block("abf", ["name abf", "colvars " + " ".join(names), f"fullSamples {bias.full_samples}"])
        lines += _walls(names, bias)
    return joined(lines)


def _restraints(
    names: Sequence[str], constants: Sequence[float], first: FloatArray | Sequence[float], last: Sequence[float], n: int
) -> list[str]:
    lines: list[str] = []
    for number, name in enumerate(names):
        start, end = float(first[number]), float(last[number])
        moves = [f"targetCenters {end!r}", f"targetNumSteps {n}"] if n else []
        own = [f"name r{number}", f"colvars {name}", f"centers {start!r}", f"forceConstant {constants[number]!r}"]
        lines += block("harmonic", [*own, *moves])
    return lines


def _metadynamics(names: Sequence[str], bias: MetadynamicsSettings) -> list[str]:
    sigmas = " ".join(repr(width) for width in bias.hill_width)
    own = ["name metadynamics", "colvars " + " ".join(names), f"hillWeight {bias.hill_height_ev!r}"]
    own += [f"gaussianSigmas {sigmas}", f"newHillFrequency {bias.hill_every}", KEPT]
    if bias.bias_temperature_k is not None:
        own += ["wellTempered on", f"biasTemperature {bias.bias_temperature_k!r}"]
    return block("metadynamics", own)


def _walls(names: Sequence[str], bias: MetadynamicsSettings | EabfSettings) -> list[str]:
    lines: list[str] = []
    for number, name in enumerate(names if bias.wall_ev else ()):
        assert bias.wall_ev is not None
        constant = bias.wall_ev[number] * bias.spacing[number] ** 2  # Colvars divides by the width squared
        own = [f"name walls{number}", f"colvars {name}", f"forceConstant {constant!r}"]
        ends = [f"lowerWalls {bias.lower[number]!r}", f"upperWalls {bias.upper[number]!r}"]
        lines += block("harmonicWalls", [*own, *ends])
    return lines


def own_text(bias: ColvarsSettings, clock: float) -> str:
    """Return a user's configuration with the times of extended variables in Colvars' own time, and all hills kept.

    Args:
        bias: its settings.
        clock: see above.
    """
    lines = []
    given = re.search(r"^\s*extendedTimeConstant\s", bias.text, re.IGNORECASE | re.MULTILINE)
    kept = re.search(r"^\s*keepHills\s", bias.text, re.IGNORECASE | re.MULTILINE)
    for line in bias.text.splitlines():
        found = re.match(r"^(\s*)(extendedTimeConstant|extendedLangevinDamping)\s+(\S+)\s*$", line, re.IGNORECASE)
        if found:
            factor = clock if found[2].lower() == "extendedtimeconstant" else 1.0 / clock
            line = f"{found[1]}{found[2]} {float(found[3]) * factor!r}"  # noqa: PLW2901 - the line as Colvars reads it
        lines.append(line)
        if re.match(r"^\s*metadynamics\s*\{\s*$", line, re.IGNORECASE) and not kept:
            lines.append(KEPT)
        if not given and re.match(r"^\s*extendedLagrangian\s+(on|yes|true)\s*$", line, re.IGNORECASE):
            lines.append(f"extendedTimeConstant {DEFAULT_TIME_CONSTANT_FS * clock!r}")
    return joined(lines)


def centres_at(bias: BiasSettings, window: int, first: FloatArray, step: int, steps: int) -> FloatArray:
    """Return (V,) the centres of restraints at a step; not-a-number for biases without.

    Args:
        bias: its settings.
        window: which window of an umbrella bias.
        first: (V,) where the centres start.
        step: number of the step.
        steps: of the trajectory.
    """
    if isinstance(bias, SteeredSettings):
        return first + (np.array(bias.to) - first) * (min(step, steps) / steps)
    if isinstance(bias, UmbrellaSettings):
        last, approach = np.array(bias.centres[window]), bias.approach_steps
        return last if not approach else first + (last - first) * (min(step, approach) / approach)
    return np.full(len(first), np.nan)
