"""Labels by any calculator that follows ASE's interface, named in the campaign file."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculationFailed, PropertyNotImplementedError, SCFError

from alflow.errors import InputError, LabelError
from alflow.labeling.frames import theory_hash
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.types import Evaluation, FloatArray, IntArray


class ASEEngine:
    """A calculator class and its keyword arguments.

    A calculator is made anew for each structure: many start from what they computed last, and a label must
    depend on its structure alone.
    """

    def __init__(self, settings: ASECalculatorSettings) -> None:
        self._settings = settings
        self._class = _load(settings.calculator)
        self._make()

    @property
    def theory(self) -> str:
        """Fingerprint of the class, its arguments and its package's version."""
        settings = self._settings.model_dump(mode="json")
        return theory_hash({"engine": "ase", "version": _package_version(self._settings.calculator), **settings})

    def compute(
        self,
        numbers: IntArray,
        positions: FloatArray,
        charge: int = 0,
        start: FloatArray | None = None,  # noqa: ARG002 - always a cold start
    ) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            numbers: (A,) atomic numbers.
            positions: (A, 3) Å.
            charge: total charge; other than 0 only if the calculator's arguments say the same.
            start: not used.

        Raises:
            LabelError: the calculator does not converge, fails, or was not given this charge.
        """
        self._check_charge(charge)
        atoms = Atoms(numbers=numbers, positions=positions)
        atoms.calc = self._make()
        try:
            forces = np.array(atoms.get_forces(), dtype=np.float64)
            return Evaluation(_consistent_energy(atoms), forces)
        except SCFError as error:
            raise LabelError("not-converged", f"{self._settings.calculator}: {error}") from error
        except CalculationFailed as error:
            raise LabelError("engine-error", f"{self._settings.calculator}: {error}") from error

    def _check_charge(self, charge: int) -> None:
        given = self._settings.arguments.get("charge", 0)
        if given != charge:
            raise LabelError(
                "bad-charge",
                f"An ASE calculator takes the charge from its arguments; they say {given!r}, the structure "
                f"{charge:+d}. Set the argument `charge`.",
            )

    def _make(self) -> BaseCalculator:
        try:
            return self._class(**self._settings.arguments)
        except Exception as error:
            raise InputError(
                f"A calculator must accept its arguments; {self._settings.calculator} refused "
                f"{self._settings.arguments}: {type(error).__name__}: {error}"
            ) from error


def _consistent_energy(atoms: Atoms) -> float:
    """Return the energy that the forces derive from, where the calculator tells it from the other."""
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except PropertyNotImplementedError:
        return float(atoms.get_potential_energy())


def _load(path: str) -> type[BaseCalculator]:
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"A calculator is named by the dotted path of its class, such as ase.calculators.emt.EMT; "
            f"{path!r} cannot be imported: {error}"
        ) from error
    if not (isinstance(found, type) and hasattr(found, "get_potential_energy")):
        raise InputError(f"A calculator is a class that follows ASE's interface; {path!r} is {found!r}.")
    return found


def _package_version(path: str) -> str:
    """Return the version of the distribution that the class comes from, with its name."""
    package = path.partition(".")[0]
    names = packages_distributions().get(package, [package])
    try:
        return " ".join(f"{name} {version(name)}" for name in sorted(set(names)))
    except PackageNotFoundError:
        return f"{package} unknown"
