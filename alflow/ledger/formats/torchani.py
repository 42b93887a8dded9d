"""TorchANI's data set in HDF5: grouped by formula, Hartree and Hartree/Å, float64; neutral molecules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from alflow.errors import InputError
from alflow.files.targets import writing
from alflow.ledger.formats.protocol import FormatKind, LabelSelection
from alflow.types import Dataset
from alflow.units import HARTREE_IN_EV


class TorchANIData(FormatKind):
    """TorchANI's data set."""

    endings: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    reads: ClassVar[bool] = True
    exact: ClassVar[bool] = False  # Hartree
    charges: ClassVar[bool] = False
    modules: ClassVar[tuple[str, ...]] = ("h5py",)
    extra: ClassVar[str] = "alflow[export]"

    def write(self, labels: LabelSelection, path: Path) -> int:
        """Write labels.

        Raises:
            InputError: a molecule is charged, or has a spin other than the lowest.
        """
        import h5py  # noqa: PLC0415 - optional

        dataset, _ = labels.dataset()
        charges = sorted({group.frames.charge for group in dataset.groups} - {0})
        if charges:
            raise InputError(f"The format torchani-h5 holds neutral molecules; found charge {charges[0]}. Use extxyz.")
        spins = [group.frames.composition for group in dataset.groups if not group.frames.composition.is_lowest]
        if spins:
            raise InputError(
                f"The format torchani-h5 holds molecules of the lowest spin; found a multiplicity of "
                f"{spins[0].multiplicity}. Use extxyz."
            )
        with writing(path, "The export") as part, h5py.File(part, "w") as file:
            file.attrs["grouping"] = "by_formula"
            file.attrs["theory"] = labels.theory
            for formula, properties in _by_formula(dataset).items():
                for name, parts in properties.items():
                    file.create_dataset(f"{formula}/{name}", data=np.concatenate(parts))
        return len(dataset)

    def read(self, path: Path) -> Iterator[Atoms]:
        """Yield the labels, formula by formula."""
        import h5py  # noqa: PLC0415 - optional

        with h5py.File(path, "r") as file:
            info = {"charge": 0, "theory": str(file.attrs["theory"])} if "theory" in file.attrs else {"charge": 0}
            for group in file.values():
                columns = (group[name][()] for name in ("species", "coordinates", "energies", "forces"))
                for numbers, positions, energy, forces in zip(*columns, strict=True):
                    atoms = Atoms(numbers, positions, info=dict(info))
                    results = {"energy": float(energy) * HARTREE_IN_EV, "forces": forces * HARTREE_IN_EV}
                    atoms.calc = SinglePointCalculator(atoms, **results)
                    yield atoms


def _by_formula(dataset: Dataset) -> dict[str, dict[str, list[npt.NDArray[Any]]]]:
    """Return TorchANI's properties, Hartree and Å, by formula (symbols in alphabetical order)."""
    formulas: dict[str, dict[str, list[npt.NDArray[Any]]]] = {}
    for group in dataset.groups:
        symbols = [chemical_symbols[number] for number in group.frames.numbers]
        counted = [(symbol, symbols.count(symbol)) for symbol in sorted(set(symbols))]
        formula = "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counted)
        properties = formulas.setdefault(formula, {"species": [], "coordinates": [], "energies": [], "forces": []})
        properties["species"].append(np.tile(group.frames.numbers, (len(group.frames), 1)))
        properties["coordinates"].append(group.frames.positions)
        properties["energies"].append(group.labels.energies / HARTREE_IN_EV)
        properties["forces"].append(group.labels.forces / HARTREE_IN_EV)
    return formulas


KIND = TorchANIData()
