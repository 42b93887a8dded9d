"""Self-consistency with PySCF: broken symmetry as a start, a ladder of rescues, and a check of what was found.

Whatever led there, a solution is one of the unmodified functional: damping and a level shift leave no trace in a
converged solution (PySCF ends with a cycle without them and checks it), and smearing is taken away again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscf import lib

from alflow.errors import LabelError
from alflow.types import FloatArray

START_TOLERANCE_HARTREE = 1e-4
"""To which the restricted solution is converged that broken symmetry starts from."""
START_CYCLES = 20
BROKEN = 0.5
"""Least `symmetry_breaking` of a start that is taken as it is; a weaker one is mixed anew, for it may fall back to the
symmetric saddle."""
DAMPING = 0.7
"""Share of the last Fock matrix that stays."""
DAMPED_CYCLES = 15
"""Cycles without extrapolation at the start of a damped attempt."""
LEVEL_SHIFT_HARTREE = 0.3
SMEARING_HARTREE = 0.01
"""Width of the Fermi filling."""
GUESSES = 3
"""Rotations of two orbitals that the search for an instability starts from."""
LEAST_INSTABILITY_HARTREE = 1e-5
"""Negative curvature that counts."""
MOST_FOLLOWED = 2
"""How often an unstable solution is left for a lower one."""


@dataclass
class Course:
    """What was done so far at one structure."""

    cycles: int = 0
    """Self-consistency cycles of all attempts."""
    rescues: int = 0
    """Steps of the ladder beyond the plain attempts."""
    history: tuple[str, ...] = ()
    """One entry an attempt."""

    def told(self) -> str:
        """Return the history as one text."""
        return "; ".join(self.history)


def mixed_density(orbitals: FloatArray, occupied: int) -> FloatArray:
    """Return the density of a singlet whose symmetry is broken: HOMO and LUMO mixed by 45°.

    The highest occupied orbital becomes (HOMO + LUMO)/√2 for spin up, (HOMO − LUMO)/√2 for spin down. At a bond
    that is pulled apart these are the two radicals; at a whole molecule self-consistency brings both back together.

    Args:
        orbitals: (N, O) restricted orbitals in the basis, by energy.
        occupied: doubly occupied ones, at least 1; O at least one more.

    Returns:
        (2, N, N) densities of spin up and down.
    """
    homo, lumo = orbitals[:, occupied - 1], orbitals[:, occupied]
    spins = []
    for sign in (1.0, -1.0):
        own = orbitals[:, :occupied].copy()
        own[:, -1] = (homo + sign * lumo) / np.sqrt(2.0)
        spins.append(own @ own.T)
    return np.array(spins)


def spin_squared(densities: FloatArray, overlap: FloatArray) -> float:
    """Return ⟨S²⟩ of one determinant.

    ⟨S²⟩ = S_z (S_z + 1) + N_β − tr(D_α S D_β S); Szabo and Ostlund, Modern Quantum Chemistry, equation 2.271.

    Args:
        densities: (2, N, N) D_α and D_β.
        overlap: (N, N) S.
    """
    up, down = (density @ overlap for density in densities)
    n_up, n_down = float(np.trace(up)), float(np.trace(down))
    z = (n_up - n_down) / 2.0
    return z * (z + 1.0) + n_down - float(np.sum(up * down.T))


def symmetry_breaking(densities: FloatArray, overlap: FloatArray) -> float:
    """Return tr[((D_α − D_β) S)²]/2: ⟨S²⟩ of a singlet's determinant, and 0 for equal densities of whatever norm.

    So it tells whether a density of a neighbouring structure, which is not normalised here, is broken.

    Args:
        densities: (2, N, N) D_α and D_β.
        overlap: (N, N) S.
    """
    difference = (densities[0] - densities[1]) @ overlap
    return float(np.sum(difference * difference.T)) / 2.0


def converge(field: Any, density: Any, course: Course) -> Any:
    """Return a converged mean field; climb the ladder of rescues where the plain attempt does not converge.

    Args:
        field: of PySCF, set up and not run.
        density: that each attempt starts from.
        course: is told each attempt.

    Raises:
        LabelError: "not-converged", with the history.
    """
    found = _run(field.copy(), density, "plain", course)
    for name, rescue in RESCUES:
        if found.converged:
            return found
        attempt = rescue(field.copy(), density, course)
        if attempt is not None:
            course.rescues += 1
            found = _run(*attempt, name, course)
    if not found.converged:
        raise LabelError(
            "not-converged",
            f"A label needs a self-consistent density; {len(course.history)} attempts of at most {field.max_cycle} "
            f"cycles found none: {course.told()}.",
        )
    return found


def follow_instabilities(field: Any, base: Any, course: Course) -> Any:
    """Return a solution that is a minimum among its kind: the converged one, or the one that its instability leads to.

    Args:
        field: converged mean field.
        base: the same, set up and not run.
        course: is told each attempt.

    Raises:
        LabelError: "not-converged": one that is unstable was followed, and so on, `MOST_FOLLOWED` times.
    """
    for followed in range(MOST_FOLLOWED + 1):
        lower = unstable_orbitals(field)
        if lower is None:
            return field
        if followed < MOST_FOLLOWED:
            course.history += ("unstable, followed",)
            field = converge(base, field.make_rdm1(lower, field.mo_occ), course)
    raise LabelError(
        "not-converged",
        f"A solution must be stable (stability_analysis); it is unstable after {MOST_FOLLOWED} were left for lower "
        f"ones: {course.told()}.",
    )


def unstable_orbitals(field: Any) -> Any:
    """Return the orbitals that a converged mean field's lowest instability leads to; None for a minimum of its kind.

    The lowest eigenvector of the orbital Hessian is looked for from single rotations of one spin. From a start that is
    the same for both spins, as PySCF's own analysis has one, that of a closed shell is never found.
    """
    solver = field.newton()
    _, product, diagonal = solver.gen_g_hop(field.mo_coeff, field.mo_occ)
    if not diagonal.size:
        return None
    diagonal = 2.0 * np.asarray(diagonal)
    guesses = list(np.eye(diagonal.size)[np.argsort(diagonal, kind="stable")[:GUESSES]])

    def smoothed(step: FloatArray, eigenvalue: float, _: FloatArray) -> FloatArray:
        below = diagonal - eigenvalue
        return step / np.where(np.abs(below) < 1e-8, 1e-8, below)

    lowest, rotation = lib.davidson(lambda x: 2.0 * product(x), guesses, smoothed, tol=1e-4, verbose=0)
    if lowest > -LEAST_INSTABILITY_HARTREE:
        return None
    return solver.rotate_mo(field.mo_coeff, solver.update_rotate_matrix(rotation, field.mo_occ))


def _damped(field: Any, density: Any, course: Course) -> tuple[Any, Any]:
    del course
    field.damp, field.diis_start_cycle = DAMPING, DAMPED_CYCLES
    return field, density


def _shifted(field: Any, density: Any, course: Course) -> tuple[Any, Any]:
    del course
    field.level_shift = LEVEL_SHIFT_HARTREE
    return field, density


def _second_order(field: Any, density: Any, course: Course) -> tuple[Any, Any]:
    del course
    return field.newton(), density


def _smeared(field: Any, density: Any, course: Course) -> tuple[Any, Any] | None:
    """Return a second-order solver and the density of a fractional filling; None for restricted open shells."""
    if field.istype("ROHF"):
        return None
    smeared = field.copy().smearing(sigma=SMEARING_HARTREE, method="fermi", fix_spin=True)
    return field.newton(), _run(smeared, density, "smeared", course).make_rdm1()


RESCUES: tuple[tuple[str, Callable[[Any, Any, Course], tuple[Any, Any] | None]], ...] = (
    ("damped", _damped),
    ("level shift", _shifted),
    ("second order", _second_order),
    ("smeared, then second order without", _smeared),
)
"""Each makes, of a mean field and a density, what is run and from where."""


def _run(field: Any, density: Any, name: str, course: Course) -> Any:
    """Run one attempt, and write it down."""
    norms: list[float] = []

    def note(now: dict[str, Any]) -> None:
        norms.append(float(now.get("norm_gorb", np.nan)))

    field.callback = note
    try:
        field.kernel(dm0=density)
        how = "converged" if field.converged else "not converged"
    except (np.linalg.LinAlgError, ValueError, FloatingPointError) as error:  # a density that ran away
        field.converged = False
        how = f"failed ({type(error).__name__}: {error})"
    field.callback = None
    course.cycles += len(norms)
    norm = f", gradient {norms[-1]:.1e}" if norms else ""
    course.history += (f"{name}: {how} after {len(norms)} cycles{norm}",)
    return field


def as_numbers(array: Any) -> FloatArray:
    """Return an array of a GPU or tagged by PySCF as a plain one."""
    return np.array(array.get() if hasattr(array, "get") else array, dtype=np.float64)
