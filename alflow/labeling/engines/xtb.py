"""GFN-xTB labels by the library interface of tblite."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from importlib.metadata import version

import numpy as np
from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
from tblite.interface import Calculator

from alflow.errors import FailureReason, LabelError
from alflow.labeling.frames import theory_hash
from alflow.labeling.kinds.xtb import XTBSettings
from alflow.types import Composition, Evaluation, FloatArray, IntArray
from alflow.units import BOHR_IN_ANGSTROM, BOLTZMANN_EV_PER_K, HARTREE_IN_EV

HEAVIEST_ELEMENT = 86
"""The parametrisations end with radon."""
LARGEST_CHARGE_ERROR = 1e-3
"""Of the sum of the atoms' charges, electrons; it is 1e-9 where all is well."""
KEPT_CALCULATORS = 8
"""Compositions whose calculators are kept; the one not used for longest goes."""


class XTBEngine:
    """GFN2-xTB or GFN1-xTB. One calculator a composition is kept; each structure starts cold.

    The energy is the free energy of the Fermi filling, from which the forces derive.
    """

    def __init__(self, settings: XTBSettings) -> None:
        self._settings = settings
        self._calculators: OrderedDict[Composition, Calculator] = OrderedDict()
        weakref.finalize(self, self._calculators.clear)  # later, at the interpreter's end, tblite itself is gone

    @property
    def theory(self) -> str:
        """Fingerprint of the method, of tblite's version and of all settings."""
        settings = self._settings.model_dump(mode="json")
        return theory_hash({"engine": "tblite", "version": version("tblite"), **settings})

    def compute(
        self,
        composition: Composition,
        positions: FloatArray,
        start: FloatArray | None = None,  # noqa: ARG002 - always a cold start
    ) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms.
            positions: (A, 3) Å.
            start: not used.

        Raises:
            LabelError: an element or a charge that the method does not know, or no convergence.
        """
        _check(composition.numbers, composition.charge)
        try:
            calculator = self._calculator(composition, positions / BOHR_IN_ANGSTROM)
            result = calculator.singlepoint()
            energy = float(result.get("energy"))
            gradient = np.asarray(result.get("gradient"), dtype=np.float64)
            carried, electrons = float(result.get("charges").sum()), float(result.get("orbital-occupations").sum())
        except (TBLiteRuntimeError, TBLiteValueError) as error:
            self._calculators.pop(composition, None)
            raise LabelError(_reason(str(error)), f"tblite: {error}") from error
        _check_electrons(composition.charge, carried, electrons)
        return Evaluation(energy * HARTREE_IN_EV, gradient * (-HARTREE_IN_EV / BOHR_IN_ANGSTROM))

    def _calculator(self, composition: Composition, positions_bohr: FloatArray) -> Calculator:
        if composition in self._calculators:
            self._calculators.move_to_end(composition)
            self._calculators[composition].update(positions_bohr)
        else:
            self._calculators[composition] = self._make(composition, positions_bohr)
            if len(self._calculators) > KEPT_CALCULATORS:
                self._calculators.popitem(last=False)
        return self._calculators[composition]

    def _make(self, composition: Composition, positions_bohr: FloatArray) -> Calculator:
        calculator = Calculator(
            self._settings.method,
            composition.numbers,
            positions_bohr,
            charge=float(composition.charge),
            uhf=composition.multiplicity - 1,
            color=False,
        )
        calculator.set("verbosity", 0)
        calculator.set("accuracy", self._settings.accuracy)
        calculator.set("max-iter", self._settings.max_cycles)
        temperature_hartree = self._settings.electronic_temperature_k * BOLTZMANN_EV_PER_K / HARTREE_IN_EV
        calculator.set("temperature", temperature_hartree)
        return calculator


def _check(numbers: IntArray, charge: int) -> None:
    unknown = [int(number) for number in numbers if not 1 <= number <= HEAVIEST_ELEMENT]
    if unknown:
        raise LabelError(
            "unknown-element", f"GFN-xTB knows the elements 1 to {HEAVIEST_ELEMENT}; found atomic number {unknown[0]}."
        )
    if charge >= int(np.sum(numbers)):
        raise LabelError(
            "bad-charge", f"A molecule keeps at least one of its {int(np.sum(numbers))} electrons; charge {charge:+d}."
        )


def _check_electrons(charge: int, carried: float, electrons: float) -> None:
    """Refuse a result without valence electrons, or with fewer than asked for: tblite drops what no orbital takes."""
    if abs(carried - charge) > LARGEST_CHARGE_ERROR or electrons < 0.5:
        raise LabelError(
            "bad-charge",
            f"A molecule keeps at least one valence electron, and its orbitals must take all of them; of the charge "
            f"{charge:+d}, {carried:+.3g} was computed, with {electrons:.3g} valence electrons.",
        )


def _reason(message: str) -> FailureReason:
    if "number of electrons" in message.lower():
        return "bad-charge"
    return "not-converged" if "converge" in message.lower() else "engine-error"
