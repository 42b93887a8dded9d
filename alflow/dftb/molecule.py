"""DFTB3 for one composition and charge: set up once, computed for many geometries. Å, eV and electrons outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from alflow.dftb.energy import Solution, solve
from alflow.dftb.scc import CONVERGED, NO_EIGENVECTORS, NOT_POSITIVE
from alflow.dftb.tables import Tables
from alflow.errors import LabelError
from alflow.types import FloatArray
from alflow.units import BOHR_IN_ANGSTROM, BOLTZMANN_EV_PER_K, HARTREE_IN_EV

CLOSEST_ANGSTROM = 0.3
"""Below this distance the tables have no meaning."""

_HOT_K, _COOLING = 10000.0, 0.4
"""Electronic temperature from which the last rescue steps down, and its factor a step."""
WARMTH = 0.02
"""Hartree (6300 K): where the first steps of a cold start share the electrons of a broken bond."""
_CAREFUL = 0.3
"""Share of Newton's step that a rescue takes."""


@dataclass(frozen=True)
class EnergyParts:
    """Parts of the energy, eV."""

    h0: float
    second_order: float
    third_order: float
    repulsion: float
    entropy: float
    """-T S of the Fermi filling."""
    dispersion: float = 0.0


@dataclass(frozen=True)
class Details:
    """All that DFTB3 says of one structure."""

    energy: float
    """Mermin free energy, from which the forces derive: the sum of the parts, eV."""
    parts: EnergyParts
    forces: FloatArray
    """(A, 3) eV/Å."""
    charges: FloatArray
    """(A,) Mulliken charges, elementary charges: electrons lost are positive."""
    dipole: FloatArray
    """(3,) of the Mulliken charges, e Å; depends on the origin where the molecule is charged."""
    eigenvalues: FloatArray
    """(N,) eV."""
    occupations: FloatArray
    """(N,) 0 to 2."""
    cycles: int
    """Self-consistency cycles, failed attempts included."""


@dataclass(frozen=True)
class Molecule:
    """A composition with its tables, charge and electronic temperature."""

    tables: Tables
    charge: int
    electronic_temperature_k: float
    scc_tolerance: float
    """Electrons."""
    max_cycles: int
    """Of one attempt."""

    @property
    def electrons(self) -> float:
        """Number of valence electrons."""
        return float(self.tables.valence.sum()) - self.charge

    def compute(self, positions: FloatArray, start: FloatArray | None = None) -> Details:
        """Compute one geometry.

        Args:
            positions: (A, 3) Å.
            start: (A,) Mulliken charges to start from; None for neutral atoms.

        Raises:
            LabelError: "implausible-structure" or "not-converged".
        """
        closest = BOHR_IN_ANGSTROM * closest_distance(positions / BOHR_IN_ANGSTROM)
        if not closest >= CLOSEST_ANGSTROM:
            raise LabelError(
                "implausible-structure",
                f"DFTB3 needs atoms at least {CLOSEST_ANGSTROM:g} Å apart; two are {closest:.3f} Å apart.",
            )
        solution, cycles = self._solve(positions / BOHR_IN_ANGSTROM, start)
        return _details(solution, positions, cycles)

    def _solve(self, positions_bohr: FloatArray, start: FloatArray | None) -> tuple[Solution, int]:
        """Climb the ladder of attempts until one converges."""
        history: list[str] = []
        cycles = 0
        for name, solution, spent in self._attempts(positions_bohr, start):
            cycles += spent
            if solution.scc.status == CONVERGED:
                return solution, cycles
            if solution.scc.status == NOT_POSITIVE:
                raise LabelError(
                    "implausible-structure",
                    "The overlap matrix must be positive definite; it is not, so atoms are too close to each other.",
                )
            if solution.scc.status == NO_EIGENVECTORS:
                raise LabelError("engine-error", "LAPACK's dsyevd did not solve the eigenproblem.")
            history.append(f"{name}: {', '.join(f'{r:.1e}' for r in solution.scc.residuals[-8:])}")
        raise LabelError(
            "not-converged",
            f"The charges must reproduce themselves within {self.scc_tolerance:g} electrons; after {cycles} cycles "
            f"they do not. Last residuals of each attempt: {'; '.join(history)}.",
        )

    def _attempts(self, positions: FloatArray, start: FloatArray | None) -> Iterator[tuple[str, Solution, int]]:
        """Yield one attempt after the other with its cycles, each more careful than the one before."""
        neutral, target = np.zeros(self.tables.valence.size), self.electronic_temperature_k
        if start is not None and start.shape == neutral.shape and np.isfinite(start).all():
            solution = self._attempt(positions, -start, target)
            yield "given charges", solution, len(solution.scc.residuals)
        solution = self._attempt(positions, neutral, target)
        yield "neutral atoms", solution, len(solution.scc.residuals)
        yield "cooled down", *self._cool_down(positions, neutral)
        solution = self._attempt(positions, neutral, target, _CAREFUL)
        yield "small steps", solution, len(solution.scc.residuals)

    def _cool_down(self, positions: FloatArray, excess: FloatArray) -> tuple[Solution, int]:
        """Converge hot, then step the electronic temperature down, each step from the last one's charges."""
        target, cycles = self.electronic_temperature_k, 0
        temperature = max(_HOT_K, target)
        while True:
            for mixing in (1.0, _CAREFUL):
                solution = self._attempt(positions, excess, temperature, mixing, warmth=0.0)
                cycles += len(solution.scc.residuals)
                if solution.scc.status == CONVERGED:
                    break
            if temperature <= target:
                return solution, cycles
            excess, temperature = solution.scc.excess, max(_COOLING * temperature, target)

    def _attempt(
        self,
        positions: FloatArray,
        excess: FloatArray,
        temperature_k: float,
        mixing: float = 1.0,
        warmth: float = WARMTH,
    ) -> Solution:
        kt = temperature_k * BOLTZMANN_EV_PER_K / HARTREE_IN_EV
        cycles = self.max_cycles if mixing == 1.0 else 3 * self.max_cycles
        solution: Solution = solve(
            self.tables, positions, self.electrons, kt, excess, self.scc_tolerance, cycles, mixing, warmth
        )
        return solution


@njit(cache=True, nogil=True, error_model="numpy")
def closest_distance(positions: FloatArray) -> float:
    """Return the smallest distance between two of (A, 3) positions; infinite for one atom, NaN if any is NaN."""
    closest = np.inf
    for a in range(positions.shape[0]):
        for b in range(a):
            square = 0.0
            for x in range(3):
                square += (positions[a, x] - positions[b, x]) ** 2
            if not square >= closest:
                closest = square
    return float(np.sqrt(closest))


def _details(solution: Solution, positions: FloatArray, cycles: int) -> Details:
    scc, energies = solution.scc, solution.energies
    parts = EnergyParts(*(float(part) * HARTREE_IN_EV for part in energies))
    return Details(
        energy=float(sum(energies)) * HARTREE_IN_EV,
        parts=parts,
        forces=solution.gradient * (-HARTREE_IN_EV / BOHR_IN_ANGSTROM),
        charges=-scc.excess,
        dipole=-scc.excess @ positions,
        eigenvalues=scc.levels * HARTREE_IN_EV,
        occupations=scc.occupations,
        cycles=cycles,
    )
