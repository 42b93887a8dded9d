"""An ASE calculator for a trained ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from alflow.errors import StructureError
from alflow.potentials import Driver, load_potential
from alflow.potentials import Ensemble as TrainedEnsemble
from alflow.types import Composition, ForceModel


class Ensemble(Calculator):
    """Energy, forces, and in ``results["energy_spread"]`` the standard deviation of the energy over members, eV.

    Made from an ensemble of any kind or from the file ``ensemble.pt`` that a training wrote. Bound to a composition
    when it first meets it, so the steps of a trajectory cost a fraction of a millisecond each with ANI.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "energy_spread"]

    def __init__(
        self,
        ensemble: TrainedEnsemble | Path | str,
        *,
        driver: Driver = "mean",
        threads: int = 1,
        **keywords: Any,
    ) -> None:
        """Take one member, or the mean of all, as energy and forces; see `Ensemble.force_model`."""
        super().__init__(**keywords)
        self._ensemble = load_potential(Path(ensemble)) if isinstance(ensemble, Path | str) else ensemble
        self._driver, self._threads = driver, threads
        self._numbers: tuple[int, ...] = ()
        self._model: ForceModel | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Work out energy, forces and spread of the atoms.

        Raises:
            StructureError: the atoms are periodic, or an element is unknown to the ensemble.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        if self.atoms.pbc.any():
            raise StructureError(
                f"The ensemble calculator takes molecules: these atoms are periodic (pbc {self.atoms.pbc.tolist()}). "
                "Set atoms.pbc = False if that is what you mean."
            )
        numbers = tuple(int(number) for number in self.atoms.numbers)
        if self._model is None or numbers != self._numbers:
            self._model = self._ensemble.force_model(Composition(self.atoms.numbers), self._driver, self._threads)
            self._numbers = numbers
        found = self._model(self.atoms.positions)
        self.results = {"energy": found.energy, "forces": found.forces, "energy_spread": found.spread}
