"""NumPy's archive: arrays by composition, eV and Å.

``numbers_0``, ``charge_0``, ``multiplicity_0``, ``positions_0``, ``energies_0``, ``forces_0``, ``kind_0`` and
``origin_0`` (iteration, pull, step, jitter) of the first composition, and so on; ``theory`` of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from alflow.files.targets import writing
from alflow.ledger.formats.protocol import FormatKind, LabelSelection


class NPZ(FormatKind):
    """NumPy's archive."""

    endings: ClassVar[tuple[str, ...]] = (".npz",)
    reads: ClassVar[bool] = True

    def write(self, labels: LabelSelection, path: Path) -> int:
        """Write labels."""
        dataset, origins = labels.dataset()
        arrays: dict[str, npt.NDArray[Any]] = {"theory": np.array(labels.theory)}
        first = 0
        for number, group in enumerate(dataset.groups):
            own = origins[first : first + len(group.frames)]
            first += len(own)
            arrays[f"numbers_{number}"] = group.frames.numbers
            arrays[f"charge_{number}"] = np.array(group.frames.charge)
            arrays[f"multiplicity_{number}"] = np.array(group.frames.composition.multiplicity)
            arrays[f"positions_{number}"] = group.frames.positions
            arrays[f"energies_{number}"] = group.labels.energies
            arrays[f"forces_{number}"] = group.labels.forces
            arrays[f"kind_{number}"] = np.array([origin.kind for origin in own])
            places = [(o.iteration, o.pull, o.step, o.jitter) for o in own]
            arrays[f"origin_{number}"] = np.array(places, dtype=np.int64)
        with writing(path, "The export") as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for `allow_pickle`
        return len(dataset)

    def read(self, path: Path) -> Iterator[Atoms]:
        """Yield the labels, composition by composition."""
        with np.load(path, allow_pickle=False) as data:
            theory = str(data["theory"])
            for number in range(sum(name.startswith("numbers_") for name in data)):
                info: dict[str, Any] = {"theory": theory}
                said = {name: f"{name}_{number}" for name in ("charge", "multiplicity")}
                info |= {name: int(data[key]) for name, key in said.items() if key in data}
                rows = zip(
                    *(data[f"{name}_{number}"] for name in ("positions", "energies", "forces", "kind")), strict=True
                )
                for positions, energy, forces, kind in rows:
                    atoms = Atoms(data[f"numbers_{number}"], positions, info={**info, "origin": str(kind)})
                    atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
                    yield atoms


KIND = NPZ()
